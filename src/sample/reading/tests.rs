//! Parquet's columns of numbers and lists, as the `parquet` crate writes them.

use std::sync::Arc;

use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::data_type::{BoolType, DoubleType, FloatType, Int32Type, Int64Type, Int96, Int96Type};
use ::parquet::file::properties::{WriterProperties, WriterVersion};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

use super::ReadLimits;
use super::parquet::Footer;

const LIMITS: ReadLimits = ReadLimits {
    line_bytes_max: 1 << 20,
    columns_max: 100,
    nesting_max: 64,
    expansion_max: 1 << 30,
};

const SCHEMA: &str = "message m { required boolean b; required int32 i; optional int64 n; optional float f; \
    required double d; optional int64 millis (TIMESTAMP(MILLIS,true)); required int64 nanos (TIMESTAMP(NANOS,false)); \
    required int96 old; required int32 day (DATE); required int64 money (DECIMAL(18,2)); required int32 u (INTEGER(32,false)); \
    optional group state (LIST) { repeated group list { optional double element; } } \
    required group map { repeated group entry { required int32 key; required int32 value; } } }";

/// A file of so many rows; each third value that may be missing is.
fn written(rows: usize, properties: WriterProperties) -> Vec<u8> {
    let mut file = Vec::new();
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let present: Vec<i16> = (0..rows).map(|row| i16::from(row % 3 > 0)).collect();
    let there: Vec<i64> = (0..rows as i64).filter(|row| row % 3 > 0).collect();
    let all: Vec<i64> = (0..rows as i64).collect();
    macro_rules! column {
        ($of:ty, $rows:expr, $make:expr, $levels:expr, $starts:expr) => {{
            let values: Vec<_> = $rows.iter().map($make).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<$of>().write_batch(&values, $levels, $starts).unwrap();
            column.close().unwrap();
        }};
    }
    column!(BoolType, all, |row| row % 5 == 0, None, None);
    column!(Int32Type, all, |row| -(*row as i32 % 50), None, None);
    column!(Int64Type, there, |row| row * 10, Some(&present), None);
    column!(FloatType, there, |row| *row as f32 / 4.0, Some(&present), None);
    column!(DoubleType, all, |row| *row as f64 / 8.0, None, None);
    column!(Int64Type, there, |row| row * 1_000, Some(&present), None);
    column!(Int64Type, all, |row| row * 1_000_000_000 + 1_000_000, None, None);
    let old = |row: &i64| {
        let mut moment = Int96::new();
        moment.set_data(7_000_000, 0, 2_440_588 + *row as u32);
        moment
    };
    column!(Int96Type, all, old, None, None);
    column!(Int32Type, all, |row| *row as i32, None, None);
    column!(Int64Type, all, |row| row * 25, None, None);
    column!(Int32Type, all, |_| -1, None, None);
    // Of each four rows: no list, an empty one, one of a missing item, one of two items.
    let levels: Vec<i16> = (0..rows)
        .flat_map(|row| [&[0][..], &[1], &[2], &[3, 3]][row % 4].to_vec())
        .collect();
    let starts: Vec<i16> = (0..rows)
        .flat_map(|row| [&[0][..], &[0], &[0], &[0, 1]][row % 4].to_vec())
        .collect();
    let items: Vec<i64> = (0..levels.iter().filter(|level| **level == 3).count() as i64).collect();
    column!(DoubleType, items, |item| *item as f64, Some(&levels), Some(&starts));
    for _ in 0..2 {
        let levels = vec![1; rows];
        column!(Int32Type, all, |_| 0, Some(&levels), Some(&vec![0; rows]));
    }
    group.close().unwrap();
    writer.close().unwrap();
    file
}

fn properties(codec: Compression, version: WriterVersion, dictionary: bool) -> WriterProperties {
    let properties = WriterProperties::builder()
        .set_compression(codec)
        .set_writer_version(version)
        .set_dictionary_enabled(dictionary)
        .set_data_page_row_count_limit(150)
        .set_write_batch_size(50);
    match dictionary {
        true => properties.build(),
        false => properties
            .set_column_encoding("b".into(), Encoding::RLE)
            .set_encoding(Encoding::PLAIN)
            .build(),
    }
}

