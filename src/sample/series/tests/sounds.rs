//! WAV files.

use super::*;

/// A WAV file of a format, its rate 8,000 samples a second.
pub(super) fn wave(format: u16, voices: u16, bits: u16, data: &[u8]) -> Vec<u8> {
    let frame = voices * bits / 8;
    let mut chunk = Vec::new();
    chunk.extend(format.to_le_bytes());
    chunk.extend(voices.to_le_bytes());
    chunk.extend(8_000_u32.to_le_bytes());
    chunk.extend((8_000 * u32::from(frame)).to_le_bytes());
    chunk.extend(frame.to_le_bytes());
    chunk.extend(bits.to_le_bytes());
    if format == 0xfffe {
        chunk.extend(22_u16.to_le_bytes());
        chunk.extend(bits.to_le_bytes());
        chunk.extend([0; 4]);
        chunk.extend(b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
    }
    let length = |bytes: &[u8]| (bytes.len() as u32).to_le_bytes();
    [
        b"RIFF\xff\xff\xff\x7fWAVEfmt ",
        &length(&chunk)[..],
        &chunk,
        b"LIST\x03\0\0\0abc\0data",
        &length(data),
        data,
    ]
    .concat()
}

/// A second of a tone of 1,000 Hz.
fn tone() -> impl Iterator<Item = f64> {
    (0..8_000).map(|i| 0.5 * (f64::from(i) * std::f64::consts::PI / 4.0).sin())
}

#[test]
fn a_sound_sounds_alike_in_every_format() {
    let expected = window(
        "a.wav",
        wave(
            3,
            1,
            32,
            &tone().flat_map(|x| (x as f32).to_le_bytes()).collect::<Vec<_>>(),
        ),
    );
    assert_eq!((expected.channels, expected.steps(), expected.time), (32, 98, None));
    let integer = |bits: u16, voices: usize| -> Vec<u8> {
        let sample = move |x: f64| ((x * 2_f64.powi(31)) as i32).to_le_bytes()[4 - usize::from(bits / 8)..].to_vec();
        tone().flat_map(|x| sample(x).repeat(voices)).collect()
    };
    let bytes: Vec<u8> = tone().map(|x| (x * 128.0 + 128.0) as u8).collect();
    for (name, file) in [
        ("8", wave(1, 1, 8, &bytes)),
        ("16", wave(1, 1, 16, &integer(16, 1))),
        ("24", wave(1, 1, 24, &integer(24, 1))),
        ("32", wave(1, 1, 32, &integer(32, 1))),
        ("stereo", wave(1, 2, 16, &integer(16, 2))),
        ("extensible", wave(0xfffe, 2, 24, &integer(24, 2))),
    ] {
        let window = window("a.wav", file);
        let loudest = |window: &Window| {
            (0..32)
                .max_by(|a, b| window.channel(*a)[5].total_cmp(&window.channel(*b)[5]))
                .unwrap()
        };
        let band = loudest(&window);
        assert_eq!(band, loudest(&expected), "{name}");
        assert!(
            (window.channel(band)[5] - expected.channel(band)[5]).abs() < 0.05,
            "{name}"
        );
    }
}

#[test]
fn silence_is_finite_and_noise_that_is_no_number_is_missing() {
    let silence = window("a.wav", wave(1, 1, 16, &[0; 8_000]));
    assert!(silence.values.iter().all(|value| (value - 1e-10_f64.ln()).abs() < 1e-9));
    let samples = (0..8_000).map(|i| if i < 1_000 { f32::INFINITY } else { 0.5 });
    let window = window(
        "a.wav",
        wave(3, 1, 32, &samples.flat_map(f32::to_le_bytes).collect::<Vec<_>>()),
    );
    assert!(window.channel(3)[0].is_nan() && window.channel(3)[90].is_finite());
}

#[test]
fn a_sound_that_is_cut_unknown_or_too_short_is_refused() {
    let whole = wave(1, 1, 16, &[0; 8_000]);
    for length in [12, 20, 40, 60, whole.len() - 1] {
        assert_eq!(reason("a.wav", &whole[..length]), Reason::Truncated, "{length} bytes");
    }
    assert_eq!(reason("a.wav", wave(7, 1, 8, &[0; 8_000])), Reason::UnsupportedType);
    assert_eq!(reason("a.wav", wave(1, 0, 16, &[0; 8_000])), Reason::UnsupportedType);
    assert_eq!(reason("a.wav", wave(1, 1, 16, &[0; 300])), Reason::EmptyFile);
    assert_eq!(reason("a.wav", wave(1, 1, 16, &[0; 1_000])), Reason::Limits);
    let narrow = SeriesLimits {
        columns_max: 31,
        ..limits()
    };
    assert_eq!(
        cut(Path::new("a.wav"), &whole, &narrow).unwrap_err().reason,
        Reason::Limits
    );
}
