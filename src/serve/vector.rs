//! A vector that a request asks about: it is of the answering generation's space, has its numbers, and a direction.

use super::problem::{Kind, Problem};
use crate::ids::Space;
use crate::registry::Published;

/// An error where the generation makes vectors of another space.
pub(super) fn must_be_of(space: &Space, answering: &Published) -> Result<(), Problem> {
    if *space == answering.space {
        return Ok(());
    }
    let detail = format!(
        "the vector is of the space `{}`, generation {} makes vectors of `{}`",
        space.as_str(),
        answering.generation,
        answering.space
    );
    Err(Problem::new(Kind::OtherSpace, detail)
        .hint("embed again what the vector was made of: an index is of the served generation's space alone"))
}

/// A vector of a request, brought to unit length.
pub(super) fn unit(mut vector: Vec<f32>, dim: usize) -> Result<Vec<f32>, Problem> {
    if vector.len() != dim {
        let detail = format!(
            "the vector has {} numbers, those of this space have {dim}",
            vector.len()
        );
        return Err(Problem::new(Kind::Unprocessable, detail));
    }
    let square = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    if !square.is_finite() || square <= 0.0 {
        let detail = "the vector has no direction: it is all zeros, or holds what is no number";
        return Err(Problem::new(Kind::Unprocessable, detail));
    }
    let length = square.sqrt();
    for value in &mut vector {
        *value = (f64::from(*value) / length) as f32;
    }
    Ok(vector)
}
