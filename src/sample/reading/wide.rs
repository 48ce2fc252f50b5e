//! Text in units of two or four bytes: UTF-16 and UTF-32, with or without a byte order mark.
//! Always true: without a mark only bytes are taken for such text that read as one in this width and order alone.

use super::encoding::is_odd_control;

/// Units looked at to tell text without a mark.
const PROBED_UNITS_MAX: usize = 4_096;

/// Of 100 characters, those that must lie in the three commonest blocks of 256, or among the ideographs.
const KNOWN_PERCENT_MIN: usize = 80;

/// Width and order of the units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sample) enum Units {
    Utf16Le,
    Utf16Be,
    Utf32Le,
    Utf32Be,
}

impl Units {
    /// Told by a byte order mark, and the mark's length. The mark of UTF-32 in little endian begins with that of UTF-16,
    /// after which it would be a NUL, which no text holds.
    pub(in crate::sample) fn by_mark(bytes: &[u8]) -> Option<(Self, usize)> {
        match bytes {
            [0xff, 0xfe, 0, 0, ..] => Some((Self::Utf32Le, 4)),
            [0, 0, 0xfe, 0xff, ..] => Some((Self::Utf32Be, 4)),
            [0xff, 0xfe, ..] => Some((Self::Utf16Le, 2)),
            [0xfe, 0xff, ..] => Some((Self::Utf16Be, 2)),
            _ => None,
        }
    }

    pub(in crate::sample) fn name(self) -> &'static str {
        match self {
            Self::Utf16Le => "UTF-16LE",
            Self::Utf16Be => "UTF-16BE",
            Self::Utf32Le => "UTF-32LE",
            Self::Utf32Be => "UTF-32BE",
        }
    }

    /// The text; units that are no character, and a last unit that is cut, are replaced.
    pub(in crate::sample) fn decode(self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len() / 2);
        self.characters(bytes, |c| text.push(c.unwrap_or(char::REPLACEMENT_CHARACTER)));
        text
    }

    fn characters(self, bytes: &[u8], mut each: impl FnMut(Option<char>)) {
        let rest = match self {
            Self::Utf16Le | Self::Utf16Be => {
                let (units, rest) = bytes.as_chunks::<2>();
                let order = if self == Self::Utf16Le {
                    u16::from_le_bytes
                } else {
                    u16::from_be_bytes
                };
                char::decode_utf16(units.iter().map(|&unit| order(unit))).for_each(|c| each(c.ok()));
                rest
            }
            Self::Utf32Le | Self::Utf32Be => {
                let (units, rest) = bytes.as_chunks::<4>();
                let order = if self == Self::Utf32Le {
                    u32::from_le_bytes
                } else {
                    u32::from_be_bytes
                };
                units.iter().for_each(|&unit| each(char::from_u32(order(unit))));
                rest
            }
        };
        if !rest.is_empty() {
            each(None);
        }
    }

    fn width(self) -> usize {
        match self {
            Self::Utf16Le | Self::Utf16Be => 2,
            Self::Utf32Le | Self::Utf32Be => 4,
        }
    }

    /// How much the bytes read as text in these units, 0 where they do not.
    fn score(self, bytes: &[u8]) -> usize {
        if bytes.is_empty() || !bytes.len().is_multiple_of(self.width()) {
            return 0;
        }
        let probed = bytes.len().min(PROBED_UNITS_MAX * self.width());
        let mut blocks = [0_usize; 256];
        let (mut total, mut bad, mut ideographs, mut east_marks, mut spaces) = (0_usize, 0_usize, 0, 0, 0);
        self.characters(bytes.get(..probed).unwrap_or(bytes), |c| {
            total += 1;
            let Some(c) = c else {
                bad += 1;
                return;
            };
            let code = u32::from(c);
            let is_private = (0xe000..0xf900).contains(&code) || code & 0xfffe == 0xfffe;
            bad += usize::from(is_odd_control(c) || is_private);
            spaces += usize::from(matches!(c, ' ' | '\n'));
            // Ideographs and Hangul are spread over many blocks; their commas and kana are in one.
            ideographs += usize::from((0x4e00..0xa000).contains(&code) || (0xac00..0xd7a4).contains(&code));
            east_marks += usize::from((0x3000..0x3100).contains(&code));
            if let Some(block) = usize::try_from(code >> 8).ok().and_then(|block| blocks.get_mut(block)) {
                *block += 1;
            }
        });
        // A pair of surrogates may have been cut at the end of what was probed.
        if bad > usize::from(probed < bytes.len()) {
            return 0;
        }
        blocks.sort_unstable_by(|a, b| b.cmp(a));
        let known: usize = blocks.iter().take(3).sum();
        let has_pauses = east_marks * 200 >= total.max(200) || spaces * 20 >= total;
        let is_eastern = (ideographs + known) * 100 >= total * KNOWN_PERCENT_MIN && has_pauses;
        let is_western = known * 100 >= total * KNOWN_PERCENT_MIN && (spaces > 0 || total < 16);
        if is_eastern || is_western {
            1 + known + spaces + east_marks
        } else {
            0
        }
    }
}

/// The units of a text without a byte order mark, where one way to read it is better than all others.
pub(in crate::sample) fn without_mark(bytes: &[u8]) -> Option<Units> {
    let has_nul = bytes.contains(&0);
    // Two bytes a character without any NUL: only text without spaces, digits and line ends.
    if !has_nul && std::str::from_utf8(bytes).is_ok() {
        return None;
    }
    let wide = [Units::Utf32Le, Units::Utf32Be]
        .into_iter()
        .find(|units| units.score(bytes) > 0);
    if wide.is_some() {
        return wide;
    }
    let (little, big) = (Units::Utf16Le.score(bytes), Units::Utf16Be.score(bytes));
    let (units, better, worse) = if little > big {
        (Units::Utf16Le, little, big)
    } else {
        (Units::Utf16Be, big, little)
    };
    // The probe covers the beginning only: the rest must be text, too.
    let mut bad = 0_usize;
    if better > worse {
        units.characters(bytes, |c| {
            bad += usize::from(c.is_none_or(|c| c == '\0' || is_odd_control(c)))
        });
    }
    (better > worse && bad == 0).then_some(units)
}
