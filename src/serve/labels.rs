//! Labels over HTTP: given, taken back, listed.
//! Invariant: each item of a request is kept by itself or named as failed; what is answered as kept is durable.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use tracing::error;

use super::body::{self, Asked, PictureFile, params};
use super::choice;
use super::problem::{Kind, Problem};
use super::{AppState, StreamHandle, blocking};
use crate::ids::{SampleId, SourceHash, StreamName};
use crate::labels::{Change, Changed, LABEL_ITEMS_MAX, LabelError, LabelKey, SetName};
use crate::replay::{Found, Origin, ReplayBuffer, ReplayError};

/// Labels of one answer, at most and where nothing is said.
const LISTED_MAX: usize = 10_000;
const LISTED: usize = 1_000;

/// Labels that are given or taken back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LabelsRequest {
    /// The stream; may be left out where there is one.
    stream: Option<String>,
    /// The set of labels [default: `default`].
    set: Option<String>,
    /// The labels, up to 10,000. Of two that are of one thing the later counts.
    items: Vec<LabelItem>,
}

/// A label of a sample (`sample`), or of all samples of a file (`path` or `source`), or of one of them (with `part`).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LabelItem {
    /// A sample's number, as a search gives it.
    #[schemars(with = "Option<u64>")]
    sample: Option<SampleId>,
    /// Or a file's path, relative to its inbox, as a search gives it.
    path: Option<String>,
    /// Or the blake3 hash of a file, which may be yet to come.
    source: Option<String>,
    /// Which of the file's samples, from 0; all of them where it is left out.
    part: Option<u32>,
    /// The class; null takes the label back.
    #[serde(deserialize_with = "there")]
    label: Option<String>,
}

/// A value that may be null but not left out: a forgotten label must not take one back.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

impl Asked for LabelsRequest {
    const LISTS: &'static [&'static str] = &["items"];
    const ITEMS_MAX: Option<usize> = Some(LABEL_ITEMS_MAX);

    fn take_pictures(&mut self, _: Vec<PictureFile>) -> Result<(), Problem> {
        let detail = "labels are given in JSON (`Content-Type: application/json`)";
        Err(Problem::new(Kind::UnsupportedType, detail))
    }
}

/// What became of labels.
#[derive(Serialize, JsonSchema)]
pub(super) struct LabelsKept {
    stream: StreamName,
    #[schemars(with = "String")]
    set: SetName,
    /// Labels where there was none.
    added: usize,
    /// Labels in the place of others.
    replaced: usize,
    /// Labels that were taken back.
    removed: usize,
    /// Those that were as asked already.
    unchanged: usize,
    /// Kept labels of files that were not taken yet: they count when they are.
    to_come: usize,
    /// The items that were not kept.
    failed: Vec<FailedItem>,
}

/// An item that was not kept.
#[derive(Serialize, JsonSchema)]
struct FailedItem {
    /// Its place in the request, from 0.
    item: usize,
    /// Why.
    detail: String,
}

/// `POST /api/v1/labels`.
pub(super) async fn change(State(state): State<Arc<AppState>>, request: Request) -> Result<Json<LabelsKept>, Problem> {
    let (LabelsRequest { stream, set, items }, held) = body::read(&state, request).await?;
    let (stream, handle) = choice::stream(&state, stream.as_deref())?;
    let set = set_name(set.as_deref())?;
    // A path is looked for in the whole ledger: one request at a time does so. The permits go with the work.
    let permit = match items.iter().any(|item| item.path.is_some()) {
        true => Some(Arc::clone(&state.comparing).acquire_owned().await),
        false => None,
    };
    let kept = blocking(move || {
        let _permits = (held, permit);
        keep(&handle, stream, set, items)
    });
    Ok(Json(kept.await??))
}

fn keep(handle: &StreamHandle, stream: StreamName, set: SetName, items: Vec<LabelItem>) -> Result<LabelsKept, Problem> {
    let found = look_up(&handle.replay, &items).map_err(|error| unreadable(&error))?;
    let (mut places, mut changes, mut failed, mut to_come) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (item, asked) in items.into_iter().enumerate() {
        match change_of(&handle.replay, &found, asked) {
            Ok((change, is_known)) => {
                places.push(item);
                to_come.push(!is_known && change.class.is_some());
                changes.push(change);
            }
            Err(detail) => failed.push(FailedItem { item, detail }),
        }
    }
    let done = handle
        .labels
        .apply(&set, &changes)
        .map_err(|error| kept_failed(&error))?;
    let mut kept = LabelsKept {
        stream,
        set,
        added: 0,
        replaced: 0,
        removed: 0,
        unchanged: 0,
        to_come: 0,
        failed,
    };
    for ((item, done), is_to_come) in places.into_iter().zip(done).zip(to_come) {
        match done {
            Ok(Changed::Added) => kept.added += 1,
            Ok(Changed::Replaced) => kept.replaced += 1,
            Ok(Changed::Removed) => kept.removed += 1,
            Ok(Changed::Unchanged) => kept.unchanged += 1,
            Err(refused) => {
                kept.failed.push(FailedItem {
                    item,
                    detail: refused.to_string(),
                });
                continue;
            }
        }
        kept.to_come += usize::from(is_to_come);
    }
    kept.failed.sort_by_key(|failed| failed.item);
    Ok(kept)
}

