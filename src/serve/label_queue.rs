//! `label-queue`: which samples to label next.
//! Invariant: a queue is of one state of the index; no sample in it has a label, is in it twice, or shows what another in it, or
//! a labelled one, shows.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::body::{self, Asked, PictureFile};
use super::heads::{self, Fitted};
use super::index::{Place, Snapshot};
use super::labels::{set_name, unreadable};
use super::novelty::most_novel_of;
use super::problem::{Kind, Problem};
use super::query::signed;
use super::stream::Served;
use super::{AppState, StreamHandle, blocking, choice};
use crate::ids::{Generation, SampleId, Space, StreamName};
use crate::labels::{PAIRS_MAX, POOL_MAX, Pool, SetName, diverse, typical, uncertain};
use crate::replay::ReplayError;
use crate::rng;
use crate::sample::Content;

/// Samples of a queue.
const QUEUE_MAX: usize = 1_000;

/// Labelled samples that a choice is made beside, at most; of more so many by lot.
const LABELLED_MAX: usize = 2_000;

/// How samples are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Strategy {
    /// Those that stand for many: for the first labels.
    Typical,
    /// Those that cover all there is.
    Diverse,
    /// Those that the classifier wavers about.
    Uncertain,
    /// Those that are like nothing else.
    Novel,
    /// In turns a typical one, an uncertain one where there is a classifier, and a novel one.
    Mixed,
}

/// What `label-queue` is asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueRequest {
    /// The stream; may be left out where there is one.
    stream: Option<String>,
    /// The set of labels [default: `default`].
    set: Option<String>,
    /// How they are chosen [default: typical].
    #[serde(default = "default_strategy")]
    strategy: Strategy,
    /// How many, 1 to 1,000.
    #[serde(default = "default_n")]
    n: usize,
}

fn default_strategy() -> Strategy {
    Strategy::Typical
}

fn default_n() -> usize {
    50
}

