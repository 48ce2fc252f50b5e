//! What holds for any bytes at all.

use proptest::prelude::*;

use super::*;

fn tight(steps: usize, stride: usize) -> SeriesLimits {
    SeriesLimits {
        window_steps: steps,
        stride_steps: stride,
        columns_max: 32,
        windows_max: 500,
        values_max: 50_000,
        expansion_max: 1 << 20,
        ..limits()
    }
}

/// Files of each kind, small and whole.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let table = lines("time,a,b", 0..40, |i| {
        format!("2024-01-{:02} {:02}:00,{},\"{}.5\"", 1 + i / 24, i % 24, i * i, i % 5)
    });
    let objects = lines("", 0..30, |i| format!("{{\"t\":{i},\"a\":{}.5,\"b\":true}}", i % 7));
    let numbers: Vec<u8> = (0..40).flat_map(|i| f64::from(i).to_le_bytes()).collect();
    let array = arrays::array("<f8", false, "(20, 2)", &numbers);
    let archive = arrays::archive(&[("x.npy", array.clone())], zip::CompressionMethod::Deflated);
    vec![
        ("a.csv", table.into_bytes()),
        (
            "a.csv",
            lines("zeit;wert", 0..30, |i| format!("{:02}.01.2024;{i},5", i % 28 + 1)).into_bytes(),
        ),
        ("a.jsonl", objects.into_bytes()),
        ("a.npy", array),
        ("a.npz", archive),
        ("a.wav", sounds::wave(1, 2, 16, &[7; 6_000])),
        ("a.parquet", columns::parquet()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn no_bytes_are_worse_than_a_refusal(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        kind in 0_usize..8,
        steps in 0_usize..40,
        stride in 0_usize..40,
    ) {
        let name = ["a", "a.txt", "a.csv", "a.jsonl", "a.npy", "a.npz", "a.wav", "a.parquet"][kind];
        let limits = tight(steps, stride);
        let openings = [&b""[..], b"PAR1", b"\x1f\x8b\x08\0", b"\x93NUMPY\x01\0\x40\0{'descr': '<f8', ", b"PK\x03\x04",
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0", b"time,a\n", b"{\"t\":"];
        for opening in openings {
            let bytes = [opening, &bytes].concat();
            if let Ok(cut) = cut(Path::new(name), &bytes, &limits) {
                prop_assert!(is_within(&cut, &limits), "{cut:?}");
            }
        }
    }

    #[test]
    fn damaged_files_are_cut_within_the_limits_or_refused(
        seed in any::<proptest::sample::Index>(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
        end in any::<proptest::sample::Index>(),
        is_cut in any::<bool>(),
        steps in 1_usize..40,
        stride in 0_usize..40,
    ) {
        let seeds = seeds();
        let (name, mut bytes) = seeds[seed.index(seeds.len())].clone();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if is_cut {
            bytes.truncate(end.index(bytes.len()));
        }
        let limits = tight(steps, stride);
        if let Ok(cut) = cut(Path::new(name), &bytes, &limits) {
            prop_assert!(is_within(&cut, &limits), "{cut:?}");
        }
    }

    #[test]
    fn random_tables_are_cut_within_the_limits_or_refused(
        text in "((2024-01-0[1-9]|[0-9]{1,4}|-?[0-9]\\.[0-9]{1,3}|1e[0-9]{2,3}|nan|[a-z]{1,3}|\"|)[,;\t\n]){0,120}",
        kind in 0_usize..3,
        steps in 0_usize..20,
    ) {
        let name = ["a", "a.csv", "a.tsv"][kind];
        let limits = tight(steps, steps / 2);
        if let Ok(cut) = cut(Path::new(name), text.as_bytes(), &limits) {
            prop_assert!(is_within(&cut, &limits), "{cut:?}");
        }
    }

    #[test]
    fn every_step_of_a_long_series_is_in_a_window(
        rows in 8_usize..400,
        steps in 8_usize..60,
        stride in 1_usize..60,
    ) {
        let limits = tight(steps, stride.min(steps));
        let text = lines("a", 0..rows, |i| (i * 2).to_string());
        let cut = cut(Path::new("a.csv"), text.as_bytes(), &limits).unwrap();
        let mut seen = vec![false; rows];
        for window in &cut.windows {
            for (step, value) in (window.start..).zip(&window.values) {
                prop_assert_eq!(*value, (step * 2) as f64);
                seen[step as usize] = true;
            }
        }
        prop_assert!(seen.into_iter().all(|seen| seen));
    }
}
