//! A sound in a WAV file -> its samples, all channels mixed.
//! Always true: what a chunk says of its length is compared with the bytes that are there.

use super::SeriesLimits;
use crate::sample::{Reason, Rejection};

/// Samples a second.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// Voices of a sound.
const VOICES_MAX: u16 = 64;

/// Formats of samples, by their numbers.
const PCM: u16 = 1;
const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;

/// A sound.
pub(super) struct Sound {
    pub(super) rate: u32,
    /// From -1 to 1; NaN where one is no number.
    pub(super) samples: Vec<f64>,
}

/// How samples are stored.
#[derive(Clone, Copy)]
struct Layout {
    format: u16,
    voices: u16,
    rate: u32,
    bits: u16,
}

/// Whether these bytes begin a WAV file.
pub(super) fn is_wave(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE")
}

/// Reads a sound.
pub(super) fn read(file: &[u8], limits: &SeriesLimits) -> Result<Sound, Rejection> {
    let truncated = |what: String| Rejection::new(Reason::Truncated, what);
    let (mut rest, mut layout) = (file.get(12..).unwrap_or_default(), None);
    while let Some((head, after)) = rest.split_at_checked(8) {
        let (name, length) = head.split_at(4);
        let length = length.first_chunk().map_or(0, |length| u32::from_le_bytes(*length)) as usize;
        let Some(chunk) = after.get(..length) else {
            let detail = format!(
                "its header promises {length} bytes of sound, and {} follow",
                after.len()
            );
            return Err(truncated(detail));
        };
        match (name, layout) {
            (b"fmt ", _) => layout = Some(Layout::parse(chunk)?),
            (b"data", Some(layout)) => return layout.sound(chunk, limits),
            (b"data", None) => return Err(Rejection::new(Reason::Corrupt, "the sound comes before its format")),
            _ => {}
        }
        // Chunks of odd length are followed by a byte of padding.
        rest = after.get(length + length % 2..).unwrap_or_default();
    }
    Err(truncated("the file ends before its sound".into()))
}

impl Layout {
    fn parse(chunk: &[u8]) -> Result<Self, Rejection> {
        let field = |at: usize| {
            chunk
                .get(at..)
                .and_then(|bytes| bytes.first_chunk())
                .map(|bytes| u16::from_le_bytes(*bytes))
        };
        let rate = chunk
            .get(4..)
            .and_then(|bytes| bytes.first_chunk())
            .map(|bytes| u32::from_le_bytes(*bytes));
        let (Some(mut format), Some(voices), Some(rate), Some(bits)) = (field(0), field(2), rate, field(14)) else {
            return Err(Rejection::new(Reason::Truncated, "the sound's format is cut"));
        };
        if format == EXTENSIBLE {
            // The first two bytes of a longer name are the number.
            format = field(24).unwrap_or_default();
        }
        let is_read = matches!((format, bits), (PCM, 8 | 16 | 24 | 32) | (FLOAT, 32));
        if !is_read || !RATES.contains(&rate) || !(1..=VOICES_MAX).contains(&voices) {
            let detail =
                format!("a sound of format {format} with {bits} bits, {voices} channels, {rate} samples a second");
            return Err(Rejection::new(Reason::UnsupportedType, detail));
        }
        Ok(Self {
            format,
            voices,
            rate,
            bits,
        })
    }

    fn sound(self, data: &[u8], limits: &SeriesLimits) -> Result<Sound, Rejection> {
        let width = usize::from(self.bits / 8);
        let frame = width * usize::from(self.voices);
        if data.len() / frame > limits.values_max {
            return Err(limits.too_many_values());
        }
        let sample = |bytes: &[u8]| {
            let word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
            match (self.format, self.bits) {
                (FLOAT, _) => f64::from(f32::from_bits(word)),
                (_, 8) => f64::from(word) / 128.0 - 1.0,
                // The sign is the sample's highest bit, and not the word's.
                (_, bits) => f64::from((word << (32 - bits)).cast_signed()) / 2_f64.powi(31),
            }
        };
        let mixed = |frame: &[u8]| frame.chunks_exact(width).map(sample).sum::<f64>() / f64::from(self.voices);
        Ok(Sound {
            rate: self.rate,
            samples: data.chunks_exact(frame).map(mixed).collect(),
        })
    }
}