/// A column's name and numbers.
type Named = (String, Vec<f64>);

/// All that is read of a file: each column's name and numbers, and the lists.
fn read(file: &[u8], rows_max: usize) -> Option<(Vec<Named>, Vec<Vec<f64>>)> {
    let footer = Footer::read(file, LIMITS).ok()?;
    let (mut numbers, mut lists) = (Vec::new(), Vec::new());
    for group in &footer.groups {
        for (number, column) in footer.columns.iter().enumerate() {
            let mut allowance = 1 << 24;
            if column.is_number() || column.is_time() {
                let values = footer.numbers(file, group, number, rows_max, &mut allowance).ok()?;
                numbers.push((column.name.clone(), values));
            } else if column.is_list() {
                let read = footer.lists(file, group, number, rows_max, &mut allowance).ok()?;
                lists.extend((0..read.len()).map(|row| read.get(row).unwrap().to_vec()));
            }
        }
    }
    Some((numbers, lists))
}

fn is_same(left: &[f64], right: &[f64]) -> bool {
    let is_same = |(left, right): (&f64, &f64)| left == right || (left.is_nan() && right.is_nan());
    left.len() == right.len() && left.iter().zip(right).all(is_same)
}

#[test]
fn numbers_moments_and_lists_are_read_as_they_were_written() {
    let rows = 1_000;
    for codec in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for dictionary in [true, false] {
                let file = written(rows, properties(codec, version, dictionary));
                let (numbers, lists) = read(&file, 10_000).unwrap();
                let optional = |row: usize, value: f64| if row.is_multiple_of(3) { f64::NAN } else { value };
                let expected: [(&str, &dyn Fn(usize) -> f64); 11] = [
                    ("b", &|row| f64::from(u8::from(row % 5 == 0))),
                    ("i", &|row| -((row % 50) as f64)),
                    ("n", &|row| optional(row, row as f64 * 10.0)),
                    ("f", &|row| optional(row, row as f64 / 4.0)),
                    ("d", &|row| row as f64 / 8.0),
                    ("millis", &|row| optional(row, row as f64 * 1_000.0)),
                    ("nanos", &|row| row as f64 * 1_000.0 + 1.0),
                    ("old", &|row| row as f64 * 86_400_000.0 + 7.0),
                    ("day", &|row| row as f64 * 86_400_000.0),
                    ("money", &|row| row as f64 / 4.0),
                    ("u", &|_| f64::from(u32::MAX)),
                ];
                assert_eq!(numbers.len(), expected.len());
                for ((name, values), (expected, value)) in numbers.iter().zip(expected) {
                    let values_expected: Vec<f64> = (0..rows).map(value).collect();
                    assert_eq!(name, expected);
                    assert!(
                        is_same(values, &values_expected),
                        "{codec:?} {version:?} {dictionary} {name}"
                    );
                }
                let two = |row: usize| vec![(row / 4 * 2) as f64, (row / 4 * 2 + 1) as f64];
                for (row, list) in lists.iter().enumerate() {
                    let expected = [vec![], vec![], vec![f64::NAN], two(row)];
                    assert!(
                        is_same(list, &expected[row % 4]),
                        "{codec:?} {version:?} {dictionary} row {row}: {list:?}"
                    );
                }
                assert_eq!(lists.len(), rows);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn no_damage_makes_more_of_a_file_than_was_asked_for(
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        dictionary in any::<bool>(),
        second in any::<bool>(),
    ) {
        let version = if second { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 };
        let mut file = written(40, properties(Compression::UNCOMPRESSED, version, dictionary));
        for (at, byte) in damage {
            let at = at.index(file.len() - 8);
            file[at] = byte;
        }
        if let Some((numbers, lists)) = read(&file, 60) {
            prop_assert!(numbers.iter().all(|(_, values)| values.len() <= 60));
            prop_assert!(lists.iter().map(Vec::len).sum::<usize>() <= 60 * numbers.len().max(1));
        }
    }
}