/// Finds the origins of samples, and the sources of paths; the whole ledger is read where a path, or a sample that is gone, is
/// among them.
fn look_up(replay: &ReplayBuffer, items: &[LabelItem]) -> Result<Found, ReplayError> {
    let mut by_id = BTreeMap::new();
    let mut gone = HashSet::new();
    for id in items.iter().filter_map(|item| item.sample) {
        match replay.origin(id)? {
            Some(origin) => drop(by_id.insert(id, origin)),
            None => drop(gone.insert(id)),
        }
    }
    let newest = replay.newest();
    gone.retain(|id| *id <= newest);
    let paths: HashSet<String> = items.iter().filter_map(|item| item.path.clone()).collect();
    let mut found = match paths.is_empty() && gone.is_empty() {
        true => Found::default(),
        false => replay.find_sources(&paths, &gone)?,
    };
    found.by_id.extend(by_id);
    Ok(found)
}

/// The change that an item asks for, and whether its source was taken; or why it can not be made.
fn change_of(replay: &ReplayBuffer, found: &Found, item: LabelItem) -> Result<(Change, bool), String> {
    let class = item.label.map(|label| label.parse()).transpose();
    let class = class.map_err(|error: crate::labels::NameError| error.to_string())?;
    let source: SourceHash = match (item.sample, item.path, item.source) {
        (Some(id), None, None) => {
            if item.part.is_some() {
                return Err("`part` stands beside `path` or `source`".to_owned());
            }
            let origin = found
                .by_id
                .get(&id)
                .ok_or_else(|| format!("there was never a sample {id}"))?;
            let Origin { source, part, parts } = *origin;
            let key = LabelKey {
                source,
                part: (parts > 1).then_some(part),
            };
            return Ok((Change { key, class }, true));
        }
        (None, Some(path), None) => {
            let sources: Vec<SourceHash> = found.by_path.get(&path).into_iter().flatten().copied().collect();
            match sources[..] {
                [source] => source,
                [] => {
                    return Err(
                        "no file of this path was taken yet; name one that is yet to come by its hash (`source`)"
                            .to_owned(),
                    );
                }
                _ => {
                    let hashes: Vec<String> = sources.iter().take(4).map(ToString::to_string).collect();
                    return Err(format!(
                        "{} files came under this path; name one by its hash (`source`): {}",
                        sources.len(),
                        hashes.join(", ")
                    ));
                }
            }
        }
        (None, None, Some(hash)) => hash.parse().map_err(|error: crate::ids::IdError| error.to_string())?,
        _ => return Err("an item names one thing, as `sample`, `path` or `source`".to_owned()),
    };
    let taken = replay.taken(&source).map_err(|error| error.to_string())?;
    let parts = taken.as_ref().map(|taken| taken.ids.end - taken.ids.start);
    let part = match (item.part, parts) {
        (Some(part), Some(parts)) if u64::from(part) >= parts => {
            return Err(format!("the file has {parts} samples, and no part {part}"));
        }
        (Some(u32::MAX), None) => return Err("no file has so many samples".to_owned()),
        // Of a file with one sample both names mean the same.
        (Some(_), Some(1)) => None,
        (part, _) => part,
    };
    Ok((
        Change {
            key: LabelKey { source, part },
            class,
        },
        taken.is_some(),
    ))
}

/// Labels as they are kept.
#[derive(Serialize, JsonSchema)]
pub(super) struct LabelsAnswer {
    stream: StreamName,
    /// Every set that has a label.
    sets: Vec<SetAnswer>,
    /// The set that is listed.
    #[schemars(with = "String")]
    set: SetName,
    /// Its classes, each with its number of labels.
    classes: BTreeMap<String, usize>,
    /// Its labels, by the hashes of their files.
    labels: Vec<LabelAnswer>,
    /// What to give as `after` for those that follow; null at the end.
    next: Option<String>,
}

