//! What a request asks about, as samples: files are read as ingest reads them.
//! Invariant: a file gives the vector that its sample has; what is held is counted before it is read.

use std::path::Path;
use std::sync::Arc;

use super::body;
use super::choice::Answering;
use super::encoder::Inputs;
use super::given::Given;
use super::labels::unreadable;
use super::problem::{Kind, Problem};
use super::{AppState, StreamHandle, blocking};
use crate::ids::SampleId;
use crate::model::{EncoderSpec, must_be_seen_whole};
use crate::sample::image::turn;
use crate::sample::{Content, Cutting, Rejection};

/// Characters of a text that a file brings: it is one item, whatever ingest would cut it into.
const FILE_CHARS_MAX: usize = 1 << 20;

/// The samples that a request brings, in this order: its files, texts, series, transitions.
pub(super) async fn read(
    state: &AppState,
    handle: &StreamHandle,
    model: &Answering,
    mut given: Given,
) -> Result<Inputs, Problem> {
    body::too_many(state.config.items_max, given.len())?;
    let spec = model.published().manifest.provenance.encoder;
    given.must_be_of(spec.modality())?;
    let cutting = cutting(handle, &spec);
    let files = std::mem::take(&mut given.files);
    let room = body::room(
        state,
        files.len() * cutting.sample_bytes().min(FILE_CHARS_MAX) + given.bytes(),
    )?;
    let mut contents = Vec::with_capacity(files.len() + given.len());
    for (item, file) in files.into_iter().enumerate() {
        // A large picture takes much more room than its file: few are decoded at once. The semaphore is never closed. The
        // permit goes with the work, which goes on when the client hangs up.
        let permit = Arc::clone(&state.decodes).acquire_owned().await;
        let cutting = cutting.clone();
        let read = blocking(move || {
            let _permit = permit;
            let _turn = turn(file.0.len() as u64);
            cutting.cut(Path::new(""), &file.0)
        })
        .await?;
        contents.push(one(read.map(|pieces| pieces.contents), item)?);
    }
    contents.extend(given.contents(contents.len())?);
    if let EncoderSpec::Transition(spec) = &spec {
        // One of which it would see a part gets no answer that means what was asked.
        for (item, content) in contents.iter().enumerate() {
            let Content::Transition(transition) = content else {
                continue;
            };
            must_be_seen_whole(transition, spec).map_err(|error| {
                let problem = Problem::new(Kind::Unprocessable, format!("item {item}: {}", error.0)).item(item);
                problem.hint(format!(
                    "the model takes states of up to {} numbers and actions of up to {}",
                    spec.state_dims, spec.actions
                ))
            })?;
        }
    }
    Ok(Inputs {
        contents,
        room: Some(room),
    })
}

/// Samples of the buffer, to be embedded again.
pub(super) async fn held(state: &AppState, handle: &StreamHandle, ids: &[SampleId]) -> Result<Inputs, Problem> {
    body::too_many(state.config.items_max, ids.len())?;
    let room = body::room(state, ids.len() * handle.cutting.sample_bytes())?;
    let (replay, ids) = (Arc::clone(&handle.replay), ids.to_vec());
    let contents = blocking(move || {
        let found = replay.read_many(&ids).map_err(|error| unreadable(&error))?;
        let each = ids.iter().zip(found).enumerate();
        let content = |(item, (id, bytes)): (usize, (&SampleId, Option<Vec<u8>>))| {
            let bytes = bytes.ok_or_else(|| not_held(*id, item))?;
            Content::decode(&bytes).map_err(|error| {
                Problem::new(Kind::Internal, format!("sample {id} is not what it should be: {error}")).item(item)
            })
        };
        each.map(content).collect::<Result<Vec<_>, Problem>>()
    });
    Ok(Inputs {
        contents: contents.await??,
        room: Some(room),
    })
}

/// What to say of a sample that is not there.
pub(super) fn not_held(id: SampleId, item: usize) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no sample {id} in the index")).item(item)
}

/// As ingest cuts files, but for the model that is asked, and a text in one piece.
fn cutting(handle: &StreamHandle, spec: &EncoderSpec) -> Cutting {
    match handle.cutting.clone() {
        Cutting::Pictures { limits, .. } => Cutting::Pictures {
            limits,
            image_px: spec.image_px(),
        },
        Cutting::Texts { mut limits, field } => {
            limits.chars_max = FILE_CHARS_MAX;
            Cutting::Texts { limits, field }
        }
        other => other,
    }
}

/// The one sample that a file of a request holds.
fn one(read: Result<Vec<Content>, Rejection>, item: usize) -> Result<Content, Problem> {
    let (detail, reason) = match read {
        Ok(mut contents) if contents.len() == 1 => return Ok(contents.remove(0)),
        Ok(contents) => (
            format!("it holds {} samples, not one: send them each by itself", contents.len()),
            None,
        ),
        Err(rejection) => (rejection.detail, Some(rejection.reason.as_str().to_owned())),
    };
    let mut problem = Problem::new(Kind::Unprocessable, format!("file {item} was refused: {detail}"));
    problem.reason = reason;
    Err(problem.item(item))
}
