//! Who sits the exam: the candidate's two networks, the models of before, and the baselines.
//! Always true: everyone is shown the same views; who answered before is asked only about new samples.

use std::collections::{BTreeMap, HashMap};

use tch::Device;

use super::exam::{Answers, CLEAN_VIEWS, Exam, Sample, Shown, Taker};
use super::report::{Baselines, Comparison, Difference, ExamSummary, Measured, Network, Report};
use super::slices::{self, Slice};
use super::{ExamTask, GateError, Hearing, Incumbent, PAIRS, Submission, labelled, probes, statistics};
use crate::config::PublicationConfig;
use crate::ids::{Generation, SampleId, Space};
use crate::model::text::Tokenizer;
use crate::model::{Embedder, EncoderSpec, effective_rank, spread};
use crate::sample::{Content, Modality};

/// Seed of the random encoder that is the baseline.
const RANDOM_ENCODER_SEED: u64 = 0;

/// Largest difference of a number of a vector when a canary is embedded again, beside other samples: the order of
/// summation may change, the answer may not.
const REPEAT_TOLERANCE: f32 = 1e-4;

/// Samples below which nothing can be compared with anything.
pub(super) const SAMPLES_MIN: usize = 2;

/// What one judgement leaves for the next.
#[derive(Default)]
pub(super) struct Memory {
    /// What the models that stay answered to the views, at this size.
    views: HashMap<(Space, usize), Answers>,
    /// What the baselines got.
    baselines: Option<(ExamKey, Baselines)>,
}

/// Baselines are the same while the samples and the network are.
type ExamKey = (String, EncoderSpec);

/// Everyone who is examined.
pub(super) struct Room {
    /// How much of a sample the networks are shown: see [`EncoderSpec::input_len`].
    shown: usize,
    key: ExamKey,
    student: Seat,
    teacher: Seat,
    published: Option<Seat>,
    /// None when it is the published one.
    best: Option<Seat>,
    /// Random encoder and raw samples; none when their marks are known.
    baselines: Option<[Seat; 2]>,
    known_baselines: Baselines,
}

/// One of them, and the answers.
struct Seat {
    taker: Taker,
    space: Space,
    /// The generation and its steps, of a model of before.
    origin: Option<(Generation, u64)>,
    clean: Answers,
    views: Answers,
    measured: Measured,
    /// The score of each sample.
    scores: Vec<f64>,
    /// The same, of each sample spoilt.
    corrupted: Vec<f64>,
    /// What it answered to samples that have a class, and whether their neighbours tell it.
    labelled: Answers,
    labels_told: Vec<f64>,
    /// How much of what is hidden in each sample is told, where it can be said.
    told: HashMap<SampleId, f64>,
}

impl Room {
    /// Loads every network that takes part.
    pub(super) fn open(
        memory: &mut Memory,
        device: Device,
        digest: String,
        candidate: &Submission,
        published: Option<&Incumbent>,
        best: Option<&Incumbent>,
    ) -> Result<Self, GateError> {
        let (encoder, shown) = (&candidate.encoder, candidate.encoder.input_len());
        let own = candidate.tokenizer.as_ref();
        let open = |encoder: &EncoderSpec,
                    tokenizer: Option<&Tokenizer>,
                    weights: &[u8],
                    decoder: Option<&[u8]>|
         -> Result<Seat, GateError> {
            let mut embedder = Embedder::open(encoder, tokenizer, weights, device)?;
            // What paints pictures tells nothing that is scored.
            if let Some(decoder) = decoder.filter(|_| encoder.modality() != Modality::Image) {
                embedder = embedder.with_decoder(decoder)?;
            }
            Ok(Seat::new(
                Taker::Network(Box::new(embedder)),
                Space::of_weights(weights),
            ))
        };
        let mut incumbent = |incumbent: Option<&Incumbent>| -> Result<Option<Seat>, GateError> {
            let Some(incumbent) = incumbent else { return Ok(None) };
            let mut seat = open(
                &incumbent.encoder,
                incumbent.tokenizer.as_ref(),
                &incumbent.weights,
                incumbent.decoder.as_deref(),
            )?;
            seat.origin = Some((incumbent.generation, incumbent.step));
            seat.views = memory.views.remove(&(seat.space.clone(), shown)).unwrap_or_default();
            Ok(Some(seat))
        };
        let other_best = best.filter(|best| published.is_none_or(|p| p.generation != best.generation));
        let (published, best) = (incumbent(published)?, incumbent(other_best)?);
        let key = (digest, *encoder);
        let known = memory.baselines.take().filter(|(of, _)| *of == key);
        let baselines = if known.is_some() {
            None
        } else {
            let random = Embedder::random_beside(encoder, own, &candidate.teacher, RANDOM_ENCODER_SEED, device)?;
            let random = Taker::Network(Box::new(random));
            let seat = |taker| Seat::new(taker, Space::of_weights(b""));
            Some([seat(random), seat(Taker::Raw)])
        };
        let decoders = candidate.decoders.as_ref();
        let [of_student, of_teacher] = [
            decoders.map(|decoders| decoders.student.as_slice()),
            decoders.map(|decoders| decoders.teacher.as_slice()),
        ];
        Ok(Self {
            shown,
            key,
            student: open(encoder, own, &candidate.student, of_student)?,
            teacher: open(encoder, own, &candidate.teacher, of_teacher)?,
            published,
            best,
            baselines,
            known_baselines: known.map(|(_, baselines)| baselines).unwrap_or_default(),
        })
    }

