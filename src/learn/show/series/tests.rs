//! Windows as they are shown: crops, what is hidden in them, and what reaches a network.

use super::*;

const SPEC: SeriesSpec = SeriesSpec {
    patch_steps: 4,
    channels_max: 8,
    hidden: 16,
    layers: 1,
    heads: 2,
};

fn series() -> Series {
    Series::new(&SPEC)
}

fn window(channels: u16, steps: usize) -> Window {
    let value = |at: usize| ((at * at) as f64 * 0.37).sin() + 0.1 * at as f64;
    Window {
        channels,
        values: (0..usize::from(channels) * steps).map(value).collect(),
        start: 7,
        time: Some(9),
    }
}

fn pairs(windows: &[Window], step: u64) -> PaddedPatches {
    let contents: Vec<Content> = windows.iter().cloned().map(Content::Series).collect();
    series().pairs(&contents, 3, step).unwrap().0
}

/// Every number that a network is shown.
fn seen(shown: &PaddedPatches) -> impl Iterator<Item = f32> {
    let of = &shown.filled;
    of.values.iter().chain(&of.there).chain(&of.scale).copied()
}

#[test]
fn what_is_shown_in_a_step_can_be_shown_again_and_another_step_shows_another() {
    let windows = [window(3, 64), window(1, 30)];
    assert_eq!(pairs(&windows, 5), pairs(&windows, 5));
    assert_ne!(pairs(&windows, 5), pairs(&windows, 6));
}

#[test]
fn a_hidden_number_reaches_nothing_but_what_is_to_be_told() {
    let hides = |_: usize, patch: usize| patch % 2 == 1;
    let before = PatchRow::new(&window(2, 30), &SPEC, hides);
    for value in [1e9, f64::NAN, -1e300] {
        let mut other = window(2, 30);
        // Patches are cut from the end: the last four steps are the eighth, which is hidden.
        other.values[28] = value;
        let after = PatchRow::new(&other, &SPEC, hides);
        assert_ne!((&before.was, &before.asked), (&after.was, &after.asked));
        let shown = |row: &PatchRow| PatchRow {
            was: Vec::new(),
            asked: Vec::new(),
            ..row.clone()
        };
        assert_eq!(shown(&before), shown(&after));
    }
}

#[test]
fn numbers_that_are_missing_constant_or_huge_are_shown_as_finite_ones() {
    let with = |value: fn(usize) -> f64| Window {
        values: (0..128).map(value).collect(),
        ..window(2, 64)
    };
    let windows = [
        with(|at| if at % 3 == 0 { f64::NAN } else { at as f64 }),
        with(|at| if at == 100 { 1.0 } else { f64::NAN }),
        with(|_| 7.0),
        with(|_| 0.0),
        with(|at| if at % 2 == 0 { f64::MAX } else { f64::MIN }),
        with(|at| if at < 64 { 1e300 } else { 1e-300 * at as f64 }),
        with(|at| if at < 100 { 5.0 } else { 6.0 }),
    ];
    for step in 0..20 {
        let shown = pairs(&windows, step);
        let told = shown.filled.was.iter().copied();
        assert!(seen(&shown).chain(told).all(|number| number.abs() <= 5.0));
    }
}

#[test]
fn what_leaves_a_constant_is_as_far_as_a_number_can_be_and_what_keeps_to_it_is_not_away() {
    let mut jump = window(1, 32);
    jump.values = (0..32).map(|at| if at < 30 { 1.1 } else { 1.2 }).collect();
    let row = PatchRow::new(&jump, &SPEC, |_, patch| patch == 7);
    assert_eq!(row.was, [0.0, 0.0, 5.0, 5.0]);
    // Where three numbers are visible nothing is asked for.
    jump.values[3..28].fill(f64::NAN);
    let row = PatchRow::new(&jump, &SPEC, |_, patch| patch == 7);
    assert_eq!((row.len(), row.asked), (2, vec![0.0; 4]));
}

#[test]
fn crops_show_most_of_a_window_and_have_half_of_the_shorter_one_in_common() {
    let mut whole = 0;
    for seed in 0..500 {
        let mut rng = rng::for_step(seed, 0, 0);
        let patches = 1 + seed as usize % 20;
        let [one, other] = overlapping(patches, &mut rng);
        let common = one.end.min(other.end).saturating_sub(one.start.max(other.start));
        let shorter = one.len().min(other.len());
        assert!(
            2 * common >= shorter && one.end.max(other.end) <= patches,
            "{one:?} {other:?}"
        );
        assert!(10 * shorter >= 6 * patches, "{one:?} {other:?} of {patches}");
        whole += usize::from(one == other);
    }
    assert!(whole < 250, "{whole} pairs are the same crop twice");
}

