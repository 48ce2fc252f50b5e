//! Plays an archive through the daemon's own parts: the replay buffer keeps and evicts, the learner's loop draws, steps and
//! reports. What is not there: files that arrive (they are in memory), the gate and serving.
//! Always true: a played arm is a function of the archive, its settings and its seed; the clock is scripted.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tch::Device;

use super::BacktestError;
use super::archive::{Archive, Item};
use super::arms::{Arm, Sees};
use super::exam::{Exam, Features, Measured};
use crate::clock::Timestamp;
use crate::config::{LearningConfig, ReplayConfig};
use crate::learn::{DrivenLearner, LearnSetup, measure_scales, train_vocabulary};
use crate::model::text::Tokenizer;
use crate::model::{Embedder, EncoderSpec, Pretrained, Scales};
use crate::replay::{NewSource, ReplayBuffer};
use crate::sample::{Content, Modality};

/// Milliseconds between two arrivals of the scripted clock.
const ARRIVAL_MS: i64 = 1_000;

/// Bytes that no archive in memory reaches: the buffer is bounded by its number of samples.
const BYTES_UNBOUNDED: u64 = 1 << 40;

/// How arms are played.
#[derive(Clone, Debug)]
pub struct PlaySetup {
    /// Steps of each arm that learns with all its effort.
    pub steps: u64,
    /// Pictures that arrive between two turns of the learner.
    pub arrive_together: usize,
    /// Times that an experience is scored, its end included.
    pub scored_an_experience: usize,
    /// Where it computes.
    pub device: Device,
    /// Threads of one operation.
    pub threads: usize,
}

/// A moment at which a network was scored.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Pictures that had arrived.
    pub arrived: usize,
    /// Steps that were taken.
    pub step: u64,
    /// Time that was spent on arrivals and steps; scoring is not in it.
    pub spent: Duration,
    /// The share of the most draws that an arrival was granted then, 0 to 1.
    pub effort: f64,
    /// The experience that ended with it, if one did.
    pub ends: Option<usize>,
    /// What the features were worth.
    pub measured: Measured,
}

/// What became of an arm.
#[derive(Clone, Debug)]
pub struct Played {
    /// When it was scored, in order.
    pub moments: Vec<Moment>,
    /// What is in the buffer at the end, as its positions in the stream, ascending; the exam's samples are not among it.
    pub kept: Vec<usize>,
    /// How many of those, the last, are the newest, which the remover does not choose from.
    pub newest: usize,
    /// Of texts: what a guess among all tokens costs, nats.
    pub guess_nats: Option<f64>,
}

/// Scores what has learnt nothing.
pub fn untrained(
    archive: &Archive,
    exam: &Exam<'_>,
    arm: &Arm,
    seed: u64,
    device: Device,
) -> Result<Played, BacktestError> {
    let measured = match arm.sees {
        Sees::Pixels => exam.score(&Features::Raw)?,
        _ => {
            let spec = EncoderSpec::resolve(arm.config.modality, &arm.config.learning, device)?;
            let random = match scales(archive, &spec) {
                Some(scales) => Embedder::random_scaled(&spec, &scales, seed, device)?,
                None => Embedder::random(&spec, tokenizer(archive, arm, &spec)?.as_ref(), seed, device)?,
            };
            exam.score(&Features::Network(&random))?
        }
    };
    Ok(Played {
        moments: vec![Moment {
            arrived: 0,
            step: 0,
            spent: Duration::ZERO,
            effort: 0.0,
            ends: None,
            measured,
        }],
        kept: Vec::new(),
        newest: 0,
        guess_nats: None,
    })
}

/// Plays the archive to an arm, in `scratch`, an empty folder. `told` hears of each moment.
pub fn play(
    archive: &Archive,
    exam: &Exam<'_>,
    arm: &Arm,
    seed: u64,
    setup: &PlaySetup,
    scratch: &Path,
    told: &mut dyn FnMut(&Moment),
) -> Result<Played, BacktestError> {
    let mut stage = Stage::set(archive, arm, seed, setup, scratch)?;
    let everything_at_once = arm.sees == Sees::Everything;
    if everything_at_once {
        stage.arrive(&archive.stream, 0)?;
    }
    let mut moments = Vec::new();
    let mut arrived = 0;
    for (until, ends) in stops(&archive.ends, setup.scored_an_experience) {
        while arrived < until {
            let next = until.min(arrived + setup.arrive_together.max(1));
            if everything_at_once {
                // The same share of its steps as of the others' arrivals.
                stage.learn(Some(setup.steps * next as u64 / archive.stream.len() as u64))?;
            } else {
                stage.arrive(&archive.stream[arrived..next], arrived)?;
                stage.learn(None)?;
            }
            arrived = next;
        }
        let (_, teacher) = stage.learner.weights()?;
        let mut embedder = Embedder::open(&stage.spec, stage.tokenizer.as_ref(), &teacher, setup.device)?;
        if let Some(decoders) = stage.learner.decoders()? {
            embedder = embedder.with_decoder(&decoders.teacher)?;
        }
        let moment = Moment {
            arrived,
            step: stage.learner.steps(),
            spent: stage.spent,
            effort: stage.learner.state().effort,
            ends,
            measured: exam.score(&Features::Network(&embedder))?,
        };
        told(&moment);
        moments.push(moment);
    }
    Ok(Played {
        moments,
        kept: stage.kept(),
        newest: stage.replay.newest_len(),
        guess_nats: stage
            .tokenizer
            .as_ref()
            .map(|tokenizer| (tokenizer.vocab_size() as f64).ln()),
    })
}

