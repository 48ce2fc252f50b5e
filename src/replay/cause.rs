//! Causes: why a sample is gone, as its tombstone says it.
//! Invariant: a cause that a later version wrote still means that the sample is gone.

use crate::ids::SampleId;

use super::fields::Fields;
use super::types::FateCause;

/// Why a sample is gone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cause {
    /// The reservoir let it go, and with it all samples of its key or a larger one.
    Evicted,
    /// It was the oldest.
    Aged,
    /// Its checksum fails.
    Damaged,
    /// It was taken at random, not by its key.
    Random,
    /// Its twin says the same: so large is the cosine of their places in teacher space.
    Redundant { twin: SampleId, similarity: f32 },
    /// It shows what its original shows.
    NearDuplicate { original: SampleId },
    /// It can not be learnt.
    Junk,
}

impl From<Cause> for FateCause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Evicted | Cause::Random => Self::Random,
            Cause::Aged => Self::Aged,
            Cause::Damaged => Self::Damaged,
            Cause::Redundant { twin, similarity } => Self::Redundant { twin, similarity },
            Cause::NearDuplicate { original } => Self::NearDuplicate { original },
            Cause::Junk => Self::Junk,
        }
    }
}

impl Cause {
    /// Writes the cause at the end of `out`.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Evicted => 0,
            Self::Aged => 1,
            Self::Damaged => 2,
            Self::Random => 3,
            Self::Redundant { .. } => 4,
            Self::NearDuplicate { .. } => 5,
            Self::Junk => 6,
        });
        match self {
            Self::Redundant { twin, similarity } => {
                out.extend_from_slice(&twin.0.to_le_bytes());
                out.extend_from_slice(&similarity.to_le_bytes());
            }
            Self::NearDuplicate { original } => out.extend_from_slice(&original.0.to_le_bytes()),
            Self::Evicted | Self::Aged | Self::Damaged | Self::Random | Self::Junk => {}
        }
    }

    /// The cause that [`Cause::write`] wrote.
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(match fields.u8()? {
            0 => Self::Evicted,
            1 => Self::Aged,
            2 => Self::Damaged,
            4 => Self::Redundant {
                twin: SampleId(fields.u64()?),
                similarity: fields.f32()?,
            },
            5 => Self::NearDuplicate {
                original: SampleId(fields.u64()?),
            },
            6 => Self::Junk,
            // What a later version knows: a sample is gone whatever the reason.
            _ => Self::Random,
        })
    }
}