#[test]
fn two_fifths_are_hidden_at_the_end_or_of_all_variables_alike_or_of_each_apart() {
    let grid = Grid {
        channels: 3,
        patches: 10,
    };
    let of = |hidden: &[bool]| -> Vec<Vec<usize>> {
        let each = hidden.chunks(10).map(|own| (0..10).filter(|at| own[*at]).collect());
        each.collect()
    };
    assert_eq!(of(&the_end(grid)), vec![vec![6, 7, 8, 9]; 3]);
    let drawn: Vec<_> = (0..100)
        .map(|seed| of(&anywhere(grid, &mut rng::for_step(seed, 0, 0))))
        .collect();
    assert!(drawn.iter().flatten().all(|hidden| hidden.len() == 4));
    let alike = drawn.iter().filter(|of| of[0] == of[1] && of[1] == of[2]).count();
    assert!((30..70).contains(&alike), "{alike}");
}

#[test]
fn a_window_of_one_patch_hides_nothing_and_is_shown_all_the_same() {
    let shown = pairs(&[window(2, 3)], 1);
    assert!(shown.filled.was.is_empty());
    assert_eq!(shown.mask.iter().filter(|is_token| **is_token).count(), 4);
    let (_, hidden) = PatchRows(shown).input(Device::Cpu).unwrap();
    assert_eq!(hidden.was.size(), [0, 4]);
}

#[test]
fn a_score_is_of_the_same_hidden_patches_wherever_the_sample_is_and_of_the_clean_window() {
    let (a, b) = (Content::Series(window(2, 64)), Content::Series(window(3, 40)));
    let together = series().scored(&[(SampleId(4), &a), (SampleId(9), &b)]).unwrap().0;
    let alone = series().scored(&[(SampleId(9), &b)]).unwrap().0;
    let of = |shown: &PaddedPatches, row: usize| -> Vec<(i64, i64)> {
        let own = (row * shown.columns..(row + 1) * shown.columns).filter(|at| shown.filled.hidden[*at]);
        own.map(|at| (shown.filled.channels[at], shown.filled.places[at]))
            .collect()
    };
    for view in 0..3 {
        assert_eq!(of(&together, 2 * view + 1), of(&alone, view));
    }
    assert!(of(&alone, 0).iter().all(|(_, place)| *place < 4));
    assert!(of(&alone, 2).is_empty() && of(&together, 4).is_empty());
}

#[test]
fn rows_of_one_length_need_no_mask_and_others_are_filled_up_to_a_multiple_of_eight() {
    let shown = |windows: &[Window]| {
        let rows: Vec<PatchRow> = windows
            .iter()
            .map(|window| PatchRow::new(window, &SPEC, |_, _| false))
            .collect();
        PaddedPatches::new(&rows.iter().collect::<Vec<_>>(), &SPEC)
    };
    let full = shown(&[window(1, 32), window(2, 16)]);
    assert_eq!(full.columns, 8);
    assert!(Patches::on(Device::Cpu, &full).unwrap().mask.is_none());
    let ragged = shown(&[window(1, 36), window(2, 16)]);
    assert_eq!(ragged.columns, 16);
    assert!(Patches::on(Device::Cpu, &ragged).unwrap().mask.is_some());
}

#[test]
fn of_too_many_variables_the_first_are_shown_and_of_too_many_steps_the_newest() {
    let wide = Grid::of(&window(1_000, 40), &SPEC);
    assert_eq!((wide.channels, wide.patches), (204, 10));
    let long = PatchRow::new(&window(1, 4 * 3_000), &SPEC, |_, _| false);
    assert_eq!((long.len(), long.places[2_047]), (2_048, 0));
}

#[test]
fn a_thumbnail_is_of_numbers_from_nought_to_one() {
    for channels in [1, 2, 5, 16, 40] {
        let mut window = window(channels, 50);
        window.values[3] = f64::NAN;
        window.values[4] = 1e300;
        let grey = thumbnail(&Content::Series(window));
        assert!(
            grey.iter().all(|grey| (0.0..=1.0).contains(grey)),
            "{channels}: {grey:?}"
        );
    }
}
