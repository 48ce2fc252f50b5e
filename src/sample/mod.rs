//! Samples: what is cut from a source, decoded and small, before any tensor.
//! Invariant: a value of these types is within its limits; nothing downstream checks it again.

mod cutting;
pub mod image;
pub mod perceptual;
mod rejection;
pub mod text;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use cutting::{Cutting, Pieces};
pub use rejection::{Reason, Rejection};

/// The kind of data of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Pictures.
    Image,
    /// Passages of text.
    Text,
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "image",
            Self::Text => "text",
        })
    }
}

/// One sample's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A picture.
    Image(ImageTile),
    /// A passage of text.
    Text(Passage),
}

/// A picture as it is kept: upright, 8-bit sRGB, its shorter side at most the stream's `image_px`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageTile {
    /// Pixels a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// `height * width * 3` bytes: rows from the top, red, green, blue.
    pub rgb: Vec<u8>,
}

/// A piece of a document, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// What it says; never empty, its lines end in `\n`.
    pub text: String,
    /// The number of its document in its source (a row, a line, a file), from 0.
    pub document: u32,
    /// Its number among the passages of its document, in their order, from 0.
    pub part: u32,
}

/// Passages of one document that are held out for the exam together: few enough that a book has some in it and most out of it.
pub const GROUP_PARTS: u32 = 32;

/// The first byte of an encoded picture, and of an encoded passage.
const IMAGE_V1: u8 = 1;
const TEXT_V1: u8 = 2;

/// Bytes that are not an encoded [`Content`]; says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an encoded sample: {0}")]
pub struct ContentError(pub(crate) &'static str);

impl Content {
    /// The bytes the replay buffer keeps: kind and version (u8); of a picture width and height (u16, little-endian) and its
    /// pixels; of a passage the numbers of its document and of its part (u32, little-endian) and its text in UTF-8.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Image(tile) => {
                let mut bytes = Vec::with_capacity(5 + tile.rgb.len());
                bytes.push(IMAGE_V1);
                bytes.extend_from_slice(&tile.width.to_le_bytes());
                bytes.extend_from_slice(&tile.height.to_le_bytes());
                bytes.extend_from_slice(&tile.rgb);
                bytes
            }
            Self::Text(passage) => {
                let mut bytes = Vec::with_capacity(9 + passage.text.len());
                bytes.push(TEXT_V1);
                bytes.extend_from_slice(&passage.document.to_le_bytes());
                bytes.extend_from_slice(&passage.part.to_le_bytes());
                bytes.extend_from_slice(passage.text.as_bytes());
                bytes
            }
        }
    }

    /// The content that [`Content::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        match bytes {
            [IMAGE_V1, w0, w1, h0, h1, rgb @ ..] => {
                let (width, height) = (u16::from_le_bytes([*w0, *w1]), u16::from_le_bytes([*h0, *h1]));
                if width == 0 || height == 0 || rgb.len() != usize::from(width) * usize::from(height) * 3 {
                    return Err(ContentError("the picture's size and its bytes disagree"));
                }
                Ok(Self::Image(ImageTile {
                    width,
                    height,
                    rgb: rgb.to_vec(),
                }))
            }
            [TEXT_V1, d0, d1, d2, d3, p0, p1, p2, p3, text @ ..] => match std::str::from_utf8(text) {
                Ok(text) if !text.is_empty() => Ok(Self::Text(Passage {
                    text: text.to_owned(),
                    document: u32::from_le_bytes([*d0, *d1, *d2, *d3]),
                    part: u32::from_le_bytes([*p0, *p1, *p2, *p3]),
                })),
                Ok(_) => Err(ContentError("the passage is empty")),
                Err(_) => Err(ContentError("the passage is not UTF-8")),
            },
            _ => Err(ContentError("unknown kind or version")),
        }
    }

    /// The group of its source that encoded content is held out by, all of it or none: a document, of a long one each
    /// [`GROUP_PARTS`] passages. A picture is its source's only one.
    pub fn group_of(encoded: &[u8]) -> u64 {
        match encoded {
            [TEXT_V1, d0, d1, d2, d3, p0, p1, p2, p3, ..] => {
                let document = u32::from_le_bytes([*d0, *d1, *d2, *d3]);
                let part = u32::from_le_bytes([*p0, *p1, *p2, *p3]);
                u64::from(document) << 32 | u64::from(part / GROUP_PARTS)
            }
            _ => 0,
        }
    }

    /// What kind of data it is of.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Image(_) => Modality::Image,
            Self::Text(_) => Modality::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_reads_back_as_it_was_written() {
        let content = Content::Image(ImageTile {
            width: 2,
            height: 1,
            rgb: vec![1, 2, 3, 4, 5, 6],
        });
        assert_eq!(Content::decode(&content.encode()), Ok(content));
    }

    #[test]
    fn a_passage_reads_back_as_it_was_written_and_a_spoilt_one_is_refused() {
        let content = Content::Text(Passage {
            text: "naïve\nτέχνη".to_owned(),
            document: 70_000,
            part: 3,
        });
        let bytes = content.encode();
        assert_eq!(Content::decode(&bytes), Ok(content));
        assert!(Content::decode(&bytes[..9]).is_err(), "an empty one was taken");
        assert!(Content::decode(&bytes[..12]).is_err(), "half a letter was taken");
    }

    #[test]
    fn a_cut_picture_is_refused() {
        let bytes = Content::Image(ImageTile {
            width: 2,
            height: 1,
            rgb: vec![0; 6],
        })
        .encode();
        for len in 0..bytes.len() {
            assert!(Content::decode(&bytes[..len]).is_err(), "{len} bytes were taken");
        }
    }
}
