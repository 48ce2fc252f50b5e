//! Which model a request means: `stream`, `stream@stable`, `stream@42`; nothing where there is one stream.

use std::sync::Arc;

use super::encoder::{EncodeError, Encoder, Inputs};
use super::problem::{Kind, Problem};
use super::stream::{Older, Served};
use super::{AppState, StreamHandle, blocking};
use crate::ids::{Generation, StreamName};
use crate::model::text::Tokenizer;
use crate::model::{Curiosity, Embedder, Guess, Hole, ModelError};
use crate::registry::Published;
use crate::registry::layout::Alias;
use crate::sample::{Content, ImageTile, Modality};

/// A generation of a stream, as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The one that answers queries.
    Serving,
    /// The one that an alias names.
    Alias(Alias),
    /// This one.
    Generation(Generation),
}

/// The model that a request is answered by.
pub(super) enum Answering {
    /// The one that is served, with its index.
    Served(Arc<Served>),
    /// An older one, that has none.
    Older(Arc<Older>),
}

impl Version {
    /// The newest is the one that is served: one that was published a moment ago waits until its index is built.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "latest" => Ok(Self::Serving),
            "stable" => Ok(Self::Alias(Alias::Stable)),
            "previous" => Ok(Self::Alias(Alias::Previous)),
            number => number
                .parse()
                .map(|number| Self::Generation(Generation(number)))
                .map_err(|_| {
                    Problem::new(Kind::NotFound, format!("`{text}` names no generation"))
                        .hint("name one by its number, or as latest, stable or previous")
                }),
        }
    }
}

impl Answering {
    /// What is known of the model.
    pub(super) fn published(&self) -> &Published {
        match self {
            Self::Served(served) => &served.published,
            Self::Older(older) => &older.published,
        }
    }

    /// Numbers of its vectors.
    pub(super) fn dim(&self) -> usize {
        self.published().manifest.provenance.encoder.dim() as usize
    }

    fn encoder(&self) -> &Encoder {
        match self {
            Self::Served(served) => &served.encoder,
            Self::Older(older) => &older.encoder,
        }
    }

    /// Embeddings of samples, `[n, dim]`.
    pub(super) async fn embed(&self, inputs: Inputs) -> Result<Vec<f32>, Problem> {
        Ok(self.encoder().embed(inputs).await?)
    }

    /// What its texts are read with; None where it reads none.
    pub(super) async fn tokenizer(&self) -> Result<Option<Tokenizer>, Problem> {
        Ok(self.encoder().tokenizer().await?)
    }

    /// What the model expects at each `[MASK]` of a text, the likeliest `most` first.
    pub(super) async fn guess(&self, text: String, most: usize) -> Result<Vec<Vec<Guess>>, Problem> {
        let published = self.published();
        if !published.has_decoder() || published.manifest.provenance.encoder.modality() != Modality::Text {
            let detail = format!("generation {} guesses no words", published.generation);
            return Err(Problem::new(Kind::NoDecoder, detail).hint("ask a stream of texts"));
        }
        Ok(self.encoder().ask(move |network| network.guess(&text, most)).await?)
    }

    /// Embeddings of transitions, `[n, dim]`, and how curious each makes. An error where the model forecasts no states.
    pub(super) async fn curiosity(&self, inputs: Inputs) -> Result<(Vec<f32>, Vec<Curiosity>), Problem> {
        let published = self.published();
        if !published.has_decoder() || published.manifest.provenance.encoder.modality() != Modality::Transition {
            let detail = format!("generation {} forecasts no states", published.generation);
            return Err(Problem::new(Kind::NoDecoder, detail).hint("ask a stream of transitions"));
        }
        let asks = move |network: &Embedder| {
            let samples: Vec<&Content> = inputs.contents.iter().collect();
            match network.curiosity(&samples)? {
                Some(curiosity) => Ok(Some((network.embed(&samples)?, curiosity))),
                None => Ok(None),
            }
        };
        Ok(self.encoder().ask(asks).await?)
    }

