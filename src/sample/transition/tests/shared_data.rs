//! The data of the shared folder; skipped where `CURIOD_TEST_DATA` is not set.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;

/// The folder of shared data, where it is.
fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("CURIOD_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: CURIOD_TEST_DATA names no folder");
    }
    folder
}

#[test]
fn shared_worlds_are_read_whole_with_their_states_and_actions() {
    let Some(data) = data() else { return };
    for (name, rows, dims, choices) in [
        ("cartpole", 20_000, 4, &[0, 1][..]),
        ("pendulum", 10_000, 3, &[]),
        ("cartpole_noisy_tv", 20_000, 6, &[0, 1, 2, 3]),
        ("cartpole_regimes", 20_000, 4, &[0, 1]),
        ("minigrid_doorkey", 6_000, 147, &[0, 1, 2, 3, 5]),
    ] {
        let bytes = std::fs::read(data.join("transitions").join(name).with_extension("jsonl")).unwrap();
        let cut = good(&bytes);
        assert!(
            is_within(&cut, &TransitionLimits::default()) && cut.faults_total == 0,
            "{name}"
        );
        assert_eq!(
            (cut.transitions.len(), cut.transitions[0].state.len()),
            (rows, dims),
            "{name}"
        );
        let mut found = BTreeSet::new();
        for action in actions(&cut) {
            match action {
                Action::Discrete(choice) => _ = found.insert(choice),
                Action::Real(real) => assert_eq!((real.len(), choices), (1, &[][..]), "{name}"),
            }
        }
        assert!(found.iter().eq(choices), "{name}: {found:?}");
        let first: serde_json::Value =
            serde_json::from_slice(bytes.split(|&byte| byte == b'\n').next().unwrap()).unwrap();
        let state: Vec<f32> = serde_json::from_value(first["state"].clone()).unwrap();
        assert_eq!(cut.transitions[0].state, state, "{name}");
    }
}

#[test]
fn next_states_told_by_the_next_row_are_those_that_were_left_out() {
    let Some(data) = data() else { return };
    let lines = std::fs::read_to_string(data.join("transitions/cartpole.jsonl")).unwrap();
    let without: String = lines
        .lines()
        .take(2_000)
        .map(|line| {
            let mut row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
            row.remove("next_state");
            serde_json::to_string(&row).unwrap() + "\n"
        })
        .collect();
    let (whole, told) = (good(&lines), good(without));
    let mut whole = whole.transitions.iter();
    assert!(told.faults_total == 0 && told.transitions.len() > 1_800);
    assert!(told.transitions.iter().all(|told| whole.any(|it| it == told)));
}

#[test]
fn bad_files_end_in_the_verdict_that_a_stream_of_transitions_owes_them() {
    let Some(data) = data() else { return };
    let expected = std::fs::read_to_string(data.join("bad/expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let mut wrong = Vec::new();
    for file in expected["files"].as_array().unwrap() {
        let path = data.join("bad").join(file["file"].as_str().unwrap());
        let outcome = cut(&path, &std::fs::read(&path).unwrap(), &TransitionLimits::default());
        let said = match &outcome {
            Ok(cut) => format!("{} transitions, faults at {:?}", cut.transitions.len(), faults(cut)),
            Err(why) => why.to_string(),
        };
        println!("{}: {said}", file["file"]);
        // The only file of them that holds transitions.
        let is_ours = path.ends_with("transitions_bad_shapes.jsonl");
        match outcome {
            Ok(cut) if is_ours => {
                let lines: Vec<u64> = serde_json::from_value(file["bad_lines"].clone()).unwrap();
                if faults(&cut) != lines || cut.transitions.len() != 6 || !is_within(&cut, &TransitionLimits::default())
                {
                    wrong.push(format!("{}: {said}", file["file"]));
                }
            }
            Ok(_) => wrong.push(format!("{}: {said}", file["file"])),
            Err(why) => {
                let (reason, got) = (file["reason"].as_str().unwrap(), why.reason.as_str());
                let is_also = file["also_reason"]
                    .as_array()
                    .is_some_and(|also| also.iter().any(|also| also == got));
                // What another stream would learn from, or refuse for what only that stream sees, is no type of this one.
                let is_allowed = reason == got || is_also || got == "unsupported_type";
                let is_other = file["expect"] == "accept" && ["corrupt", "limits", "type_mismatch"].contains(&got);
                let must = ["empty_file", "unsafe_type", "truncated", "limits"];
                let is_owed = file["expect"] == "quarantine" && must.contains(&reason) && got != reason;
                let is_text = ["txt", "csv", "json", "jsonl", "gz", "parquet", "pkl", "npy"]
                    .iter()
                    .any(|known| path.extension().is_some_and(|extension| extension == *known));
                if is_ours || !(is_allowed || is_other) || is_owed && is_text {
                    wrong.push(format!("{}: {said}, expected {reason}", file["file"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The transitions of a recording; None where it is not there.
pub(crate) fn recorded(name: &str) -> Option<Vec<Transition>> {
    let path = data()?.join("transitions").join(name);
    let bytes = std::fs::read(&path).unwrap();
    Some(cut(&path, &bytes, &TransitionLimits::default()).unwrap().transitions)
}
