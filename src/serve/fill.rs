//! The question `fill`: which words a model expects where a text hides them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AppState;
use super::body::{self, Asked, PictureFile};
use super::choice;
use super::problem::{Kind, Problem};
use super::query::signed;
use crate::ids::{Generation, Space};

/// Words that may be asked for at each place.
const TOP_MAX: usize = 100;

/// What `fill` is asked: a text with hidden words.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FillRequest {
    /// `stream`, `stream@stable` or `stream@42`; may be left out where there is one stream.
    model: Option<String>,
    /// A text in which `[MASK]` stands for each hidden word.
    text: String,
    /// How many words for each, 1 to 100.
    #[serde(default = "default_top")]
    top: usize,
}

fn default_top() -> usize {
    5
}

impl Asked for FillRequest {
    fn take_pictures(&mut self, _: Vec<PictureFile>) -> Result<(), Problem> {
        Err(
            Problem::new(Kind::Unprocessable, "words are guessed in a text, not in a file")
                .hint("send JSON with `text`"),
        )
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Filled {
    /// The generation that answered.
    #[schemars(with = "u64")]
    generation: Generation,
    /// Its space.
    #[schemars(with = "String")]
    space: Space,
    /// For each `[MASK]` in its order what the model expects, the likeliest first.
    masks: Vec<Vec<Expected>>,
}

/// A word that a model expects.
#[derive(Serialize, JsonSchema)]
pub(super) struct Expected {
    /// The word, or a piece of one.
    word: String,
    /// How likely it is to the model, 0 to 1.
    probability: f32,
}

/// `POST /api/v1/fill`.
pub(super) async fn fill(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (asked, _permit) = body::read::<FillRequest>(&state, request).await?;
    if !(1..=TOP_MAX).contains(&asked.top) {
        return Err(Problem::new(
            Kind::Unprocessable,
            format!("`top` may be 1 to {TOP_MAX}"),
        ));
    }
    let (_, model) = choice::model(&state, asked.model.as_deref()).await?;
    let masks = model.guess(asked.text, asked.top).await?;
    let expected = |guesses: Vec<crate::model::Guess>| {
        let words = guesses.into_iter().map(|guess| Expected {
            word: guess.word.trim().to_owned(),
            probability: guess.probability,
        });
        words.collect()
    };
    let answer = Filled {
        generation: model.published().generation,
        space: model.published().space.clone(),
        masks: masks.into_iter().map(expected).collect(),
    };
    Ok(signed(&model, Json(answer)))
}