    /// Shows everyone samples as they are; the canaries twice, the second time in another order, so that a network whose
    /// answer depends on its neighbours is found out.
    pub(super) fn show_clean(
        &mut self,
        shown: &[Shown],
        canaries: bool,
        go_on: impl Fn() -> Result<(), GateError>,
    ) -> Result<(), GateError> {
        let turned: Vec<&Shown> = shown.iter().rev().collect();
        for seat in self.seats() {
            go_on()?;
            seat.clean.ask(&seat.taker, shown.iter())?;
            seat.tell(shown)?;
            if canaries {
                let mut again = Answers::default();
                again.ask(&seat.taker, turned.iter().copied())?;
                seat.measured.deterministic = again.agrees(&seat.clean, REPEAT_TOLERANCE);
            }
        }
        Ok(())
    }

    /// Finiteness, spread and rank, on the samples that everyone answered; the others leave the exam.
    pub(super) fn measure_clean(&mut self, exam: &mut Exam) {
        exam.retain(|sample| self.student.clean.has(sample));
        let samples = exam.clean();
        for seat in self.seats() {
            seat.measured.finite = seat.clean.finite();
            if seat.measured.finite && samples.len() >= SAMPLES_MIN {
                let z = seat.clean.matrix(&samples, 0, CLEAN_VIEWS);
                seat.measured.std = Some(spread(&z));
                seat.measured.rank = Some(effective_rank(&z));
            }
        }
    }

    /// Shows the augmented views to everyone whose answers are finite.
    pub(super) fn show_views(
        &mut self,
        shown: &[Shown],
        go_on: impl Fn() -> Result<(), GateError>,
    ) -> Result<(), GateError> {
        for seat in self.seats().filter(|seat| seat.measured.finite) {
            go_on()?;
            seat.views.ask(&seat.taker, shown.iter())?;
        }
        Ok(())
    }

    /// The exam's scores, on the samples whose views everyone answered; the others leave the exam.
    pub(super) fn measure_views(&mut self, exam: &mut Exam) {
        let mut finite: Vec<&mut Seat> = self.seats().filter(|seat| seat.measured.finite).collect();
        exam.samples
            .retain(|sample| finite.iter().all(|seat| seat.views.has(sample)));
        if exam.samples.len() < SAMPLES_MIN {
            return;
        }
        for seat in &mut finite {
            seat.scores = seat.views.scores(exam);
            seat.measured.retrieval = Some(statistics::mean(&seat.scores));
            seat.corrupted = seat.clean.scores_spoilt(exam);
            seat.measured.corrupted = Some(statistics::mean(&seat.corrupted));
            let told: Vec<f64> = seat.told_of(&exam.samples).collect();
            seat.measured.told = (told.len() == exam.samples.len()).then(|| statistics::mean(&told));
        }
    }

    /// Shows the networks samples that users gave classes to.
    pub(super) fn show_labelled(
        &mut self,
        shown: &[Shown],
        go_on: impl Fn() -> Result<(), GateError>,
    ) -> Result<(), GateError> {
        for seat in self.contenders().filter(|seat| seat.measured.finite) {
            go_on()?;
            seat.labelled.ask(&seat.taker, shown.iter())?;
        }
        Ok(())
    }

