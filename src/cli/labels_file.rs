//! What `curiod labels import` is given: a folder whose folders are classes, a table, or JSON lines.
//! Invariant: every label is made of one line or file, and says which, so that one that is refused can be found.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::failure::Failure;

/// Folders below a class's folder, one inside the other. Deeper ones are refused.
const DEPTH_MAX: usize = 64;

/// By what a table names samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Its `id` or `sample`: a sample's number
    Id,
    /// Its `path`: a file's path below its inbox
    Path,
    /// Its `hash` or `source`: a file's blake3 hash
    Hash,
}

/// How a table is read.
pub(super) struct Reading<'a> {
    /// By what it names samples; what is there, where this is not said.
    pub(super) by: Option<By>,
    /// Where the files of its paths are: then they are named by their content.
    pub(super) root: Option<&'a Path>,
    /// The column with the classes.
    pub(super) label: &'a str,
}

/// A label to be given.
pub(super) struct Item {
    /// The line or file that it is made of.
    pub(super) place: String,
    /// What is sent.
    pub(super) sent: Value,
}

/// Reads labels from a folder, or from a file by its ending.
pub(super) fn read(from: &Path, reading: &Reading<'_>) -> Result<Vec<Item>, Failure> {
    let ending = from
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    match ending.as_str() {
        _ if from.is_dir() => of_folder(from),
        "csv" => of_csv(from, reading),
        "jsonl" | "ndjson" => of_json_lines(from, reading),
        _ => Err(Failure::new(
            Failure::USAGE,
            format!("{} is no folder, .csv, .jsonl or .ndjson", from.display()),
        )),
    }
}

/// The blake3 hash of a file, as 64 digits.
pub(super) fn hash_of(path: &Path) -> Result<String, Failure> {
    let mut hasher = blake3::Hasher::new();
    let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hasher));
    copied.map_err(|error| failed(path, &error))?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Failure::FAILED, format!("failed to read {}: {error}", path.display()))
}

/// Every file below `from/CLASS/`. Links are not followed; what is hidden is passed over.
fn of_folder(from: &Path) -> Result<Vec<Item>, Failure> {
    let mut items = Vec::new();
    for class in entries(from)?.into_iter().filter(|path| path.is_dir()) {
        let name = class.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut files = Vec::new();
        files_below(&class, DEPTH_MAX, &mut files)?;
        for file in files {
            items.push(Item {
                sent: json!({ "source": hash_of(&file)?, "label": name }),
                place: file.display().to_string(),
            });
        }
    }
    if items.is_empty() {
        let what = format!("{} has no folders with files in them", from.display());
        return Err(Failure::new(Failure::FAILED, what).hint("each class is a folder, and its files are in it"));
    }
    Ok(items)
}