impl Asked for QueueRequest {
    fn take_pictures(&mut self, _: Vec<PictureFile>) -> Result<(), Problem> {
        let detail = "what is to be labelled is asked in JSON (`Content-Type: application/json`)";
        Err(Problem::new(Kind::UnsupportedType, detail))
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Queue {
    stream: StreamName,
    /// The generation whose vectors were compared.
    #[schemars(with = "u64")]
    generation: Generation,
    /// Their space.
    #[schemars(with = "String")]
    space: Space,
    #[schemars(with = "String")]
    set: SetName,
    strategy: Strategy,
    /// Samples in the index.
    held: usize,
    /// Of them, those that have a label of the set.
    labelled: usize,
    /// Of the others, without near-duplicates, those that were chosen from; fewer than there are where there are many.
    considered: usize,
    /// Whether that was a part of them, taken by lot.
    by_lot: bool,
    /// The samples, the first to be labelled first.
    samples: Vec<Queued>,
}

#[derive(Serialize, JsonSchema)]
struct Queued {
    #[schemars(with = "u64")]
    id: SampleId,
    /// The file it was cut from, relative to its inbox.
    path: String,
    /// How it was chosen.
    strategy: Strategy,
    /// Of a typical one 1 over the mean distance to its nearest; of a diverse one the distance to what was chosen before; of an
    /// uncertain one by how much the likeliest class is ahead of the next; of a novel one the mean of 1 - cosine to its nearest.
    score: f64,
    /// Where to see it: a path of this server.
    url: String,
    /// Of a text what it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// `POST /api/v1/label-queue`.
pub(super) async fn label_queue(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (asked, _held) = body::read::<QueueRequest>(&state, request).await?;
    if !(1..=QUEUE_MAX).contains(&asked.n) {
        return Err(Problem::new(
            Kind::Unprocessable,
            format!("`n` may be 1 to {QUEUE_MAX}"),
        ));
    }
    let set = set_name(asked.set.as_deref())?;
    let (stream, _) = choice::stream(&state, asked.stream.as_deref())?;
    let (handle, model) = choice::model(&state, Some(stream.as_str())).await?;
    let served = Arc::clone(model.searchable()?);
    let head = match asked.strategy {
        Strategy::Uncertain => Some(heads::of(&served, &set)?),
        Strategy::Mixed => heads::of(&served, &set).ok(),
        _ => None,
    };
    // The permit goes with the work, which goes on when the client hangs up.
    let permit = Arc::clone(&state.comparing).acquire_owned().await;
    let answer = blocking(move || {
        let _permit = permit;
        let work = Work::new(&handle, &served, &set, head).map_err(|error| unreadable(&error))?;
        work.queue(stream, set, asked.strategy, asked.n)
            .map_err(|error| unreadable(&error))
    });
    Ok(signed(&model, Json(answer.await??)))
}

/// One state of an index, and what of it may be chosen.
struct Work<'a> {
    handle: &'a StreamHandle,
    served: &'a Served,
    head: Option<Arc<Fitted>>,
    now: Snapshot,
    /// Where each of its samples is.
    places: Vec<Place>,
    /// The samples that may be chosen, as numbers in `places`.
    free: Vec<usize>,
    /// Those that have a label.
    labelled: Vec<usize>,
    considered: usize,
    by_lot: bool,
}

impl<'a> Work<'a> {
    fn new(
        handle: &'a StreamHandle,
        served: &'a Served,
        set: &SetName,
        head: Option<Arc<Fitted>>,
    ) -> Result<Self, ReplayError> {
        let now = served.index.snapshot();
        let (held, _) = heads::held(&handle.labels.set(set), &handle.replay, &served.index)?;
        let with_label: HashSet<SampleId> = held.iter().map(|labelled| labelled.id).collect();
        let places = now.places();
        let row = |at: usize| now.row(places[at]).1;
        let ids: Vec<SampleId> = places.iter().map(|place| now.row(*place).0).collect();
        let groups = handle.replay.near_duplicate_groups(&ids);
        // What a labelled sample shows is known; of what several show, or have in common as a vector, the oldest stands for all.
        let (labelled, mut free): (Vec<usize>, Vec<usize>) =
            (0..ids.len()).partition(|at| with_label.contains(&ids[*at]));
        let mut shown: HashSet<u64> = labelled.iter().filter_map(|at| groups[*at]).collect();
        let mut vectors: HashSet<u64> = labelled.iter().map(|at| vector_hash(row(*at))).collect();
        free.sort_unstable_by_key(|at| ids[*at]);
        free.retain(|at| groups[*at].is_none_or(|group| shown.insert(group)) && vectors.insert(vector_hash(row(*at))));
        Ok(Self {
            handle,
            served,
            head,
            now,
            places,
            considered: free.len(),
            by_lot: false,
            free,
            labelled,
        })
    }

    fn queue(mut self, stream: StreamName, set: SetName, strategy: Strategy, n: usize) -> Result<Queue, ReplayError> {
        let chosen = match strategy {
            Strategy::Mixed => self.mixed(n),
            one => self
                .by(one, n)
                .into_iter()
                .map(|(place, score)| (place, score, one))
                .collect(),
        };
        let samples = self.named(&stream, chosen)?;
        let published = &self.served.published;
        Ok(Queue {
            stream,
            generation: published.generation,
            space: published.space.clone(),
            set,
            strategy,
            held: self.now.len(),
            labelled: self.labelled.len(),
            considered: self.considered,
            by_lot: self.by_lot,
            samples,
        })
    }

    /// A sample and its vector.
    fn row(&self, at: usize) -> (SampleId, &[f32]) {
        self.now.row(self.places[at])
    }

    /// The first `n` by one strategy: their numbers in `places`, and their scores.
    fn by(&mut self, strategy: Strategy, n: usize) -> Vec<(usize, f64)> {
        let seed = self.served.published.generation.0;
        let labelled = by_lot(&self.labelled, LABELLED_MAX, seed);
        let room = match strategy {
            Strategy::Novel => usize::MAX,
            Strategy::Uncertain => {
                let classes = self.head.as_ref().map_or(1, |fitted| fitted.head.classes().len());
                (PAIRS_MAX / classes).min(POOL_MAX)
            }
            Strategy::Diverse => (PAIRS_MAX / (labelled.len() + n)).min(POOL_MAX),
            Strategy::Typical | Strategy::Mixed => Pool::room(labelled.len(), n),
        };
        let among = by_lot(&self.free, room, seed);
        self.considered = self.considered.min(among.len());
        self.by_lot |= among.len() < self.free.len();
        if strategy == Strategy::Novel {
            let number_of: HashMap<SampleId, usize> = among.iter().map(|at| (self.row(*at).0, *at)).collect();
            let is_asked = |id| number_of.contains_key(&id);
            let found = most_novel_of(&self.served.index, &self.now, is_asked, n);
            return found
                .into_iter()
                .map(|(id, distance)| (number_of[&id], f64::from(distance)))
                .collect();
        }
        let rows = |numbers: &[usize]| numbers.iter().map(|at| self.row(*at).1).collect();
        let pool = Pool {
            candidates: rows(&among),
            labelled: rows(&labelled),
        };
        let chosen = match (strategy, &self.head) {
            (Strategy::Uncertain, Some(fitted)) => uncertain(&pool, &fitted.head, n),
            (Strategy::Diverse, _) => diverse(&pool, n),
            _ => typical(&pool, n, seed),
        };
        chosen.into_iter().map(|(at, score)| (among[at], score)).collect()
    }

    /// In turns of each strategy the best that is not there yet.
    fn mixed(&mut self, n: usize) -> Vec<(usize, f64, Strategy)> {
        let strategies = [Strategy::Typical, Strategy::Uncertain, Strategy::Novel];
        let has_head = self.head.is_some();
        let asked = strategies
            .into_iter()
            .filter(|one| *one != Strategy::Uncertain || has_head);
        let mut queues: Vec<_> = asked.map(|one| (one, self.by(one, n).into_iter())).collect();
        let (mut chosen, mut there) = (Vec::with_capacity(n), BTreeSet::new());
        let mut left = true;
        while left {
            left = false;
            for (strategy, queue) in &mut queues {
                let next = queue.find(|(place, _)| there.insert(*place));
                if let Some((place, score)) = next.filter(|_| chosen.len() < n) {
                    chosen.push((place, score, *strategy));
                    left = true;
                }
            }
        }
        chosen
    }

    fn named(&self, stream: &StreamName, chosen: Vec<(usize, f64, Strategy)>) -> Result<Vec<Queued>, ReplayError> {
        let ids: Vec<SampleId> = chosen.iter().map(|(at, ..)| self.row(*at).0).collect();
        let contents = self.handle.replay.read_many(&ids)?;
        let all = ids.into_iter().zip(chosen).zip(contents);
        // One that was evicted a moment ago is left out.
        Ok(all
            .filter_map(|((id, (_, score, strategy)), content)| {
                let content = Content::decode(&content?).ok()?;
                let (seen_at, text) = match content {
                    Content::Image(_) => ("picture", None),
                    Content::Text(passage) => ("text", Some(passage.text)),
                    Content::Series(_) | Content::Transition(_) => ("content", None),
                };
                Some(Queued {
                    id,
                    path: self.handle.replay.info(id)?.path,
                    strategy,
                    score,
                    url: format!("/api/v1/samples/{id}/{seen_at}?stream={stream}"),
                    text,
                })
            })
            .collect())
    }
}

/// At most so many of these, in their order.
fn by_lot(all: &[usize], most: usize, seed: u64) -> Vec<usize> {
    let mut rng = rng::for_step(seed, 2, all.len() as u64);
    let mut left = most.min(all.len());
    let mut chosen = Vec::with_capacity(left);
    for (at, one) in all.iter().enumerate() {
        if rng::below(&mut rng, all.len() - at) < left {
            chosen.push(*one);
            left -= 1;
        }
    }
    chosen
}

fn vector_hash(row: &[f32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    row.iter().for_each(|value| value.to_bits().hash(&mut hasher));
    hasher.finish()
}
