//! The question `inpaint`: what a model expects in the middle of a picture.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Deserialize;

use super::body::{self, Asked, PictureFile};
use super::choice;
use super::contents;
use super::given::Given;
use super::problem::{Kind, Problem};
use super::query::signed;
use super::read::png;
use super::{AppState, blocking};

/// What `inpaint` is asked: a picture whose middle is hidden and painted anew.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InpaintRequest {
    /// `stream`, `stream@stable` or `stream@42`; may be left out where there is one stream.
    model: Option<String>,
    /// A picture's file in base64.
    #[schemars(with = "String")]
    image: Option<PictureFile>,
}

impl Asked for InpaintRequest {
    fn take_pictures(&mut self, mut pictures: Vec<PictureFile>) -> Result<(), Problem> {
        self.image = pictures.pop();
        if pictures.is_empty() {
            return Ok(());
        }
        Err(Problem::new(Kind::Unprocessable, "one picture is painted at a time"))
    }
}

/// `POST /api/v1/inpaint`: a PNG of the picture as the model sees it, its middle painted from what is around it.
pub(super) async fn inpaint(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (asked, _permit) = body::read::<InpaintRequest>(&state, request).await?;
    let picture = asked
        .image
        .ok_or_else(|| Problem::new(Kind::Unprocessable, "the request brings no picture").hint("`image` is base64"))?;
    let (handle, model) = choice::model(&state, asked.model.as_deref()).await?;
    let hole = model.hole()?;
    let inputs = contents::read(&state, &handle, &model, Given::of_files(vec![picture])).await?;
    let painted = model.paint(inputs, hole).await?;
    let png = blocking(move || png(&painted))
        .await?
        .map_err(|error| Problem::new(Kind::Internal, format!("failed to write the painted picture: {error}")))?;
    Ok(signed(&model, ([(header::CONTENT_TYPE, "image/png")], png)))
}