fn files_below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if depth == 0 {
        return Err(Failure::new(
            Failure::FAILED,
            format!("{} is too deep", folder.display()),
        ));
    }
    for path in entries(folder)? {
        if path.is_dir() {
            files_below(&path, depth - 1, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// The files and folders of a folder that are neither hidden nor links, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, &error))? {
        let entry = entry.map_err(|error| failed(folder, &error))?;
        let kind = entry.file_type().map_err(|error| failed(folder, &error))?;
        if (kind.is_file() || kind.is_dir()) && !entry.file_name().to_string_lossy().starts_with('.') {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// A line for each label. One whose label is empty is passed over: it is not labelled yet.
fn of_csv(from: &Path, reading: &Reading<'_>) -> Result<Vec<Item>, Failure> {
    let mut table = csv::ReaderBuilder::new()
        .flexible(false)
        .from_path(from)
        .map_err(|error| failed(from, &error))?;
    let columns: Vec<String> = table
        .headers()
        .map_err(|error| failed(from, &error))?
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}').trim().to_owned())
        .collect();
    if !columns.iter().any(|name| name == reading.label) {
        let what = format!("{} has no column `{}`", from.display(), reading.label);
        return Err(
            Failure::new(Failure::FAILED, what).hint(format!("it has {}; see --label-column", columns.join(", ")))
        );
    }
    let mut items = Vec::new();
    for line in table.records() {
        let line = line.map_err(|error| failed(from, &error))?;
        let place = format!(
            "{}, line {}",
            from.display(),
            line.position().map_or(0, csv::Position::line)
        );
        let cells = columns.iter().zip(line.iter()).filter(|(_, cell)| !cell.is_empty());
        let row: Map<String, Value> = cells.map(|(name, cell)| (name.clone(), json!(cell))).collect();
        if row.contains_key(reading.label) {
            items.push(item(place, &row, reading)?);
        }
    }
    Ok(items)
}

/// An object for each label. One without a label is passed over; null takes a label back.
fn of_json_lines(from: &Path, reading: &Reading<'_>) -> Result<Vec<Item>, Failure> {
    let file = File::open(from).map_err(|error| failed(from, &error))?;
    let mut items = Vec::new();
    for (line, text) in BufReader::new(file).lines().enumerate() {
        let place = format!("{}, line {}", from.display(), line + 1);
        let text = text.map_err(|error| failed(from, &error))?;
        if text.trim().is_empty() {
            continue;
        }
        let row: Map<String, Value> =
            serde_json::from_str(&text).map_err(|error| Failure::new(Failure::FAILED, format!("{place}: {error}")))?;
        if row.contains_key(reading.label) {
            items.push(item(place, &row, reading)?);
        }
    }
    Ok(items)
}

/// The label that a row gives.
fn item(place: String, row: &Map<String, Value>, reading: &Reading<'_>) -> Result<Item, Failure> {
    let wrong = |what: String| Failure::new(Failure::FAILED, format!("{place}: {what}"));
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let cell = |names: [&str; 2]| names.iter().find_map(|name| row.get(*name)).and_then(text);
    let of = |by: By| match by {
        By::Id => cell(["id", "sample"]),
        By::Path => cell(["path", "path"]),
        By::Hash => cell(["hash", "source"]),
    };
    let found = match reading.by {
        Some(by) => of(by).map(|name| (by, name)),
        None => [By::Id, By::Hash, By::Path]
            .into_iter()
            .find_map(|by| Some((by, of(by)?))),
    };
    let (by, name) = found.ok_or_else(|| wrong("it names no sample by `id`, `path` or `hash`".to_owned()))?;
    let mut sent = Map::new();
    match (by, reading.root) {
        (By::Id, _) => {
            let id: u64 = name.parse().map_err(|_| {
                wrong(format!("`{name}` is no sample's number"))
                    .hint("where its ids are not curiod's, name samples --by path")
            })?;
            sent.insert("sample".to_owned(), json!(id));
        }
        (By::Path, Some(root)) => drop(sent.insert("source".to_owned(), json!(hash_of(&root.join(name))?))),
        (By::Path, None) => drop(sent.insert("path".to_owned(), json!(name))),
        (By::Hash, _) => drop(sent.insert("source".to_owned(), json!(name))),
    }
    if let Some(part) = row.get("part").and_then(text).filter(|_| by != By::Id) {
        let part: u32 = part
            .parse()
            .map_err(|_| wrong(format!("`{part}` is no part's number")))?;
        sent.insert("part".to_owned(), json!(part));
    }
    let label = match &row[reading.label] {
        Value::Null => Value::Null,
        value => json!(text(value).ok_or_else(|| wrong("its label is no text".to_owned()))?),
    };
    sent.insert("label".to_owned(), label);
    Ok(Item {
        place,
        sent: Value::Object(sent),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AS_IT_IS: Reading<'_> = Reading {
        by: None,
        root: None,
        label: "label",
    };

    fn sent(from: &Path, reading: &Reading<'_>) -> Vec<Value> {
        let items = read(from, reading).unwrap();
        items.into_iter().map(|item| item.sent).collect()
    }

    #[test]
    fn a_table_names_samples_by_what_it_has_and_leaves_out_what_has_no_label_yet() {
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("a.csv");
        fs::write(
            &table,
            "id,path,part,label\n7,a.png,,cat\n8,b.png,,\n,c.jsonl,3,\"dog, old\"\n",
        )
        .unwrap();
        let expected = [
            json!({ "sample": 7, "label": "cat" }),
            json!({ "path": "c.jsonl", "part": 3, "label": "dog, old" }),
        ];
        assert_eq!(sent(&table, &AS_IT_IS), expected);
        fs::write(&table, "id,path,class\nA-7,a.png,cat\n").unwrap();
        let classes = Reading {
            label: "class",
            ..AS_IT_IS
        };
        assert!(read(&table, &AS_IT_IS).is_err() && read(&table, &classes).is_err());
        let by_path = Reading {
            by: Some(By::Path),
            ..classes
        };
        assert_eq!(sent(&table, &by_path), [json!({ "path": "a.png", "label": "cat" })]);
        fs::write(dir.path().join("a.png"), b"content").unwrap();
        let by_content = Reading {
            root: Some(dir.path()),
            ..by_path
        };
        let hash = blake3::hash(b"content").to_hex().to_string();
        assert_eq!(sent(&table, &by_content), [json!({ "source": hash, "label": "cat" })]);
    }

    #[test]
    fn json_lines_take_labels_back_with_null_and_name_the_line_that_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let lines = dir.path().join("a.jsonl");
        fs::write(
            &lines,
            "{\"sample\": 7, \"label\": null}\n\n{\"id\": 8}\n{\"hash\": \"ab\", \"label\": 3}\n",
        )
        .unwrap();
        let expected = [
            json!({ "sample": 7, "label": null }),
            json!({ "source": "ab", "label": "3" }),
        ];
        assert_eq!(sent(&lines, &AS_IT_IS), expected);
        fs::write(&lines, "{\"sample\": 7, \"label\": \"a\"}\n{\"label\": \"a\"}\n").unwrap();
        assert!(format!("{:?}", read(&lines, &AS_IT_IS).err()).contains("line 2"));
    }

    #[test]
    fn the_folders_of_a_folder_are_classes_of_the_files_below_them() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path(), &AS_IT_IS).is_err());
        for (file, content) in [
            ("cat/1.png", "a"),
            ("cat/old/2.png", "b"),
            ("dog/.hidden", "c"),
            ("dog/3.png", "d"),
            ("4.png", "e"),
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), dir.path().join("dog/loop")).unwrap();
        let of = |content: &str, label: &str| json!({ "source": blake3::hash(content.as_bytes()).to_hex().to_string(), "label": label });
        assert_eq!(
            sent(dir.path(), &AS_IT_IS),
            [of("a", "cat"), of("b", "cat"), of("d", "dog")]
        );
    }
}
