//! Tables and JSON: which columns are read, and how their values are.

use std::sync::Arc;

use ::parquet::data_type::{ByteArrayType, DoubleType, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;

#[test]
fn the_time_is_found_by_its_name_or_by_its_writing() {
    let hour = |i: usize| format!("2024-01-{:02} {:02}:00", 1 + i / 24, i % 24);
    let last = Some(1_704_067_200_000 + 29 * 3_600_000);
    for text in [
        lines("a,when,b", 0..30, |i| format!("{},{},{}", i % 7, hour(i), i % 3)),
        lines("a,time,b", 0..30, |i| {
            format!("{},{},{}", i % 7, 1_704_067_200 + i * 3_600, i % 3)
        }),
        lines("a,ds,b", 0..30, |i| {
            format!("{},{},{}", i % 7, 1_704_067_200_000 + i * 3_600_000, i % 3)
        }),
        lines("a,Date,b", 0..30, |i| {
            format!("{},\"{}:00.000Z\",{}", i % 7, hour(i).replace(' ', "T"), i % 3)
        }),
    ] {
        let window = window("a.csv", &text);
        assert_eq!((window.channels, window.time), (2, last), "{text}");
        assert_eq!(window.channel(0)[..9], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 1.0]);
    }
}

#[test]
fn days_and_years_are_times_and_numbers_that_only_grow_give_the_order_alone() {
    let last = |text: String| window("a.csv", text).time;
    let day = Some(1_704_067_200_000 + 19 * 86_400_000);
    assert_eq!(
        last(lines("date,a", 0..20, |i| format!("{},{}", 20_240_101 + i, i % 4))),
        day
    );
    assert_eq!(
        last(lines("x,a", 0..20, |i| format!("{:02}.01.2024,{}", i + 1, i % 4))),
        day
    );
    assert_eq!(
        last(lines("x,a", 0..20, |i| format!("2024/1/{},{}", i + 1, i % 4))),
        day
    );
    assert_eq!(
        last(lines("YEAR,a", 0..20, |i| format!("{},{}", 1_951 + i, i % 4))),
        Some(0)
    );
    let window = window("a.csv", lines("t,a", 0..20, |i| format!("{}.5,{}", i, i % 4)));
    assert_eq!((window.channels, window.time), (1, None));
}

#[test]
fn days_between_slashes_and_times_of_day_in_a_column_of_their_own_are_times() {
    let last = Some(1_704_067_200_000 + 29 * 3_600_000);
    let day = |i: usize| 1 + i / 24;
    for text in [
        lines("a,when,b", 0..30, |i| {
            format!("{},1/{}/2024 {}:00,{}", i % 7, day(i), i % 24, i % 3)
        }),
        lines("a,when,b", 0..30, |i| {
            format!("{},{:02}/01/2024 {:02}:00,{}", i % 7, day(i), i % 24, i % 3)
        }),
        lines("date,time,a,b", 0..30, |i| {
            format!("2024-01-{:02},{:02}:00:00,{},{}", day(i), i % 24, i % 7, i % 3)
        }),
        lines("Time;Date;a;b", 0..30, |i| {
            let half = if i % 24 < 12 { "AM" } else { "PM" };
            format!(
                "{}:00 {half};{}.1.2024;{};{}",
                (i % 24 + 11) % 12 + 1,
                day(i),
                i % 7,
                i % 3
            )
        }),
    ] {
        let window = window("a.csv", &text);
        assert_eq!((window.channels, window.time, window.steps()), (2, last, 30), "{text}");
        assert_eq!(window.channel(0)[..9], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 1.0]);
    }
}

#[test]
fn numbers_that_are_not_finite_as_python_writes_them_are_missing() {
    let text = lines("", 0..30, |i| match i {
        5 => r#"{"a": NaN, "b": -Infinity, "c": "NaN \" Infinity"}"#.to_owned(),
        _ => format!("{{\"a\": {}, \"b\": {}, \"c\": \"x\"}}", i % 7, i % 3),
    });
    let cut = read("a.jsonl", text.trim_start()).unwrap();
    let window = &cut.windows[0];
    assert_eq!((window.channels, window.steps()), (2, 30), "{cut:?}");
    assert!(window.channel(0)[5].is_nan() && window.channel(1)[5].is_nan());
    assert_eq!(window.channel(1)[6], 0.0);
}

