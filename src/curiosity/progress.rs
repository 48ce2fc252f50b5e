//! Progress: where the errors fall. Online clusters of teacher space, each with a slow and a fast mean of its errors:
//! their difference is what was learnt there lately (Oudeyer et al. 2007, learning progress).
//! Invariant: at most [`CLUSTERS_MAX`] clusters; every number of them is finite; a guard is in (0, 1).

use serde::{Deserialize, Serialize};

use super::packed;
use crate::replay::{EMBEDDING_DIM, Embedding};

/// Clusters. Full: what lies far from all of them takes the place of one that was not met for long.
pub const CLUSTERS_MAX: usize = 256;

/// How much of a cluster's means one error replaces.
const FAST: f64 = 0.1;
const SLOW: f64 = 0.02;

/// How much of the variance within a cluster one error replaces.
const SPREAD_RATE: f64 = 0.05;

/// The standard deviation of `slow - fast` over that of errors that are noise:
/// `sqrt(f / (2 - f) + s / (2 - s) - 2 f s / (f + s - f s))`.
const NOISE: f64 = 0.17;

/// Errors of a cluster below which nothing is said about its progress.
const SEEN_MIN: u64 = 8;

/// How much of the scale of progress one error replaces.
const SCALE_RATE: f64 = 0.01;

/// How much of the whole stream's means one error replaces: at 16 scores a step, those of the last 12 and 125 steps.
const STREAM_FAST: f64 = 1.0 / 200.0;
const STREAM_SLOW: f64 = 1.0 / 2_000.0;

/// A centroid moves by this share towards what it takes in, at least: it follows the teacher.
const CENTROID_RATE: f64 = 0.05;

/// Squared distance to the nearest centroid below which nothing founds a new cluster: a duplicate.
const DUPLICATE: f64 = 1e-3;

/// What lies so many times farther than usual from all centroids is of none of them.
const FAR: f64 = 2.0;

/// Scores without a meeting after which a cluster may be given up: eight turns of all of them.
const IDLE_MAX: u64 = 8 * CLUSTERS_MAX as u64;

/// Squared length of a rounded embedding, as its root.
const UNIT: f32 = 127.0;

/// What a cluster knows of its errors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Cluster {
    slow: f64,
    fast: f64,
    /// Of the errors around the fast mean.
    variance: f64,
    seen: u64,
    /// The score, counted from the stream's first, that it met last.
    met: u64,
}

/// The clusters, and the stream as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Kept", into = "Kept")]
pub struct Progress {
    /// [clusters * 64].
    centroids: Vec<f32>,
    clusters: Vec<Cluster>,
    /// Mean squared distance of an embedding to its centroid.
    distance: Option<f64>,
    /// Mean size of progress.
    scale: f64,
    slow: Option<f64>,
    fast: Option<f64>,
    scores: u64,
}

impl Progress {
    /// Takes an error in, which must be finite; the cluster that it belongs to.
    pub fn observe(&mut self, embedding: &Embedding, error: f32) -> u16 {
        let error = f64::from(error);
        self.scores += 1;
        blend(&mut self.slow, error, STREAM_SLOW);
        blend(&mut self.fast, error, STREAM_FAST);
        let place = unit(embedding);
        let (at, distance) = match self.nearest(&place) {
            Some((at, distance)) if !self.founds(distance) => (at, distance),
            _ => {
                let at = self.found(&place, error);
                (at, 0.0)
            }
        };
        blend(&mut self.distance, distance, SCALE_RATE);
        let cluster = &mut self.clusters[at];
        cluster.met = self.scores;
        cluster.seen += 1;
        let off = error - cluster.fast;
        cluster.variance += SPREAD_RATE * (off * off - cluster.variance);
        cluster.fast += FAST * off;
        cluster.slow += SLOW * (error - cluster.slow);
        let rate = CENTROID_RATE.max(1.0 / cluster.seen as f64) as f32;
        let size = self.value(at as u16).abs();
        self.scale += SCALE_RATE * (size - self.scale);
        let centroid = &mut self.centroids[at * EMBEDDING_DIM..(at + 1) * EMBEDDING_DIM];
        for (mean, value) in centroid.iter_mut().zip(&place) {
            *mean += rate * (value - *mean);
        }
        at as u16
    }

    /// The cluster that an embedding belongs to; None before the first.
    pub fn cluster(&self, embedding: &Embedding) -> Option<u16> {
        self.nearest(&unit(embedding)).map(|(at, _)| at as u16)
    }

