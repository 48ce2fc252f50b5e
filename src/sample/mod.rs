//! Samples: what is cut from a source, decoded and small, before any tensor.
//! Invariant: a value of these types is within its limits; nothing downstream checks it again.

pub mod image;
pub mod perceptual;
mod rejection;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use rejection::{Reason, Rejection};

/// The kind of data of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Pictures.
    Image,
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "image",
        })
    }
}

/// One sample's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A picture.
    Image(ImageTile),
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

/// The first byte of an encoded picture.
const IMAGE_V1: u8 = 1;

/// Bytes that are not an encoded [`Content`]; says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an encoded sample: {0}")]
pub struct ContentError(&'static str);

impl Content {
    /// The bytes the replay buffer keeps: kind and version (u8), width and height (u16, little-endian), pixels.
    pub fn encode(&self) -> Vec<u8> {
        let Self::Image(tile) = self;
        let mut bytes = Vec::with_capacity(5 + tile.rgb.len());
        bytes.push(IMAGE_V1);
        bytes.extend_from_slice(&tile.width.to_le_bytes());
        bytes.extend_from_slice(&tile.height.to_le_bytes());
        bytes.extend_from_slice(&tile.rgb);
        bytes
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
            _ => Err(ContentError("unknown kind or version")),
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