    /// What the model says of the ends of windows. An error where it forecasts nothing.
    pub(super) async fn forecast<T: Send + 'static>(
        &self,
        asks: impl FnOnce(&Embedder) -> Result<Option<T>, ModelError> + Send + 'static,
    ) -> Result<T, Problem> {
        let published = self.published();
        if !published.has_decoder() || published.manifest.provenance.encoder.modality() != Modality::Series {
            let detail = format!("generation {} forecasts nothing", published.generation);
            return Err(Problem::new(Kind::NoDecoder, detail).hint("ask a stream of series"));
        }
        Ok(self.encoder().ask(asks).await?)
    }

    /// The hole that the model can paint: the middle of what it sees. An error where it paints nothing.
    pub(super) fn hole(&self) -> Result<Hole, Problem> {
        let published = self.published();
        let px = published.manifest.provenance.encoder.image_px();
        if !published.has_decoder() || px == 0 {
            let detail = format!(
                "generation {} was learnt by an objective that paints nothing",
                published.generation
            );
            return Err(Problem::new(Kind::NoDecoder, detail).hint(
                "set `learning.objective = \"inpaint\"` for the stream, and ask a generation that it published",
            ));
        }
        Ok(Hole::central(px))
    }

    /// The picture as the model sees it, with this hole painted from what is around it.
    pub(super) async fn paint(&self, picture: Inputs, hole: Hole) -> Result<ImageTile, Problem> {
        let paint = move |network: &Embedder| match picture.contents.first() {
            Some(Content::Image(tile)) => network.fill(tile, hole),
            _ => Ok(None),
        };
        Ok(self.encoder().ask(paint).await?)
    }

    /// The model with its index, complete.
    pub(super) fn searchable(&self) -> Result<&Arc<Served>, Problem> {
        let Self::Served(served) = self else {
            let detail = format!("generation {} has no index any more", self.published().generation);
            return Err(Problem::new(Kind::Gone, detail).hint("ask the served generation; an older one can only embed"));
        };
        if served.is_searchable() {
            return Ok(served);
        }
        let detail = format!(
            "the index of generation {} is being built: {} samples so far",
            served.published.generation,
            served.index.len()
        );
        Err(Problem::new(Kind::NotReady, detail).retry_after(1))
    }
}

impl From<EncodeError> for Problem {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::QueueFull => Self::new(Kind::QueueFull, error.to_string()).retry_after(1),
            EncodeError::NotAsked(_) => Self::new(Kind::Unprocessable, error.to_string()),
            EncodeError::Failed(_) => Self::new(Kind::EncoderFailed, error.to_string())
                .hint("it is being restarted; the log says more")
                .retry_after(2),
        }
    }
}

/// The stream of this name, or the only one.
pub(super) fn stream(state: &AppState, name: Option<&str>) -> Result<(StreamName, Arc<StreamHandle>), Problem> {
    let streams = state.streams.load();
    let names = || streams.keys().map(StreamName::as_str).collect::<Vec<_>>().join(", ");
    let found = match name {
        Some(name) => streams.iter().find(|(known, _)| known.as_str() == name),
        None if streams.len() == 1 => streams.iter().next(),
        None if streams.is_empty() => {
            let detail = "no stream is running yet, or none any more";
            return Err(Problem::new(Kind::NotReady, detail).retry_after(1));
        }
        None => {
            let detail = format!("there are several streams ({}), and the request names none", names());
            return Err(Problem::new(Kind::Unprocessable, detail).hint("name the stream"));
        }
    };
    found
        .map(|(name, handle)| (name.clone(), Arc::clone(handle)))
        .ok_or_else(|| {
            let detail = format!("there is no stream `{}`", name.unwrap_or_default());
            Problem::new(Kind::NotFound, detail).hint(format!("the streams are: {}", names()))
        })
}