    /// How many classes are told, of the samples that everyone answered.
    pub(super) fn measure_labelled(&mut self, labelled: &[(Sample, u32)]) {
        let mut finite: Vec<&mut Seat> = self.contenders().filter(|seat| seat.measured.finite).collect();
        let answered = |(sample, _): &&(Sample, u32)| finite.iter().all(|seat| seat.labelled.has(sample));
        let (samples, classes): (Vec<Sample>, Vec<u32>) = labelled.iter().filter(answered).copied().unzip();
        if samples.len() < labelled::LABELS_MIN {
            return;
        }
        for seat in &mut finite {
            seat.labels_told = labelled::told(&seat.labelled.matrix(&samples, 0, 1), &classes);
            seat.measured.labels_told = Some(statistics::mean(&seat.labels_told));
        }
    }

    /// Every number of the judgement.
    pub(super) fn report(&self, exam: &Exam, config: &PublicationConfig, hearing: &Hearing) -> Report {
        let clean = exam.clean();
        let measured = self.published.as_ref().filter(|seat| seat.measured.finite);
        let published = measured.map(|seat| seat.clean.matrix(&exam.samples, 0, CLEAN_VIEWS));
        let quarters = slices::quarters(&exam.samples, published.as_ref());
        let bounds = Bounds {
            lower: statistics::spent(config.confidence, hearing.trial, hearing.share),
            upper: config.confidence,
        };
        let compare = |seat: Option<&Seat>| {
            let seat = seat?;
            let (generation, step) = seat.origin?;
            Some(Comparison {
                generation,
                step,
                measured: seat.measured,
                student: self.student.difference(seat, bounds),
                teacher: self.teacher.difference(seat, bounds),
                student_told: self.student.told_difference(seat, exam, bounds),
                teacher_told: self.teacher.told_difference(seat, exam, bounds),
                student_labels: self.student.label_difference(seat, bounds),
                teacher_labels: self.teacher.label_difference(seat, bounds),
                student_slices: self.student.slice_differences(seat, &quarters, bounds),
                teacher_slices: self.teacher.slice_differences(seat, &quarters, bounds),
                student_neighbours_kept: self.student.neighbours_kept(seat, &clean),
                teacher_neighbours_kept: self.teacher.neighbours_kept(seat, &clean),
            })
        };
        Report {
            exam: ExamSummary {
                samples: exam.samples.len(),
                clean_samples: clean.len(),
                task: exam.task,
                pairs: match exam.task {
                    ExamTask::Views => PAIRS,
                    ExamTask::Actions => 0,
                },
                digest: exam.digest(),
                margin_points: config.margin_points,
                confidence: config.confidence,
                trial: hearing.trial,
                share: hearing.share,
            },
            student: self.student.measured,
            teacher: self.teacher.measured,
            published: compare(self.published.as_ref()),
            best: compare(self.best.as_ref().or(self.published.as_ref())),
            published_less_best: self
                .published
                .as_ref()
                .zip(self.best.as_ref())
                .and_then(|(published, best)| published.difference(best, bounds)),
            baselines: match &self.baselines {
                None => self.known_baselines,
                Some([random, raw]) => Baselines {
                    random_encoder: random.measured,
                    raw_retrieval: raw.measured.retrieval,
                },
            },
        }
    }

    /// What the next judgement can use: the baselines, and the answers of the models that stay.
    pub(super) fn close(self, exam: &Exam, baselines: &Baselines, accepted: Option<Network>) -> Memory {
        let accepted = accepted.map(|network| match network {
            Network::Student => self.student,
            Network::Teacher => self.teacher,
        });
        let staying = [accepted, self.published, self.best].into_iter().flatten();
        let views = staying.map(|mut seat| {
            seat.views.keep_only(&exam.samples);
            ((seat.space, self.shown), seat.views)
        });
        Memory {
            views: views.collect(),
            // Measured on fewer samples when some were evicted meanwhile: then the key names samples that are gone.
            baselines: Some((self.key, *baselines)),
        }
    }

    /// All but the baselines.
    fn contenders(&mut self) -> impl Iterator<Item = &mut Seat> {
        [&mut self.student, &mut self.teacher]
            .into_iter()
            .chain(self.published.as_mut())
            .chain(self.best.as_mut())
    }

    fn seats(&mut self) -> impl Iterator<Item = &mut Seat> {
        let baselines = self.baselines.iter_mut().flatten();
        [&mut self.student, &mut self.teacher]
            .into_iter()
            .chain(self.published.as_mut())
            .chain(self.best.as_mut())
            .chain(baselines)
    }
}

