//! Transitions in many shapes, whole and broken, made here. Always true of what is cut: `is_within`.

mod columns;
mod properties;
mod shared_data;

use std::io::Write;

pub(crate) use shared_data::recorded;

use super::*;
use crate::sample::Action;

fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Cut, Rejection> {
    cut(Path::new(name), bytes.as_ref(), &TransitionLimits::default())
}

/// Reads what has a good row in it.
fn good(bytes: impl AsRef<[u8]>) -> Cut {
    read("a", bytes).unwrap()
}

fn reason(bytes: impl AsRef<[u8]>) -> Reason {
    read("a", bytes).unwrap_err().reason
}

/// Where the faults are.
fn faults(cut: &Cut) -> Vec<u64> {
    cut.faults.iter().map(|fault| fault.at).collect()
}

/// The episode and place of each transition.
fn places(cut: &Cut) -> Vec<(u64, u64)> {
    cut.transitions.iter().map(|it| (it.episode, it.t)).collect()
}

fn actions(cut: &Cut) -> Vec<Action> {
    cut.transitions.iter().map(|it| it.action.clone()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn is_within(cut: &Cut, limits: &TransitionLimits) -> bool {
    let finite = |numbers: &[f32]| numbers.iter().all(|number| number.is_finite());
    let dims = cut.transitions.first().map_or(0, |it| it.state.len());
    let is_whole = |it: &Transition| {
        let is_action = match &it.action {
            Action::Discrete(choice) => (*choice as usize) < limits.actions_max,
            Action::Real(real) => (1..=limits.actions_max).contains(&real.len()) && finite(real),
        };
        is_action
            && it.state.len() == dims
            && it.next_state.len() == dims
            && finite(&it.state)
            && finite(&it.next_state)
    };
    (1..=limits.state_dims_max).contains(&dims)
        && (1..=limits.transitions_max).contains(&cut.transitions.len())
        && cut.transitions.iter().all(is_whole)
        && cut.faults.len() <= 100
        && cut.faults_total >= cut.faults.len() as u64
        && cut.faults.is_sorted_by_key(|fault| fault.at)
}

/// The same rows in each form that is read; the second has no next state of its own in the first forms.
const LINES: &str = r#"{"episode": 3, "t": 0, "state": [0.5, -1], "action": [0.25, 1], "reward": 1, "next_state": [1.5, -2]}
{"episode": 3, "t": 1, "state": [1.5, -2], "action": [0.5, 2], "reward": 0.5, "next_state": [2.5, -3e-3]}
{"episode": 4, "t": 0, "state": [7, 8], "action": [-1, 3], "reward": 0, "next_state": [9, 10]}
"#;

#[test]
fn the_same_rows_are_the_same_transitions_in_every_form() {
    let lines = good(LINES);
    assert_eq!(
        lines.transitions[1],
        Transition {
            episode: 3,
            t: 1,
            state: vec![1.5, -2.0],
            action: Action::Real(vec![0.5, 2.0]),
            next_state: vec![2.5, -3e-3],
        }
    );
    let array = format!("[\n{}\n]", LINES.trim().replace("}\n", "},\n"));
    let cells = "episode,t,state,action,reward,next_state\r\n\
                 3,0,\"[0.5, -1]\",\"[0.25, 1]\",1,\"[1.5, -2]\"\r\n\
                 3,1,\"[1.5, -2]\",\"[0.5, 2]\",0.5,\"[2.5, -3e-3]\"\r\n\
                 4,0,\"[7, 8]\",\"[-1, 3]\",0,\"[9, 10]\"\r\n";
    let columns = "action_1\tstate_1\tstate_0\tEpisode\tstep\taction_0\tnext_state[0]\tnext_state[1]\n\
                   1\t-1\t0.5\t3\t0\t0.25\t1.5\t-2\n2\t-2\t1.5\t3\t1\t0.5\t2.5\t-0.003\n3\t8\t7\t4\t0\t-1\t9\t10\n";
    let short = "ep;s0;s1;a0;a1;next_s0;next_s1\n3;0.5;-1;0.25;1;1.5;-2\n3;1.5;-2;0.5;2;2.5;-3e-3\n4;7;8;-1;3;9;10\n";
    let objects = LINES.replace("[0.5, -1]", r#"{"b": [[-1]], "a": 0.5}"#);
    for source in [&array, cells, columns, short, &objects] {
        for bytes in [source.as_bytes().to_vec(), gzip(source.as_bytes())] {
            let cut = good(&bytes);
            assert_eq!(
                (cut.transitions, cut.faults),
                (lines.transitions.clone(), Vec::new()),
                "{source}"
            );
        }
    }
}

#[test]
fn the_content_tells_the_form_and_not_the_name() {
    for name in ["a.csv", "a.parquet", "a.jpg", "a.jsonl.gz", "a"] {
        assert_eq!(read(name, LINES).unwrap().transitions.len(), 3, "{name}");
    }
    assert_eq!(read("a.jpg", "<html>no").unwrap_err().reason, Reason::TypeMismatch);
}

#[test]
fn a_missing_next_state_is_the_state_of_the_episodes_next_row() {
    let cut = good(
        r#"{"episode": 1, "obs": 1, "action": 0}
           {"episode": 2, "obs": 10, "action": 1}
           {"episode": 1, "obs": 2, "action": 2}
           {"episode": 2, "obs": 11, "action": 3}
           {"episode": 1, "obs": 3}"#,
    );
    let steps = cut
        .transitions
        .iter()
        .map(|it| (it.episode, it.t, it.state[0], it.next_state[0]));
    let expected = [(1, 0, 1.0, 2.0), (2, 0, 10.0, 11.0), (1, 1, 2.0, 3.0)];
    assert!(steps.eq(expected), "{cut:?}");
    assert_eq!(cut.faults_total, 0, "the last row of an episode is no fault");
}

#[test]
fn states_are_not_joined_across_a_row_that_is_wrong() {
    let rows = |third: &str| {
        let row = |state: u32| format!("{{\"state\": [{state}], \"action\": 0}}\n");
        [row(1), row(2), third.to_owned(), row(4), row(5)].concat()
    };
    let next = |cut: &Cut| cut.transitions.iter().map(|it| it.next_state[0]).collect::<Vec<_>>();
    for third in [
        "{\"state\": [3], \"act\n",
        "{\"state\": [3, 3], \"action\": 0}\n",
        "{\"action\": 0}\n",
        "7\n",
    ] {
        let cut = good(rows(third));
        assert_eq!((faults(&cut), next(&cut)), (vec![3], vec![2.0, 5.0]), "{third}");
    }
    let cut = good(rows("{\"state\": [3], \"action\": \"left\"}\n"));
    assert_eq!(
        (faults(&cut), next(&cut)),
        (vec![3], vec![2.0, 3.0, 5.0]),
        "its state is right"
    );
    let cut = good(rows("{\"state\": [3]}\n"));
    assert_eq!(
        (faults(&cut), next(&cut)),
        (vec![3], vec![2.0, 3.0, 5.0]),
        "another row follows it"
    );
    let no_episode = "{\"episode\": 1, \"state\": 1, \"action\": 0}\n".repeat(2)
        + "{\"state\": 2, \"action\": 0}\n"
        + &"{\"episode\": 1, \"state\": 3, \"action\": 0}\n".repeat(2);
    let cut = good(no_episode);
    assert_eq!((faults(&cut), next(&cut)), (vec![3], vec![1.0, 3.0]));
}

#[test]
fn episodes_are_told_by_numbers_by_words_or_by_their_ends() {
    let rows = |episodes: [&str; 4]| {
        let row = |fields: &str| format!("{{{fields}\"state\": [1], \"action\": 0, \"next_state\": [2]}}\n");
        places(&good(episodes.map(row).concat()))
    };
    let by_number = [7, 7, 2, 7].map(|number| format!("\"episode_id\": {number}, "));
    assert_eq!(
        rows(by_number.each_ref().map(String::as_str)),
        [(7, 0), (7, 1), (2, 0), (7, 2)]
    );
    let by_word = ["x", "x", "y", "x"].map(|word| format!("\"trajectory\": \"{word}\", "));
    assert_eq!(
        rows(by_word.each_ref().map(String::as_str)),
        [(0, 0), (0, 1), (1, 0), (0, 2)]
    );
    let by_end = ["", "\"done\": true, ", "\"terminated\": false, \"truncated\": 1, ", ""];
    assert_eq!(rows(by_end), [(0, 0), (0, 1), (1, 0), (2, 0)]);
    assert_eq!(rows([""; 4]), [(0, 0), (0, 1), (0, 2), (0, 3)]);
    let with_t = ["\"timestep\": 5, ", "\"timestep\": 9, ", "", "\"timestep\": 3, "];
    assert_eq!(rows(with_t), [(0, 5), (0, 9), (0, 10), (0, 3)]);
}

#[test]
fn an_actions_kind_is_that_of_most_rows() {
    let rows = |kinds: &[&str]| {
        let row = |action: &&str| format!("{{\"state\": [1], \"action\": {action}, \"next_state\": [2]}}\n");
        let cut = good(kinds.iter().map(row).collect::<String>());
        (actions(&cut), faults(&cut))
    };
    let choices = |choices: &[u32]| choices.iter().copied().map(Action::Discrete).collect::<Vec<_>>();
    let reals = |reals: &[f32]| reals.iter().map(|&real| Action::Real(vec![real])).collect::<Vec<_>>();
    assert_eq!(
        rows(&["0", "2.0", "31", "[1]", "0.5", "-1", "1", "1", "1"]),
        (choices(&[0, 2, 31, 1, 1, 1]), vec![4, 5, 6])
    );
    assert_eq!(rows(&["true", "false", "1"]), (choices(&[1, 0, 1]), vec![]));
    assert_eq!(
        rows(&["0.5", "1", "1.0", "[2]", "-1", "true"]),
        (reals(&[0.5, 1.0, 1.0, 2.0, -1.0]), vec![6])
    );
    assert_eq!(
        rows(&["[1]", "[2]", "[1, 2]", "[]", "[\"a\"]", "[null]"]),
        (reals(&[1.0, 2.0]), vec![3, 4, 5, 6])
    );
    assert_eq!(
        rows(&["0", "1", "32", "\"left\"", "null"]),
        (choices(&[0, 1]), vec![3, 4, 5])
    );
}

#[test]
fn rows_that_are_wrong_are_named_and_cost_no_other() {
    let right = "{\"state\": [1, 2], \"action\": 0, \"next_state\": [2, 3]}";
    for (wrong, reason) in [
        (
            "{\"state\": [1, NaN], \"action\": 0, \"next_state\": [2, 3]}",
            Reason::Corrupt,
        ),
        (
            "{\"state\": [1, 1e999], \"action\": 0, \"next_state\": [2, 3]}",
            Reason::Corrupt,
        ),
        (
            "{\"state\": [1, 1e300], \"action\": 0, \"next_state\": [2, 3]}",
            Reason::Corrupt,
        ),
        (
            "{\"state\": [1, \"2\"], \"action\": 0, \"next_state\": [2, 3]}",
            Reason::Corrupt,
        ),
        (
            "{\"state\": [1, 2], \"action\": 0, \"next_state\": [2]}",
            Reason::Corrupt,
        ),
        (
            "{\"state\": [], \"action\": 0, \"next_state\": [2, 3]}",
            Reason::Corrupt,
        ),
        (
            "{\"state\": [1, 2], \"action\": 0, \"reward\": \"one\", \"next_state\": [2, 3]}",
            Reason::Corrupt,
        ),
        (
            "{\"state\": [1, 2], \"action\": 0, \"t\": -1, \"next_state\": [2, 3]}",
            Reason::Corrupt,
        ),
        (
            "{\"state\": [1, 2], \"action\": 0, \"next_state\": [2, 3]",
            Reason::Truncated,
        ),
        ("{\"value\": 1}", Reason::UnsupportedType),
        ("[1, 2]", Reason::Corrupt),
        (
            &format!("{{\"state\": [{}1], \"action\": 0}}", "1,".repeat(300)),
            Reason::Limits,
        ),
        (
            &format!("{{\"state\": {}{}}}", "[".repeat(70), "]".repeat(70)),
            Reason::Limits,
        ),
        (
            &format!("{{\"state\": 1, \"note\": \"{}\"}}", "x".repeat(1 << 20)),
            Reason::Limits,
        ),
    ] {
        let with_t = right.replacen('{', "{\"t\": 0, ", 1);
        let cut = good([&with_t, &with_t, wrong, &with_t].join("\n"));
        assert_eq!((faults(&cut), cut.faults[0].reason), (vec![3], reason), "{wrong:.80}");
        assert_eq!(cut.transitions.len(), 3, "{wrong:.80}");
        if reason != Reason::Truncated {
            let cut = good(format!("[{with_t}, {with_t},{wrong},{with_t}]"));
            assert_eq!((faults(&cut), cut.faults[0].reason), (vec![3], reason), "{wrong:.80}");
        }
    }
}

#[test]
fn rows_of_a_table_that_are_wrong_are_named() {
    let header = "episode,obs_0,obs_1,action,next_obs_0,next_obs_1\n";
    let cut = good(format!(
        "{header}0,1,2,1,3,4\n0,1,2,1,3\n0,nan,2,1,3,4\n0,1,,1,3,4\n0,1,x,1,3,4\n0,1,2,,3,4\n0,1,2,1.0,3,4\n0,\"1,2,1,3,4\n0,5,6,0,,\n0,7,8,0,,\n"
    ));
    assert_eq!((faults(&cut), cut.transitions.len()), (vec![2, 3, 4, 5, 6, 8], 3));
    assert_eq!(
        (&cut.transitions[2].state, &cut.transitions[2].next_state),
        (&vec![5.0, 6.0], &vec![7.0, 8.0])
    );
    assert_eq!(reason(header), Reason::EmptyFile);
    assert_eq!(reason("state,action\n\"[[[1,2\",0\n"), Reason::Corrupt);
    assert_eq!(reason("state,reward\n1,2\n"), Reason::UnsupportedType);
}

#[test]
fn an_array_that_is_cut_keeps_its_whole_rows() {
    let row = "{\"state\": [1, 2], \"action\": 0, \"next_state\": [2, 3]}";
    for (text, at, reason) in [
        (format!("[{row}, {row}"), 3, Reason::Truncated),
        (format!("[{row}, {row}, "), 3, Reason::Truncated),
        (format!("[{row}, {row}, {{\"state\": [1,"), 3, Reason::Truncated),
        (format!("[{row}, {row}] {row}"), 3, Reason::Corrupt),
    ] {
        let cut = good(&text);
        assert_eq!((faults(&cut), cut.faults[0].reason), (vec![at], reason), "{text}");
        assert_eq!(cut.transitions.len(), 2, "{text}");
    }
    assert_eq!(good(format!("[{row}, {row},]")).faults_total, 0);
    assert_eq!(reason("[]"), Reason::EmptyFile);
    assert_eq!(reason("[".repeat(100_000)), Reason::Limits);
}

#[test]
fn a_source_past_the_limits_is_refused() {
    let limits = TransitionLimits {
        transitions_max: 2,
        expansion_max: 1 << 20,
        ..TransitionLimits::default()
    };
    let refused = |bytes: &[u8]| cut(Path::new("a"), bytes, &limits).unwrap_err().reason;
    assert_eq!(refused(LINES.as_bytes()), Reason::Limits);
    assert_eq!(refused(&gzip(LINES.repeat(4_000).as_bytes())), Reason::Bomb);
    assert_eq!(reason(gzip(&gzip(LINES.as_bytes()))), Reason::UnsupportedType);
}

#[test]
fn of_many_faults_the_first_hundred_are_kept_and_all_are_counted() {
    let wrong = "{\"state\": [1], \"action\": -1}\n";
    let cut = good(format!(
        "{}{}7\n{}",
        LINES.repeat(40),
        wrong.repeat(150),
        wrong.repeat(150)
    ));
    assert_eq!((cut.faults_total, cut.transitions.len()), (301, 120));
    assert!(faults(&cut).into_iter().eq(121..221));
}

#[test]
fn a_source_without_a_good_row_is_refused_for_the_commonest_reason() {
    let wrong = "{\"state\": [1], \"action\": \"left\"}\n";
    assert_eq!(reason(format!("{{\"value\": 1}}\n{wrong}{wrong}")), Reason::Corrupt);
    assert_eq!(
        reason(format!("{wrong}{}", "{\"value\": 1}\n".repeat(2))),
        Reason::UnsupportedType
    );
    assert_eq!(
        reason("{\"state\": [1], \"action\": 1}"),
        Reason::EmptyFile,
        "no row follows it"
    );
}