/// The vocabulary that a stream of texts has: of the weights it continues from, else of its first texts. None for pictures.
fn tokenizer(archive: &Archive, arm: &Arm, spec: &EncoderSpec) -> Result<Option<Tokenizer>, BacktestError> {
    if spec.modality() != Modality::Text {
        return Ok(None);
    }
    let learning = &arm.config.learning;
    if let Some(dir) = &learning.init {
        return Ok(Pretrained::read(dir, spec)?.tokenizer().cloned());
    }
    let texts = archive.stream.iter().filter_map(|item| match &item.content {
        Content::Text(passage) => Some(passage.text.clone()),
        _ => None,
    });
    Ok(Some(train_vocabulary(learning, texts)?))
}

/// The scales that a stream of transitions has: those of its first ones. None for others.
fn scales(archive: &Archive, spec: &EncoderSpec) -> Option<Scales> {
    let EncoderSpec::Transition(spec) = spec else {
        return None;
    };
    let transitions = archive.stream.iter().filter_map(|item| match &item.content {
        Content::Transition(transition) => Some(transition.clone()),
        _ => None,
    });
    Some(measure_scales(transitions, spec))
}

/// After how many arrivals the network is scored, and which experience ends there.
fn stops(ends: &[usize], an_experience: usize) -> Vec<(usize, Option<usize>)> {
    let mut stops = Vec::new();
    let mut start = 0;
    for (experience, &end) in ends.iter().enumerate() {
        let parts = an_experience.clamp(1, (end - start).max(1));
        stops.extend((1..parts).map(|part| (start + part * (end - start) / parts, None)));
        stops.push((end, Some(experience)));
        start = end;
    }
    stops
}

/// A buffer and a learner, and the time they took.
struct Stage {
    replay: Arc<ReplayBuffer>,
    learner: DrivenLearner,
    spec: EncoderSpec,
    tokenizer: Option<Tokenizer>,
    spent: Duration,
}

impl Stage {
    fn set(archive: &Archive, arm: &Arm, seed: u64, setup: &PlaySetup, scratch: &Path) -> Result<Self, BacktestError> {
        let learning = LearningConfig {
            seed,
            // A played learner is not resumed: nothing is written but at its end.
            checkpoint_s: u64::MAX,
            ..arm.config.learning.clone()
        };
        let spec = EncoderSpec::resolve(arm.config.modality, &learning, setup.device)?;
        let tokenizer = tokenizer(archive, arm, &spec)?;
        let trained_on = archive.stream.iter().filter(|item| !item.is_held_out()).count();
        let draws = (setup.steps as usize * spec.batch(&learning)) as f64;
        let held_out = archive.stream.len() - trained_on;
        let replay = ReplayConfig {
            bytes_max: BYTES_UNBOUNDED,
            samples_max: match arm.config.replay.samples_max {
                0 => 0,
                // The bound is on what can be replayed; what is held out for the exam comes on top.
                samples => samples + held_out.min(samples / 9),
            },
            draws_per_sample: draws / trained_on.max(1) as f64,
            draws_per_sample_min: draws / trained_on.max(1) as f64 * arm.least_effort(),
            ..arm.config.replay.clone()
        };
        let (buffer, _) = ReplayBuffer::open(&scratch.join("replay"), &replay, seed)?;
        let buffer = Arc::new(buffer);
        let learn = LearnSetup {
            stream: arm.config.name.clone(),
            curiosity: arm.config.curiosity.clone(),
            sampler: replay.sampler,
            publication: arm.config.publication.clone(),
            spec,
            tokenizer: tokenizer.clone(),
            scales: scales(archive, &spec),
            device: setup.device,
            learn_threads: setup.threads,
            augment_threads: (setup.threads / 2).max(1),
            disk_reserve_bytes: 0,
            checkpoints: scratch.join("checkpoints"),
            published_step: 0,
            config: learning,
        };
        Ok(Self {
            learner: DrivenLearner::new(learn, Arc::clone(&buffer))?,
            replay: buffer,
            spec,
            tokenizer,
            spent: Duration::ZERO,
        })
    }

    /// Pictures arrive; the first is number `first` of the stream.
    fn arrive(&mut self, items: &[Item], first: usize) -> Result<(), BacktestError> {
        let start = Instant::now();
        let source = |(number, item): (usize, &Item)| NewSource {
            hash: item.hash,
            path: item.path.clone().into_bytes(),
            bytes: item.bytes,
            taken_at: Timestamp((first + number) as i64 * ARRIVAL_MS),
            samples: vec![item.content.encode()],
        };
        self.replay.insert(items.iter().enumerate().map(source).collect())?;
        self.spent += start.elapsed();
        Ok(())
    }

    /// Learns until what has arrived allows no more, or until so many steps are done.
    fn learn(&mut self, steps: Option<u64>) -> Result<(), BacktestError> {
        let start = Instant::now();
        match steps {
            Some(steps) => self.learner.learn_until(steps)?,
            None => self.learner.learn()?,
        }
        self.spent += start.elapsed();
        Ok(())
    }

    /// The positions in the stream of the samples that can be replayed, ascending.
    fn kept(&self) -> Vec<usize> {
        let ids = self.replay.ids_after(None, usize::MAX);
        let infos = ids.into_iter().filter_map(|id| self.replay.info(id));
        infos
            .filter(|info| !info.exam)
            .map(|info| (info.taken_at.0 / ARRIVAL_MS) as usize)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_experience_is_scored_at_its_end_and_evenly_before() {
        assert_eq!(stops(&[10, 30], 1), [(10, Some(0)), (30, Some(1))]);
        assert_eq!(
            stops(&[10, 30], 2),
            [(5, None), (10, Some(0)), (20, None), (30, Some(1))]
        );
        assert_eq!(stops(&[1], 9), [(1, Some(0))]);
    }
}