impl Seat {
    fn new(taker: Taker, space: Space) -> Self {
        Self {
            taker,
            space,
            origin: None,
            clean: Answers::default(),
            views: Answers::default(),
            measured: Measured::default(),
            scores: Vec::new(),
            corrupted: Vec::new(),
            labelled: Answers::default(),
            labels_told: Vec::new(),
            told: HashMap::new(),
        }
    }

    /// Has it tell what is hidden in samples.
    fn tell(&mut self, shown: &[Shown]) -> Result<(), GateError> {
        let Taker::Network(network) = &self.taker else {
            return Ok(());
        };
        let clean: Vec<&Content> = shown.iter().filter_map(|(_, views)| views.first()).collect();
        if let Some(told) = network.told(&clean)? {
            self.told.extend(shown.iter().map(|(sample, _)| sample.id).zip(told));
        }
        Ok(())
    }

    /// How much it told of these samples, as far as it can be said.
    fn told_of(&self, samples: &[Sample]) -> impl Iterator<Item = f64> {
        samples.iter().filter_map(|sample| self.told.get(&sample.id).copied())
    }

    /// How much it told less what the other did, sample by sample; None where one of them told nothing.
    fn told_difference(&self, other: &Self, exam: &Exam, bounds: Bounds) -> Option<Difference> {
        let (_, _) = (self.measured.told?, other.measured.told?);
        let pairs = self.told_of(&exam.samples).zip(other.told_of(&exam.samples));
        Some(bounds.of(&pairs.map(|(own, other)| own - other).collect::<Vec<_>>()))
    }

    /// The scores less the other's, sample by sample.
    fn difference(&self, other: &Self, bounds: Bounds) -> Option<Difference> {
        let (_, _) = (self.measured.retrieval?, other.measured.retrieval?);
        Some(bounds.of(&less(&self.scores, &other.scores)))
    }

    /// How many more classes it told; None where there are too few of them.
    fn label_difference(&self, other: &Self, bounds: Bounds) -> Option<Difference> {
        let (_, _) = (self.measured.labels_told?, other.measured.labels_told?);
        Some(bounds.of(&less(&self.labels_told, &other.labels_told)))
    }

    /// The same in parts of the exam.
    fn slice_differences(
        &self,
        other: &Self,
        quarters: &[(Slice, Vec<usize>)],
        bounds: Bounds,
    ) -> BTreeMap<Slice, Difference> {
        if self.measured.retrieval.is_none() || other.measured.retrieval.is_none() {
            return BTreeMap::new();
        }
        let each = less(&self.scores, &other.scores);
        let parts = quarters.iter().map(|(slice, places)| {
            let part: Vec<f64> = places.iter().map(|place| each[*place]).collect();
            (*slice, bounds.of(&part))
        });
        // Where a quarter says something, all of it does.
        let spoilt =
            (!quarters.is_empty()).then(|| (Slice::Corrupted, bounds.of(&less(&self.corrupted, &other.corrupted))));
        parts.chain(spoilt).collect()
    }

    /// Share of each sample's nearest that are among its nearest to the other.
    fn neighbours_kept(&self, other: &Self, samples: &[Sample]) -> Option<f64> {
        if !self.measured.finite || !other.measured.finite || samples.len() < SAMPLES_MIN {
            return None;
        }
        let of = |seat: &Self| seat.clean.matrix(samples, 0, CLEAN_VIEWS);
        probes::neighbours_kept(&of(self), &of(other))
    }
}

fn less(own: &[f64], others: &[f64]) -> Vec<f64> {
    own.iter().zip(others).map(|(own, other)| own - other).collect()
}

/// The confidences of the bounds of a mean difference.
#[derive(Clone, Copy)]
struct Bounds {
    lower: statistics::Spent,
    upper: f64,
}

impl Bounds {
    /// The mean of paired differences, and its bounds.
    fn of(self, differences: &[f64]) -> Difference {
        let turned: Vec<f64> = differences.iter().map(|difference| -difference).collect();
        Difference {
            mean: statistics::mean(differences),
            lower_bound: statistics::lower_bound(differences, self.lower.no_worse),
            gain_bound: statistics::lower_bound(differences, self.lower.better),
            upper_bound: -statistics::lower_bound(&turned, self.upper),
        }
    }
}