    /// A cluster's learning progress, in the unit of errors: above 0 they fall. 0 while little is known.
    pub fn value(&self, cluster: u16) -> f64 {
        match self.clusters.get(usize::from(cluster)) {
            Some(cluster) if cluster.seen >= SEEN_MIN => cluster.slow - cluster.fast,
            _ => 0.0,
        }
    }

    /// Whether enough is known of a cluster to speak of its progress.
    pub fn is_known(&self, cluster: u16) -> bool {
        let cluster = self.clusters.get(usize::from(cluster));
        cluster.is_some_and(|cluster| cluster.seen >= SEEN_MIN)
    }

    /// How far the errors of a cluster may count: the sigmoid of its progress over the usual size of progress and what
    /// noise of its errors' spread would show of it. Where we differ from `sigmoid(LP / s)`: without the second a noisy
    /// cluster among quiet ones would be taken for one that is learnt fast whenever its noise happens to fall.
    pub fn guard(&self, cluster: u16) -> f64 {
        let Some(known) = self.clusters.get(usize::from(cluster)) else {
            return 0.5;
        };
        let usual = self.scale + NOISE * known.variance.max(0.0).sqrt();
        if usual <= f64::MIN_POSITIVE {
            return 0.5;
        }
        // A sigmoid of +-36 is as near to 0 and 1 as a double comes.
        let ratio = (self.value(cluster) / usual).clamp(-36.0, 36.0);
        1.0 / (1.0 + (-ratio).exp())
    }

    /// The whole stream's progress, as a share of its error: how much lower it is lately than before. Below 0 the errors
    /// grow, as they do when what arrives is new, and while a young network begins to tell pictures apart.
    pub fn of_stream(&self) -> Option<f64> {
        let (slow, fast) = (self.slow?, self.fast?);
        (slow > 0.0).then(|| (slow - fast) / slow)
    }

    /// Whether what lies so far from every centroid founds a cluster of its own.
    fn founds(&self, distance: f64) -> bool {
        if self.clusters.len() < CLUSTERS_MAX {
            return distance > DUPLICATE;
        }
        let is_far = self.distance.is_some_and(|usual| distance > FAR * usual.max(DUPLICATE));
        is_far && self.clusters.iter().any(|cluster| self.is_idle(cluster))
    }

    fn is_idle(&self, cluster: &Cluster) -> bool {
        self.scores - cluster.met > IDLE_MAX
    }

    /// A new cluster at this place: a further one, or in place of the one that was not met for longest.
    fn found(&mut self, place: &[f32; EMBEDDING_DIM], error: f64) -> usize {
        let cluster = Cluster {
            slow: error,
            fast: error,
            variance: 0.0,
            seen: 0,
            met: self.scores,
        };
        let oldest = (0..self.clusters.len()).min_by_key(|at| self.clusters[*at].met);
        match oldest {
            Some(at) if self.clusters.len() == CLUSTERS_MAX => {
                self.clusters[at] = cluster;
                self.centroids[at * EMBEDDING_DIM..(at + 1) * EMBEDDING_DIM].copy_from_slice(place);
                at
            }
            _ => {
                self.clusters.push(cluster);
                self.centroids.extend_from_slice(place);
                self.clusters.len() - 1
            }
        }
    }

    /// The nearest centroid and its squared distance.
    fn nearest(&self, place: &[f32; EMBEDDING_DIM]) -> Option<(usize, f64)> {
        let (centroids, _) = self.centroids.as_chunks::<EMBEDDING_DIM>();
        let distances = centroids.iter().map(|centroid| squared_distance(centroid, place));
        let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        nearest.map(|(at, distance)| (at, f64::from(distance)))
    }
}

/// In lanes, whose sums do not wait for each other: this is asked 256 times for each sample of a batch.
fn squared_distance(a: &[f32; EMBEDDING_DIM], b: &[f32; EMBEDDING_DIM]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0f32; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += (a - b) * (a - b);
        }
    }
    sums.iter().sum()
}

fn unit(embedding: &Embedding) -> [f32; EMBEDDING_DIM] {
    embedding.0.map(|value| f32::from(value) / UNIT)
}

fn blend(mean: &mut Option<f64>, value: f64, rate: f64) {
    *mean = Some(mean.map_or(value, |mean| mean + rate * (value - mean)));
}

/// What is kept of the progress.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(with = "packed")]
    centroids: Vec<f32>,
    clusters: Vec<Cluster>,
    distance: Option<f64>,
    scale: f64,
    slow: Option<f64>,
    fast: Option<f64>,
    scores: u64,
}