#[test]
fn a_table_without_a_header_is_read_from_its_first_row() {
    let window = window(
        "a.csv",
        lines("2024-01-01,0.5", 0..20, |i| format!("2024-01-{:02},{}", i + 2, i)),
    );
    assert_eq!((window.steps(), window.channel(0)[0]), (21, 0.5));
}

#[test]
fn words_and_row_numbers_are_no_variables() {
    let text = lines(",id,station,temp,Unnamed: 0", 0..40, |i| {
        format!("{i},{},s{},{}.5,{}", i * 3, i % 3, i % 9, i)
    });
    let window = window("a.csv", text);
    assert_eq!(
        (window.channels, window.channel(0)[..3].to_vec()),
        (1, vec![0.5, 1.5, 2.5])
    );
    // A counter of another name is a variable.
    assert_eq!(
        super::window("a.csv", lines("count", 0..40, |i| i.to_string())).channels,
        1
    );
}

#[test]
fn every_delimiter_is_found_and_a_decimal_comma_where_values_demand_it() {
    for mark in [',', ';', '\t', '|'] {
        let text = lines(&format!("time{mark}a{mark}b"), 0..20, |i| {
            format!("{}{mark}{i}.25{mark}word", 2_000 + i)
        });
        assert_eq!(window("a.tsv", text).channel(0)[3], 3.25, "{mark:?}");
    }
    for text in [
        lines("zeit;wert;rest", 0..20, |i| {
            format!("{:02}.01.2024;{i},5;-0,{i}", i + 1)
        }),
        lines("a\tb", 0..20, |i| format!("{i},5\t-0,{i}")),
        lines("0,5;-0,0", 1..20, |i| format!("{i},5;-0,{i}")),
    ] {
        let window = window("a.csv", &text);
        assert_eq!(
            (window.channels, window.channel(0)[3], window.channel(1)[3]),
            (2, 3.5, -0.3),
            "{text}"
        );
    }
}

#[test]
fn thousands_are_not_guessed() {
    let text = lines("a;b", 0..20, |i| format!("{i}.5;1,{i}00"));
    let cut = read("a.csv", text).unwrap();
    assert_eq!((cut.windows[0].channels, cut.windows[0].channel(0)[1]), (1, 1.5));
}

#[test]
fn quoted_fields_line_ends_and_other_encodings_are_read() {
    let text = lines("\"date\",\"Tür, offen\"", 0..20, |i| {
        format!("\"2024-01-{:02}\",\"{i}.5\"", i + 1)
    });
    let expected = window("a.csv", &text);
    assert_eq!(expected.channel(0)[2], 2.5);
    assert_eq!(window("a.csv", text.replace('\n', "\r\n")), expected);
    assert_eq!(window("a.csv", text.replace('\n', "\r")), expected);
    assert_eq!(
        window(
            "a.csv",
            [
                &b"\xff\xfe"[..],
                &text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()
            ]
            .concat()
        ),
        expected
    );
}

#[test]
fn unreadable_values_are_missing_and_named_and_empty_ones_only_missing() {
    let odd = ["N/A", "inf", "1e999", "12 kg", "", " "];
    let text = lines("time,a,b", 0..30, |i| {
        format!("{},{},{i}", 2_000 + i, odd.get(i).map_or("7", |odd| odd))
    });
    let cut = read("a.csv", text).unwrap();
    assert_eq!((faults(&cut), cut.faults_total), (vec![1, 2, 3, 4], 4));
    assert!(
        cut.faults[3].detail.contains("12 kg") && cut.faults[3].detail.contains("\"a\""),
        "{:?}",
        cut.faults[3]
    );
    assert!(cut.windows[0].channel(0)[..6].iter().all(|value| value.is_nan()));
    assert_eq!((cut.windows[0].channel(0)[6], cut.windows[0].channel(1)[5]), (7.0, 5.0));
}

