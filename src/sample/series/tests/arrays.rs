//! NumPy's arrays and archives.

use std::io::{Cursor, Write};

use super::*;

/// An array as NumPy writes it.
pub(super) fn array(of: &str, is_fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if is_fortran { "True" } else { "False" };
    let mut header = format!("{{'descr': '{of}', 'fortran_order': {order}, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 > 0 {
        header.push(' ');
    }
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), data].concat()
}

fn doubles(numbers: impl IntoIterator<Item = f64>) -> Vec<u8> {
    numbers.into_iter().flat_map(f64::to_le_bytes).collect()
}

pub(super) fn archive(members: &[(&str, Vec<u8>)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(method)
            .large_file(true);
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn every_kind_of_number_is_read_in_both_orders_of_bytes() {
    let steps = 20_u8;
    macro_rules! bytes {
        ($of:ty) => {{
            let numbers = || (0..steps).map(|i| i as $of);
            let little: Vec<u8> = numbers().flat_map(<$of>::to_le_bytes).collect();
            (little, numbers().flat_map(<$of>::to_be_bytes).collect::<Vec<u8>>())
        }};
    }
    let half = |i: u8| {
        f32::from(i)
            .to_bits()
            .checked_sub(112 << 23)
            .map_or(0, |bits| (bits >> 13) as u16)
    };
    let halves = (
        (0..steps).flat_map(|i| half(i).to_le_bytes()).collect(),
        (0..steps).flat_map(|i| half(i).to_be_bytes()).collect(),
    );
    let kinds = [
        ("i1", bytes!(i8)),
        ("i2", bytes!(i16)),
        ("i4", bytes!(i32)),
        ("i8", bytes!(i64)),
        ("u1", bytes!(u8)),
        ("u2", bytes!(u16)),
        ("u4", bytes!(u32)),
        ("u8", bytes!(u64)),
        ("f2", halves),
        ("f4", bytes!(f32)),
        ("f8", bytes!(f64)),
    ];
    let expected: Vec<f64> = (0..steps).map(f64::from).collect();
    for (kind, (little, big)) in kinds {
        assert_eq!(
            window("a.npy", array(&format!("<{kind}"), false, "(20,)", &little)).values,
            expected,
            "{kind}"
        );
        assert_eq!(
            window("a.npy", array(&format!(">{kind}"), false, "(20,)", &big)).values,
            expected,
            "{kind}"
        );
    }
    let signs: Vec<u8> = (0..20).flat_map(|i| (-2_i16 * i).to_be_bytes()).collect();
    assert_eq!(window("a.npy", array(">i2", false, "(20,)", &signs)).values[19], -38.0);
    assert_eq!(
        window("a.npy", array("|b1", false, "(10,)", &[0, 1, 0, 1, 1, 0, 1, 0, 1, 1])).values[..3],
        [0.0, 1.0, 0.0]
    );
}

#[test]
fn half_numbers_keep_their_signs_and_small_ones_their_values() {
    let bits = [0x3c00_u16, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x7e00, 0x8000, 0x3555];
    let data: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let nan = f64::NAN;
    let expected = [1.0, -2.0, 2_f64.powi(-24), 65_504.0, nan, nan, 0.0, 0.333_251_953_125];
    assert!(is_same(
        &window("a.npy", array("<f2", false, "(8,)", &data)).values,
        &expected
    ));
}

#[test]
fn steps_and_channels_are_told_apart_in_both_orders() {
    let rows = doubles((0..40).map(f64::from));
    let window = window("a.npy", array("<f8", false, "(20, 2)", &rows));
    assert_eq!((window.channels, &window.channel(1)[..3]), (2, &[1.0, 3.0, 5.0][..]));
    let fortran = super::window("a.npy", array("<f8", true, "(20, 2)", &rows));
    assert_eq!(
        (fortran.channels, &fortran.channel(1)[..3]),
        (2, &[20.0, 21.0, 22.0][..])
    );
}

#[test]
fn each_window_of_three_dimensions_is_a_series() {
    let numbers = (0..3 * 10 * 2).map(f64::from);
    let cut = read("a.npy", array("<f8", false, "(3, 10, 2)", &doubles(numbers))).unwrap();
    let starts: Vec<(u64, f64)> = cut
        .windows
        .iter()
        .map(|window| (window.start, window.channel(1)[0]))
        .collect();
    assert_eq!(starts, [(0, 1.0), (10, 21.0), (20, 41.0)]);
    let fortran = (0..3 * 10 * 2).map(|i| f64::from(i / 30 + i / 3 % 10 * 2 + i % 3 * 20));
    let fortran = read("a.npy", array("<f8", true, "(3, 10, 2)", &doubles(fortran))).unwrap();
    assert_eq!(fortran.windows, cut.windows);
}

#[test]
fn a_header_that_lies_or_means_code_is_refused() {
    let data = doubles((0..20).map(f64::from));
    for shape in [
        "(21,)",
        "(18446744073709551615,)",
        "(4294967296, 4294967296)",
        "(9999999999, 3)",
    ] {
        assert_eq!(
            reason("a.npy", array("<f8", false, shape, &data)),
            Reason::Truncated,
            "{shape}"
        );
    }
    for (of, shape, expected) in [
        ("|O", "(20,)", Reason::UnsafeType),
        ("<c16", "(10,)", Reason::UnsupportedType),
        ("<U5", "(8,)", Reason::UnsupportedType),
        ("<f8", "()", Reason::UnsupportedType),
        ("<f8", "(2, 2, 2, 2)", Reason::UnsupportedType),
        ("<f8", "(-1,)", Reason::Corrupt),
        ("<f8", "(0,)", Reason::EmptyFile),
        ("<f8", "(99999999999999999999,)", Reason::Corrupt),
        ("|u1", "(1, 160)", Reason::Limits),
    ] {
        assert_eq!(
            reason("a.npy", array(of, false, shape, &data)),
            expected,
            "{of} {shape}"
        );
    }
    let records = String::from_utf8_lossy(&array("<f8", false, "(20,)", &[])).replace("'<f8'", "[('a', '|O')]");
    assert!(matches!(
        reason("a.npy", records.as_bytes()),
        Reason::UnsafeType | Reason::UnsupportedType | Reason::Truncated
    ));
    assert_eq!(
        reason("a.npy", &array("<f8", false, "(20,)", &data)[..40]),
        Reason::Truncated
    );
    assert_eq!(reason("a.npy", b"\x93NUMPY\x02\0\xff\xff\xff\xff"), Reason::Limits);
}

#[test]
fn an_archive_holds_series_and_what_has_other_variables_is_named() {
    let long = array("<f8", false, "(300, 2)", &doubles((0..600).map(f64::from)));
    let more = array("<f4", false, "(16, 2)", &[0; 128]);
    let labels = array("<i4", false, "(16,)", &[0; 64]);
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        let file = archive(
            &[
                ("y.npy", labels.clone()),
                ("x.npy", long.clone()),
                ("z.npy", more.clone()),
            ],
            method,
        );
        let cut = read("a.npz", file).unwrap();
        let starts: Vec<u64> = cut.windows.iter().map(|window| window.start).collect();
        assert_eq!(
            (starts, faults(&cut)),
            (vec![0, 64, 128, 172, 300], vec![1]),
            "{method}"
        );
    }
}

#[test]
fn an_archive_is_expanded_within_the_limits_and_checked() {
    let deflated = |members: &[(&str, Vec<u8>)]| archive(members, zip::CompressionMethod::Deflated);
    let zeros = array("<f8", false, "(2000000,)", &vec![0; 16_000_000]);
    assert_eq!(reason("a.npz", deflated(&[("x.npy", zeros)])), Reason::Bomb);
    let objects = array("|O", false, "(1,)", b"\x80\x04K\x01.");
    assert_eq!(reason("a.npz", deflated(&[("x.npy", objects)])), Reason::UnsafeType);
    assert_eq!(
        reason("a.zip", deflated(&[("../x.txt", b"1\n2\n".to_vec())])),
        Reason::UnsupportedType
    );
    let numbers = array("<f8", false, "(20,)", &doubles((0..20).map(f64::from)));
    let stored = archive(&[("x.npy", numbers)], zip::CompressionMethod::Stored);
    let mut damaged = stored.clone();
    damaged[200] ^= 1;
    assert_eq!(reason("a.npz", damaged), Reason::Corrupt);
    assert_eq!(reason("a.npz", &stored[..stored.len() - 30]), Reason::Truncated);
}
