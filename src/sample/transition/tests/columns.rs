//! Transitions in Parquet, as the `parquet` crate writes it.

use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;

/// Rows of a world with a discrete action, as JSON lines: the state's parts, the action, whether the episode is over.
fn lines(rows: usize) -> String {
    let row = |row: usize| {
        let (x, action, done) = (row as f64 / 4.0, row % 3, row % 7 == 6);
        format!(
            "{{\"episode\": \"run {}\", \"t\": {}, \"state\": [{x}, {}], \"action\": {action}, \"next_state\": [{}, 0.5], \
             \"terminated\": {done}}}\n",
            row / 7,
            row % 7,
            -x,
            x + 1.0
        )
    };
    (0..rows).map(row).collect()
}

/// The same rows in Parquet, in groups of so many.
fn columns(rows: usize, group_rows: usize) -> Vec<u8> {
    let schema = "message m { required binary episode (UTF8); required int64 t; required double state_0; \
        required float state_1; required int64 action; required group next_state (LIST) \
        { repeated group list { optional double element; } } required boolean terminated; }";
    let mut file = Vec::new();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).unwrap();
    for start in (0..rows).step_by(group_rows) {
        let mut group = writer.next_row_group().unwrap();
        let rows: Vec<usize> = (start..rows.min(start + group_rows)).collect();
        macro_rules! column {
            ($of:ty, $make:expr) => {{
                let values: Vec<_> = rows.iter().map($make).collect();
                let mut column = group.next_column().unwrap().unwrap();
                column.typed::<$of>().write_batch(&values, None, None).unwrap();
                column.close().unwrap();
            }};
        }
        column!(ByteArrayType, |row| ByteArray::from(
            format!("run {}", row / 7).into_bytes()
        ));
        column!(Int64Type, |row| (row % 7) as i64);
        column!(DoubleType, |row| *row as f64 / 4.0);
        column!(FloatType, |row| -(*row as f32) / 4.0);
        column!(Int64Type, |row| (row % 3) as i64);
        let next: Vec<f64> = rows.iter().flat_map(|row| [*row as f64 / 4.0 + 1.0, 0.5]).collect();
        let (levels, starts) = (vec![2; next.len()], [0, 1].repeat(rows.len()));
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<DoubleType>()
            .write_batch(&next, Some(&levels), Some(&starts))
            .unwrap();
        column.close().unwrap();
        column!(BoolType, |row| row % 7 == 6);
        group.close().unwrap();
    }
    writer.close().unwrap();
    file
}

#[test]
fn parquet_json_lines_a_table_and_gzip_give_equal_transitions() {
    let lines = lines(250);
    let expected = good(&lines);
    assert_eq!((expected.transitions.len(), expected.faults_total), (250, 0));
    assert_eq!(expected.transitions[8].action, Action::Discrete(2));
    let mut table = "episode,t,state_0,state_1,action,next_state,terminated\n".to_owned();
    for (row, line) in lines.lines().enumerate() {
        let (x, next) = (
            row as f64 / 4.0,
            line.split("next_state\": ")
                .nth(1)
                .unwrap()
                .split(", \"")
                .next()
                .unwrap(),
        );
        let done = row % 7 == 6;
        table += &format!("run {},{},{x},{},{},\"{next}\",{done}\n", row / 7, row % 7, -x, row % 3);
    }
    for source in [columns(250, 250), columns(250, 60), table.into_bytes()] {
        for bytes in [gzip(&source), source] {
            let cut = good(bytes);
            assert_eq!(
                (cut.transitions, cut.faults),
                (expected.transitions.clone(), Vec::new())
            );
        }
    }
}

#[test]
fn a_parquet_file_that_lies_is_refused() {
    let file = columns(50, 20);
    for (at, _) in file.iter().enumerate() {
        let mut damaged = file.clone();
        damaged[at] ^= 0x55;
        if let Ok(cut) = read("a", damaged) {
            assert!(is_within(&cut, &TransitionLimits::default()));
        }
    }
    assert_eq!(reason(&file[..file.len() - 9]), Reason::Truncated);
    let limits = TransitionLimits {
        transitions_max: 49,
        ..TransitionLimits::default()
    };
    assert_eq!(cut(Path::new("a"), &file, &limits).unwrap_err().reason, Reason::Limits);
}