/// The model of this name (`stream`, `stream@stable`, `stream@42`), or the only stream's served one.
pub(super) async fn model(
    state: &Arc<AppState>,
    name: Option<&str>,
) -> Result<(Arc<StreamHandle>, Answering), Problem> {
    let (stream_name, version) = match name {
        Some(name) => parts(name).map(|(stream, version)| (Some(stream), version))?,
        None => (None, Version::Serving),
    };
    let (name, handle) = stream(state, stream_name)?;
    let Some(served) = handle.serving.current() else {
        let state = Arc::clone(state);
        return Err(blocking(move || nothing_yet(&state, &name)).await?);
    };
    if version == Version::Serving || version == Version::Generation(served.published.generation) {
        return Ok((handle, Answering::Served(served)));
    }
    let asked = Arc::clone(&handle);
    // The registry may be writing.
    let older = blocking(move || {
        let generation = match version {
            Version::Alias(alias) => asked.registry.find(alias).map(|found| found.generation),
            Version::Generation(generation) => Some(generation),
            Version::Serving => None,
        };
        let Some(generation) = generation else {
            return Err(Problem::new(Kind::NotFound, "no generation has this name yet"));
        };
        if generation == served.published.generation {
            return Ok(Answering::Served(served));
        }
        match asked.serving.older(generation) {
            Ok(Some(older)) => Ok(Answering::Older(older)),
            Ok(None) => Err(missing(&asked, generation)),
            Err(error) => Err(Problem::new(
                Kind::Internal,
                format!("failed to start an encoder: {error}"),
            )),
        }
    });
    Ok((handle, older.await??))
}

/// What is known of a generation of a stream, without its network. Waits for the registry.
pub(super) fn published(handle: &StreamHandle, version: Version) -> Result<Published, Problem> {
    let found = match version {
        Version::Serving => handle.serving.current().map(|served| served.published.clone()),
        Version::Alias(alias) => handle.registry.find(alias),
        Version::Generation(generation) => {
            let found = handle.registry.get(generation);
            return found.ok_or_else(|| missing(handle, generation));
        }
    };
    found.ok_or_else(|| Problem::new(Kind::NotFound, "no generation has this name yet"))
}

/// A model's name in parts: its stream, and which generation of it.
pub(super) fn parts(name: &str) -> Result<(&str, Version), Problem> {
    let (stream, version) = name.split_once('@').unwrap_or((name, "latest"));
    Ok((stream, Version::parse(version)?))
}

/// What to say of a generation that is not kept.
pub(super) fn missing(handle: &StreamHandle, generation: Generation) -> Problem {
    if handle.registry.is_retired(generation) {
        let hint = "GET /api/v1/models lists those that are kept; `publication.generations_kept` says how many are";
        return Problem::new(Kind::Gone, format!("generation {generation} is kept no more")).hint(hint);
    }
    Problem::new(Kind::NotFound, format!("there is no generation {generation}")).hint("GET /api/v1/models lists them")
}

/// How far learning is from the first generation.
fn nothing_yet(state: &AppState, name: &StreamName) -> Problem {
    let status = (state.status)();
    let Some(stream) = status.streams.iter().find(|stream| stream.name == *name) else {
        return Problem::new(Kind::NotReady, format!("the stream {name} is starting")).retry_after(1);
    };
    let left = stream.first_candidate_steps.saturating_sub(stream.step) as f64;
    let so_far = match &stream.verdict {
        _ if stream.step < stream.first_candidate_steps => format!(
            "has done {} of the {} steps before the first is judged",
            stream.step, stream.first_candidate_steps
        ),
        Some(verdict) => format!("its last candidate was not published: {verdict}"),
        None => "its first candidate is about to be judged".to_owned(),
    };
    let detail = format!(
        "the stream {name} has published no model yet: it is {}, has {} samples, and {so_far}",
        stream.state, stream.samples
    );
    let seconds = if stream.steps_per_s > 0.0 {
        left / stream.steps_per_s
    } else {
        10.0
    };
    Problem::new(Kind::NotReady, detail).retry_after(seconds.clamp(1.0, 60.0).ceil() as u64)
}