/// A set of labels.
#[derive(Serialize, JsonSchema)]
struct SetAnswer {
    #[schemars(with = "String")]
    set: SetName,
    labels: usize,
    classes: usize,
    /// Whether a classifier is fitted from it for every generation.
    head: bool,
}

/// A label.
#[derive(Serialize, JsonSchema)]
struct LabelAnswer {
    /// The blake3 hash of the file.
    #[schemars(with = "String")]
    source: SourceHash,
    /// Which of its samples; null: all of them.
    part: Option<u32>,
    label: String,
    /// The file's path below its inbox; null where it was not taken yet.
    path: Option<String>,
    /// The first of its samples that is held; null where none is.
    #[schemars(with = "Option<u64>")]
    sample: Option<SampleId>,
}

/// `GET /api/v1/labels`.
pub(super) async fn list(State(state): State<Arc<AppState>>, request: Request) -> Result<Json<LabelsAnswer>, Problem> {
    let params = params(request.uri(), &["stream", "set", "after", "max"])?;
    let (stream, handle) = choice::stream(&state, params.get("stream").map(String::as_str))?;
    let set = set_name(params.get("set").map(String::as_str))?;
    let unreadable_param = |what: &str| Problem::new(Kind::MalformedRequest, what.to_owned());
    let max = match params.get("max").map(|max| max.parse::<usize>()) {
        None => LISTED,
        Some(Ok(max)) if (1..=LISTED_MAX).contains(&max) => max,
        Some(_) => return Err(unreadable_param("`max` may be 1 to 10,000")),
    };
    let after: Option<LabelKey> = match params.get("after").map(|after| after.parse()) {
        None => None,
        Some(Ok(after)) => Some(after),
        Some(Err(_)) => return Err(unreadable_param("`after` is not what `next` of an answer said")),
    };
    let answer = blocking(move || listed(&handle, stream, set, after, max)).await?;
    Ok(Json(answer.map_err(|error| unreadable(&error))?))
}

fn listed(
    handle: &StreamHandle,
    stream: StreamName,
    set: SetName,
    after: Option<LabelKey>,
    max: usize,
) -> Result<LabelsAnswer, ReplayError> {
    let heads = handle.labels.heads();
    let sets = handle.labels.sets();
    let labels = handle.labels.set(&set);
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = labels.labels().range((from, Bound::Unbounded));
    let mut answers = Vec::new();
    let mut last = None;
    for (key, class) in rest.by_ref().take(max) {
        let taken = handle.replay.taken(&key.source)?;
        let ids = taken.as_ref().map_or(0..0, |taken| taken.ids.clone());
        let ids = match key.part.map(|part| ids.start.saturating_add(u64::from(part))) {
            None => ids,
            Some(id) => id.max(ids.start)..id.saturating_add(1).min(ids.end),
        };
        let sample = handle.replay.live_in(ids, 1).pop();
        answers.push(LabelAnswer {
            source: key.source,
            part: key.part,
            label: class.to_string(),
            path: taken.map(|taken| taken.path),
            sample,
        });
        last = Some(*key);
    }
    let more = rest.next().is_some();
    Ok(LabelsAnswer {
        stream,
        sets: sets
            .iter()
            .map(|(name, set)| SetAnswer {
                set: name.clone(),
                labels: set.labels().len(),
                classes: set.classes().len(),
                head: heads.contains_key(name),
            })
            .collect(),
        set,
        classes: labels
            .classes()
            .iter()
            .map(|(class, count)| (class.to_string(), *count))
            .collect(),
        labels: answers,
        next: last.filter(|_| more).map(|key| key.to_string()),
    })
}

/// The name of a set, or the one that is meant where none is given.
pub(super) fn set_name(name: Option<&str>) -> Result<SetName, Problem> {
    match name {
        None => Ok(SetName::default()),
        Some(name) => name
            .parse()
            .map_err(|error: crate::labels::NameError| Problem::new(Kind::Unprocessable, error.to_string())),
    }
}

/// What to say where the buffer can not tell where samples come from.
pub(super) fn unreadable(error: &ReplayError) -> Problem {
    error!(%error, hint = "look at the disk: its space, owner and health; ask again", "failed to look up what labels are of");
    Problem::new(Kind::Internal, format!("failed to look up what labels are of: {error}"))
}

/// What to say where labels could not be made durable.
pub(super) fn kept_failed(error: &LabelError) -> Problem {
    if matches!(error, LabelError::Closed) {
        return Problem::new(Kind::NotReady, error.to_string()).retry_after(1);
    }
    error!(%error, hint = "look at the disk: its space, owner and health; give the labels again", "failed to keep labels");
    Problem::new(Kind::Internal, format!("the labels are not kept: {error}"))
        .hint("look at the disk, and give them again")
}
