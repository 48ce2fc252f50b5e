//! Parquet files as the `parquet` crate writes them.

use std::sync::Arc;

use ::parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::properties::{WriterProperties, WriterVersion};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;

const SCHEMA: &str = "message m { required int64 n; optional group nested { optional binary text (UTF8); } \
                      optional binary text (UTF8); required binary blob; }";

fn written(values: &[Option<String>], properties: WriterProperties, groups: usize) -> Vec<u8> {
    let mut file = Vec::new();
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).unwrap();
    for values in values.chunks(values.len().div_ceil(groups).max(1)) {
        let numbers: Vec<i64> = (0..values.len() as i64).collect();
        let blobs: Vec<ByteArray> = values.iter().map(|_| ByteArray::from(vec![0xff, 0, 1])).collect();
        let texts: Vec<ByteArray> = values.iter().flatten().map(|text| text.as_str().into()).collect();
        let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&numbers, None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&[], Some(&vec![0; values.len()]), None)
            .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&texts, Some(&levels), None)
            .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&blobs, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
    file
}

fn variants() -> Vec<(String, WriterProperties)> {
    let mut variants = Vec::new();
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ];
    for codec in codecs {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for dictionary in [true, false] {
                let mut properties = WriterProperties::builder()
                    .set_compression(codec)
                    .set_writer_version(version)
                    .set_dictionary_enabled(dictionary)
                    .set_data_page_row_count_limit(700)
                    .set_write_batch_size(100);
                if !dictionary {
                    properties = properties.set_encoding(Encoding::PLAIN);
                }
                variants.push((format!("{codec:?} {version:?} {dictionary}"), properties.build()));
            }
        }
    }
    variants
}

#[test]
fn a_column_is_read_as_it_was_written() {
    let words = |i: usize| (i % 7 != 3).then(|| format!("some words of row {} äß", i % 1_200));
    let values: Vec<Option<String>> = (0..5_000).map(words).collect();
    let expected: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
    for (variant, properties) in variants() {
        let cut = read("a.parquet", written(&values, properties, 3)).unwrap_or_else(|why| panic!("{variant}: {why}"));
        assert_eq!(texts(&cut), expected, "{variant}");
    }
}

#[test]
fn a_small_file_of_large_pages_is_a_bomb() {
    let values: Vec<Option<String>> = (0..40)
        .map(|i| Some(format!("{i}{}", "some words ".repeat(80_000))))
        .collect();
    for (variant, properties) in variants().into_iter().skip(12) {
        let file = written(&values, properties, 1);
        assert!(file.len() < 100_000, "{}", file.len());
        assert_eq!(reason("a.parquet", file), Reason::Bomb, "{variant}");
    }
}

#[test]
fn no_damage_to_a_file_is_worse_than_a_refusal() {
    let values: Vec<Option<String>> = (0..300)
        .map(|i| (i % 5 > 0).then(|| format!("some words {}", i % 40)))
        .collect();
    let limits = limits();
    let mut state = 7_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for (_, properties) in variants() {
        let file = written(&values, properties, 2);
        for _ in 0..1_500 {
            let mut file = file.clone();
            for _ in 0..1 + random() % 3 {
                let at = random() % file.len();
                file[at] = random() as u8;
            }
            if let Ok(cut) = cut(Path::new("a"), &file, None, &limits) {
                assert!(is_within(&cut, &limits));
            }
        }
    }
}
