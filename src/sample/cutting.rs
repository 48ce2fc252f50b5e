//! From the bytes of a source to its samples, as its stream's modality asks.
//! Invariant: what comes out is within the limits, and of the stream's modality.

use std::path::Path;

use super::image::{self, Format, ImageLimits};
use super::series::{self, SeriesLimits};
use super::text::{self, TextLimits};
use super::transition::{self, TransitionLimits};
use super::{Content, Fault, Modality, Reason, Rejection};
use crate::limits::DECODE_SMALL_BYTES_MAX;

/// How the sources of a stream are cut into samples.
#[derive(Clone, Debug)]
pub enum Cutting {
    /// One picture each.
    Pictures {
        /// What is refused before it is decoded.
        limits: ImageLimits,
        /// Pixels of the shorter side at which pictures are kept.
        image_px: u32,
    },
    /// Passages of documents.
    Texts {
        /// How much is read, and in which pieces.
        limits: TextLimits,
        /// The field or column that holds the text.
        field: Option<String>,
    },
    /// Windows of series.
    Series(SeriesLimits),
    /// Transitions.
    Transitions(TransitionLimits),
}

/// What was cut from a source, and what of it was passed over.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    /// The samples, in the source's order.
    pub contents: Vec<Content>,
    /// The first of what could not be read.
    pub faults: Vec<Fault>,
    /// How much of it there was.
    pub faults_total: u64,
}

impl Cutting {
    /// Cuts a source. Its name tells only what its content can not. Who brings a large one holds a [`turn`](image::turn) for its
    /// bytes: one for what a small one may grow to is taken here.
    pub fn cut(&self, name: &Path, bytes: &[u8]) -> Result<Pieces, Rejection> {
        match self {
            Self::Pictures { limits, image_px } => {
                let header = image::probe(bytes, limits).map_err(|rejection| name_lies(name, bytes, rejection))?;
                let is_small = bytes.len() as u64 <= DECODE_SMALL_BYTES_MAX;
                let _turn = is_small.then(|| image::turn(header.peak_bytes));
                let tile = image::decode(bytes, limits, *image_px)?;
                Ok(Pieces {
                    contents: vec![Content::Image(tile)],
                    ..Pieces::default()
                })
            }
            Self::Texts { limits, field } => {
                let cut = text::cut(name, bytes, field.as_deref(), limits)?;
                Ok(Pieces {
                    contents: cut.passages.into_iter().map(Content::Text).collect(),
                    faults: cut.faults,
                    faults_total: cut.faults_total,
                })
            }
            Self::Series(limits) => {
                let cut = series::cut(name, bytes, limits)?;
                Ok(Pieces {
                    contents: cut.windows.into_iter().map(Content::Series).collect(),
                    faults: cut.faults,
                    faults_total: cut.faults_total,
                })
            }
            Self::Transitions(limits) => {
                let cut = transition::cut(name, bytes, limits)?;
                Ok(Pieces {
                    contents: cut.transitions.into_iter().map(Content::Transition).collect(),
                    faults: cut.faults,
                    faults_total: cut.faults_total,
                })
            }
        }
    }

    /// Of small pictures, kept at so many pixels.
    #[cfg(test)]
    pub(crate) fn small_pictures(image_px: u32) -> Self {
        Self::Pictures {
            limits: ImageLimits {
                pixels_max: 100_000_000,
                side_px_max: 32_768,
            },
            image_px,
        }
    }

    /// The kind of data that comes out.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Pictures { .. } => Modality::Image,
            Self::Texts { .. } => Modality::Text,
            Self::Series(_) => Modality::Series,
            Self::Transitions(_) => Modality::Transition,
        }
    }

    /// About how many bytes one sample takes, at most.
    pub fn sample_bytes(&self) -> usize {
        match self {
            // A kept picture is up to twice as long as it is wide.
            Self::Pictures { image_px, .. } => 6 * (*image_px).max(1).pow(2) as usize,
            // Up to four bytes a character.
            Self::Texts { limits, .. } => 4 * limits.chars_max.max(1),
            Self::Series(limits) => 8 * limits.window_steps * limits.columns_max,
            Self::Transitions(limits) => 4 * (2 * limits.state_dims_max + limits.actions_max),
        }
    }
}

/// A picture's name on something else is a kind of its own: most often a saved error page.
fn name_lies(name: &Path, bytes: &[u8], rejection: Rejection) -> Rejection {
    let is_lie = rejection.reason == Reason::UnsupportedType && Format::of(bytes).is_err();
    if is_lie && Format::is_named_by(name) {
        return Rejection::new(Reason::TypeMismatch, rejection.detail);
    }
    rejection
}