#[test]
fn a_column_that_is_hardly_there_is_left_out() {
    let sparse = |i: usize, each: usize| if i.is_multiple_of(each) { "3" } else { "" };
    let text = lines("a,b,c,d", 0..100, |i| {
        format!("{},{},{},", i % 7, sparse(i, 25), sparse(i, 20))
    });
    assert_eq!(window("a.csv", text).channels, 2);
}

#[test]
fn rows_of_another_width_and_stray_quotes_cost_themselves_alone() {
    let row = |i: usize| match i {
        4 => "2004,1,2,3".into(),
        9 => "2009".into(),
        14 => "2014,\"1,5".into(),
        _ => format!("{},{},{}", 2_000 + i, i, i % 3),
    };
    let cut = read("a.csv", lines("time,a,b", 0..30, row)).unwrap();
    assert_eq!(faults(&cut), [5, 10, 15]);
    assert_eq!(cut.windows[0].steps(), 30);
    assert!([4, 9, 14].iter().all(|row| cut.windows[0].channel(0)[*row].is_nan()));
}

#[test]
fn huge_and_tiny_numbers_are_kept() {
    let text = lines("a", 0..10, |i| {
        ["1e300", "-1.7976931348623157e308", "1e-320", "0"][i % 4].into()
    });
    assert_eq!(window("a.csv", text).channel(0)[..4], [1e300, f64::MIN, 1e-320, 0.0]);
}

#[test]
fn the_limits_may_name_the_columns() {
    let text = lines("a,date,x,word", 0..20, |i| {
        format!("{},2024-01-{:02},{},w", i % 3, i + 1, 100 + i)
    });
    let named = |time: Option<&str>, values: &[&str]| {
        let limits = SeriesLimits {
            time_column: time.map(str::to_owned),
            value_columns: values.iter().map(|&name| name.to_owned()).collect(),
            ..limits()
        };
        cut(Path::new("a.csv"), text.as_bytes(), &limits).map(|cut| cut.windows[0].clone())
    };
    let window = named(Some("x"), &["x", "a"]).unwrap();
    assert_eq!((window.channels, window.time), (2, None));
    assert_eq!((window.channel(0)[1], window.channel(1)[1]), (101.0, 1.0));
    assert_eq!(
        named(None, &["a"]).unwrap().time,
        Some(1_704_067_200_000 + 19 * 86_400_000)
    );
    let refused = named(None, &["b"]).unwrap_err();
    assert!(refused.detail.contains("a, date, x, word"), "{refused}");
    assert!(named(Some("word"), &[]).is_err());
}

#[test]
fn lines_of_objects_are_rows() {
    let row = |i: usize| {
        format!(
            "{{\"t\":{i},\"a\":{}.5,\"on\":{},\"word\":\"w\",\"list\":[1],\"text\":\"{i}\"}}",
            i % 5,
            i.is_multiple_of(2)
        )
    };
    let text = (0..30).map(|i| row(i) + "\n").collect::<String>();
    let window = window("a.jsonl", &text);
    assert_eq!((window.channels, window.steps(), window.time), (3, 30, None));
    assert_eq!(
        (window.channel(0)[1], window.channel(1)[1], window.channel(2)[4]),
        (1.5, 0.0, 4.0)
    );
    assert_eq!(super::window("a", &text), window);
}

#[test]
fn a_broken_line_of_objects_costs_itself_and_an_absent_field_is_missing() {
    let row = |i: usize| match i {
        2 => "{\"t\": 2, \"a\": NaN}".to_owned(),
        3 => "{\"t\": 3, \"a\": 1e999}".to_owned(),
        4 => "[1, 2]".to_owned(),
        5 => "{\"t\": 5}".to_owned(),
        6 => "{\"t\": 6, \"a\": null}".to_owned(),
        7 => format!("{{\"t\": 7, \"a\": {}1{}}}", "[".repeat(100), "]".repeat(100)),
        _ => format!("{{\"t\": {i}, \"a\": {}}}", i * i),
    };
    let cut = read("a.jsonl", lines("", 0..20, row)).unwrap();
    assert_eq!(faults(&cut), [5, 6, 9]);
    let values = cut.windows[0].channel(0);
    assert!(
        values[2..8].iter().all(|value| value.is_nan()) && values[8] == 64.0,
        "{values:?}"
    );
}

