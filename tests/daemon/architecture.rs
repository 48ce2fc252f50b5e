//! The walls between the rooms, read off the `use` lines.

use std::fs;
use std::path::{Path, PathBuf};

/// The Rust files of a room, tests included.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Every file below `src` with its text before the first test module.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    assert!(found.len() > 20, "found {} files only", found.len());
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
            (path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(), text)
        })
        .collect()
}

/// No file that `inside` picks names any of these paths outside of comments.
fn never_names(inside: impl Fn(&str) -> bool, paths: &[&str]) {
    let mut broken = Vec::new();
    for (file, text) in sources().iter().filter(|(file, _)| inside(file)) {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let names = |path: &str| {
                code.match_indices(path).any(|(at, _)| {
                    let before = code[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                })
            };
            broken.extend(
                paths
                    .iter()
                    .filter(|path| names(path))
                    .map(|path| format!("{file}:{}: {path}", number + 1)),
            );
        }
    }
    assert!(broken.is_empty(), "these walls are broken:\n{}", broken.join("\n"));
}

fn room(name: &'static str) -> impl Fn(&str) -> bool {
    move |file: &str| file.starts_with(&format!("{name}/")) || file == format!("{name}.rs")
}

#[test]
fn samples_know_nothing_else() {
    never_names(
        room("sample"),
        &[
            "crate::replay",
            "crate::ingest",
            "crate::learn",
            "crate::model",
            "crate::serve",
            "crate::torch",
            "tch::",
        ],
    );
}

#[test]
fn the_replay_buffer_knows_no_tensors() {
    never_names(
        room("replay"),
        &[
            "tch::",
            "crate::torch",
            "crate::model",
            "crate::learn",
            "crate::serve",
            "crate::ingest",
        ],
    );
}

#[test]
fn serving_never_imports_learning_and_learning_never_imports_serving_or_the_registry() {
    never_names(room("serve"), &["crate::learn"]);
    never_names(room("learn"), &["crate::serve", "crate::registry"]);
}

#[test]
fn keys_know_nothing_of_who_asks_for_them() {
    never_names(
        room("access"),
        &[
            "crate::serve",
            "crate::daemon",
            "crate::config",
            "crate::client",
            "crate::cli",
        ],
    );
}

#[test]
fn labels_know_no_tensors_and_the_learner_no_labels() {
    never_names(
        room("labels"),
        &[
            "tch::",
            "crate::torch",
            "crate::model",
            "crate::serve",
            "crate::learn",
            "crate::replay",
        ],
    );
    never_names(room("learn"), &["crate::labels"]);
    never_names(room("replay"), &["crate::labels"]);
    never_names(room("gate"), &["crate::labels"]);
}

#[test]
fn what_is_trained_on_labels_knows_nothing_of_learning_without_them_but_how_pictures_are_shown() {
    never_names(
        room("tune"),
        &["crate::serve", "crate::registry", "crate::replay", "crate::gate"],
    );
    let other_than_views = |file: &str| room("tune")(file) && !["tune/shown.rs", "tune/tests.rs"].contains(&file);
    never_names(other_than_views, &["crate::learn"]);
}

#[test]
fn sled_is_named_in_one_file() {
    never_names(|file| file != "replay/catalogue.rs", &["sled::"]);
}

#[test]
fn tokio_stays_at_the_edge() {
    let edge = |file: &str| {
        ["daemon/", "serve/", "cli/", "main.rs", "client.rs", "client/"]
            .iter()
            .any(|part| file.starts_with(part))
    };
    never_names(|file| !edge(file), &["tokio::", "tokio_stream::", "axum::"]);
}

#[test]
fn unsafe_code_is_in_the_torch_room_alone() {
    never_names(
        |file| !file.starts_with("torch/"),
        &["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code)"],
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(file, _)| file)
        .collect();
    assert!(silent.is_empty(), "{silent:?} open without a word");
}

#[test]
fn every_fault_point_is_somewhere() {
    let sources = sources();
    for point in curiod::disk::POINTS.into_iter().chain(curiod::disk::STALLS) {
        let name = format!("(\"{point}\"");
        let elsewhere = |(file, text): &(String, String)| !file.starts_with("disk/") && text.contains(&name);
        assert!(sources.iter().any(elsewhere), "{point} is nowhere");
    }
}

#[test]
fn every_warning_and_error_of_the_log_says_what_to_do() {
    // Its lines are orders of a test.
    let exempt = ["disk/faults.rs"];
    let mut silent = Vec::new();
    for (file, text) in sources().iter().filter(|(file, _)| !exempt.contains(&file.as_str())) {
        for call in ["warn!(", "error!("] {
            for (at, _) in text.match_indices(call) {
                let is_whole_name = !text[..at].ends_with(|before: char| before == '_' || before.is_alphanumeric());
                let told = &text[at..at + text[at..].find(['}', ';']).unwrap_or(text.len() - at)];
                let until_next = text[at..]
                    .match_indices('\n')
                    .nth(9)
                    .map_or(text.len() - at, |(end, _)| end);
                let told = if told.contains("hint") {
                    told
                } else {
                    &text[at..at + until_next]
                };
                if is_whole_name && !told.contains("hint") {
                    silent.push(format!("{file}: {}", told.lines().take(3).collect::<String>()));
                }
            }
        }
    }
    assert!(silent.is_empty(), "without a hint:\n{}", silent.join("\n"));
}

#[test]
fn an_encoder_is_written_for_others_without_a_tensor() {
    let rooms = ["model/operators/", "model/onnx/", "model/torchscript/"];
    let for_tests = ["tests.rs", "examples.rs"];
    let inside = |file: &str| {
        rooms.iter().any(|room| file.starts_with(room)) && !for_tests.iter().any(|name| file.ends_with(name))
    };
    never_names(inside, &["crate::torch", "tch::"]);
}

#[test]
fn curiosity_knows_no_tensors_and_no_disk() {
    never_names(
        room("curiosity"),
        &[
            "tch::",
            "crate::torch",
            "crate::model",
            "crate::learn",
            "crate::serve",
            "crate::disk",
            "std::fs",
        ],
    );
}