impl From<Progress> for Kept {
    fn from(progress: Progress) -> Self {
        let Progress {
            centroids,
            clusters,
            distance,
            scale,
            slow,
            fast,
            scores,
        } = progress;
        Self {
            centroids,
            clusters,
            distance,
            scale,
            slow,
            fast,
            scores,
        }
    }
}

impl TryFrom<Kept> for Progress {
    type Error = &'static str;

    fn try_from(kept: Kept) -> Result<Self, Self::Error> {
        let count = kept.clusters.len();
        if count > CLUSTERS_MAX || kept.centroids.len() != count * EMBEDDING_DIM {
            return Err("not one centroid for each cluster");
        }
        if kept.centroids.iter().any(|value| !value.is_finite()) {
            return Err("a centroid is no place");
        }
        if kept.clusters.iter().any(|cluster| cluster.met > kept.scores) {
            return Err("a cluster was met in the future");
        }
        Ok(Self {
            centroids: kept.centroids,
            clusters: kept.clusters,
            distance: kept.distance,
            scale: kept.scale,
            slow: kept.slow,
            fast: kept.fast,
            scores: kept.scores,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curiosity::tests::{embedding, noise};

    /// A stream of 64 groups of samples, each a direction of teacher space; the errors of each by a rule of time.
    fn run(scores: u64, error: impl Fn(u64, u64) -> f64) -> Progress {
        let mut progress = Progress::default();
        for time in 0..scores {
            let group = time * 7 % 64;
            progress.observe(&embedding(group, 0.05, time), error(group, time) as f32);
        }
        progress
    }

    fn guard_of(progress: &Progress, group: u64) -> f64 {
        progress.guard(progress.cluster(&embedding(group, 0.0, 0)).unwrap())
    }

    #[test]
    fn what_is_being_learnt_is_let_through_and_noise_is_not() {
        // Group 0 is noise for ever, group 1 is learnt from score 8,000 on, the rest was learnt long ago.
        let error = |group, time: u64| match group {
            0 => 0.4 + 0.2 * noise(time),
            1 => 0.4 * (-(time.saturating_sub(8_000) as f64) / 4_000.0).exp(),
            _ => 0.1 + 0.01 * noise(time),
        };
        let mut guards = Vec::new();
        for scores in (8_500..14_000).step_by(250) {
            let progress = run(scores, error);
            guards.push((guard_of(&progress, 0), guard_of(&progress, 1)));
        }
        let mean = |of: fn(&(f64, f64)) -> f64| guards.iter().map(of).sum::<f64>() / guards.len() as f64;
        assert!(mean(|g| g.1) > 0.8, "what is learnt: {guards:?}");
        assert!(mean(|g| g.0) < 0.55, "noise: {guards:?}");
    }

    #[test]
    fn the_streams_progress_is_above_zero_while_errors_fall_and_about_zero_when_they_stay() {
        let falling = run(4_000, |_, time| (-(time as f64) / 2_000.0).exp());
        assert!(falling.of_stream().unwrap() > 0.2, "{:?}", falling.of_stream());
        let level = run(20_000, |_, time| 0.3 + 0.1 * noise(time));
        assert!(level.of_stream().unwrap().abs() < 0.05, "{:?}", level.of_stream());
        assert_eq!(Progress::default().of_stream(), None);
    }

    #[test]
    fn clusters_are_bounded_and_idle_ones_make_room_for_what_is_new() {
        let mut progress = Progress::default();
        let spread: Vec<Embedding> = (0..600).map(|group| embedding(group, 0.0, 0)).collect();
        for embedding in &spread[..300] {
            progress.observe(embedding, 0.1);
        }
        assert_eq!(progress.clusters.len(), CLUSTERS_MAX);
        // One place only, for long enough that the others are idle; then a new place.
        for time in 0..3_000 {
            progress.observe(&embedding(1, 0.02, time), 0.1);
        }
        let (_, before) = progress.nearest(&unit(&spread[500])).unwrap();
        progress.observe(&spread[500], 0.1);
        let (_, after) = progress.nearest(&unit(&spread[500])).unwrap();
        assert!(before > 0.1 && after < 1e-6, "{before} {after}");
        assert_eq!(progress.clusters.len(), CLUSTERS_MAX);
    }

    #[test]
    fn progress_reads_back_as_it_was_kept_and_odd_ones_are_refused() {
        let progress = run(1_000, |_, time| 0.1 + 0.01 * noise(time));
        let text = serde_json::to_string(&progress).unwrap();
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
        let odd = text.replacen("\"centroids\":\"", "\"centroids\":\"AAAAAA==", 1);
        assert!(serde_json::from_str::<Progress>(&odd).is_err());
    }
}