/// A file of 150 rows in 3 groups, a row a minute.
pub(super) fn parquet() -> Vec<u8> {
    let schema = "message m { required int64 ts (TIMESTAMP(MICROS,true)); optional double a; required binary word (UTF8); \
                  required int64 n; required binary x (UTF8); }";
    let mut file = Vec::new();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer =
        SerializedFileWriter::new(&mut file, schema, Arc::new(WriterProperties::builder().build())).unwrap();
    for group in 0..3_i64 {
        let rows = || group * 50..group * 50 + 50;
        let mut group = writer.next_row_group().unwrap();
        macro_rules! column {
            ($of:ty, $make:expr, $levels:expr) => {{
                let values: Vec<_> = rows().filter_map($make).collect();
                let mut column = group.next_column().unwrap().unwrap();
                column.typed::<$of>().write_batch(&values, $levels, None).unwrap();
                column.close().unwrap();
            }};
        }
        let levels: Vec<i16> = rows().map(|row| i16::from(row % 10 > 0)).collect();
        column!(Int64Type, |row| Some(1_704_067_200_000_000 + row * 60_000_000), None);
        column!(
            DoubleType,
            |row| (row % 10 > 0).then_some(row as f64 / 4.0),
            Some(&levels)
        );
        column!(ByteArrayType, |_| Some("word".into()), None);
        column!(Int64Type, |row| Some(row * row), None);
        column!(ByteArrayType, |row| Some(format!("{row}.5").as_str().into()), None);
        group.close().unwrap();
    }
    writer.close().unwrap();
    file
}

#[test]
fn a_parquet_file_is_read_as_the_table_that_it_was_made_of() {
    let file = parquet();
    let cell = |i: usize| {
        if i.is_multiple_of(10) {
            String::new()
        } else {
            (i as f64 / 4.0).to_string()
        }
    };
    let text = lines("ts,a,word,n,x", 0..150, |i| {
        format!(
            "2024-01-01 {:02}:{:02},{},word,{},{i}.5",
            i / 60,
            i % 60,
            cell(i),
            i * i
        )
    });
    let (table, columns) = (read("a.csv", text).unwrap(), read("a.parquet", &file).unwrap());
    assert_eq!(table.windows.len(), 2);
    for (left, right) in table.windows.iter().zip(&columns.windows) {
        assert_eq!(
            (left.channels, left.start, left.time),
            (right.channels, right.start, right.time)
        );
        assert!(left.channels == 3 && is_same(&left.values, &right.values));
    }
    assert_eq!(reason("a.parquet", &file[..file.len() - 9]), Reason::Truncated);
}

#[test]
fn lists_of_a_parquet_file_without_numbers_are_series() {
    let schema = "message m { required binary id (UTF8); \
                  required group target (LIST) { repeated group list { required double element; } } }";
    let mut file = Vec::new();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(&mut file, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let ids = ["a", "b", "c"].map(|id| id.into());
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&ids, None, None).unwrap();
    column.close().unwrap();
    // Lists of 20, 5 and 10 numbers, of which the second is too short.
    let starts: Vec<i16> = (0..35).map(|i| i16::from(![0, 20, 25].contains(&i))).collect();
    let numbers: Vec<f64> = (0..35).map(f64::from).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<DoubleType>()
        .write_batch(&numbers, Some(&[1; 35]), Some(&starts))
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let cut = read("a.parquet", file).unwrap();
    let windows: Vec<(u64, usize, f64)> = cut.windows.iter().map(|w| (w.start, w.steps(), w.values[0])).collect();
    assert_eq!(windows, [(0, 20, 0.0), (25, 10, 25.0)]);
}
