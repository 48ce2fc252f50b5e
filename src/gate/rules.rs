//! From numbers to a verdict: the rules of the gate, pure.
//!
//! A candidate is published when one of its two networks
//! 1. is *sane*: finite, deterministic, not collapsed beside a random encoder of the same shape;
//! 2. is not the published model itself;
//! 3. is *no worse* than the published model and than the best so far: the lower bound of the difference in the exam's scores is
//!    above `-margin`, and so is that of how much of what is hidden is told, where the objective learns to tell it;
//! 4. is *nowhere worse* than either: on no [`Slice`](super::Slice) of the exam is the upper bound of the difference below `-margin`.
//!    (a quarter of the exam proves so little that asking for a proof of being as good there would stop every publication), nor is
//!    that of how many of the users' labels are told, where there are 100 or more;
//! 5. is *better in something* than the published model: the lower bound of the difference, at a confidence that allows for three
//!    claims, is above 0 for the scores, for how much is told, or for the scores of the newest samples. What is merely other is not published: each new space costs every
//!    client that keeps vectors;
//! 6. has an effective rank of at least [`RANK_SHARE_PUBLISHED`] of the published model's, unless its scores are proven better.
//!
//! The network with the better score is looked at first, the other one if it fails; then mixtures of each with the published model
//! ([`SHARES`](super::SHARES)). All that is looked at, by this candidate and by those before it since the last publication, is
//! paid for ([`statistics::spent`](super::statistics::spent)). That several things must hold at once costs nothing
//! (intersection-union test).
//!
//! The rank is a veto only over what is not proven better: a random encoder's effective rank is high (21.8 on 48
//! samples), and contrastive training at a high rate first took it to 6.6, while retrieval rose from 0.13 to 0.20
//! before the rank came back (Adam at 3e-3 to 5e-3, 140 steps). A veto without exception could serve the first model for ever.
//!
//! An exam of fewer than [`EXAM_SAMPLES_MIN`] samples proves nothing: then rules 1 and 2 alone hold, and a candidate
//! replaces a published model only when its steps have doubled, so that a stream with little data does not publish for
//! ever without evidence.

use super::exam::EXAM_SAMPLES_MIN;
use super::report::{Comparison, Difference, ExamTask, Measured, Network, Report};
use super::room::SAMPLES_MIN;
use super::slices::Slice;
use crate::ids::Generation;

/// Below this share of a random encoder's spread a network has collapsed.
pub const STD_SHARE_RANDOM: f64 = 0.5;

/// Below this share of a random encoder's effective rank a network has collapsed.
pub const RANK_SHARE_RANDOM: f64 = 0.25;

/// Below this share of the published model's effective rank a network is refused, unless it is proven better.
pub const RANK_SHARE_PUBLISHED: f64 = 0.9;

/// Points by which a candidate may be behind the published model for mixtures of the two to be tried.
const MIXABLE_POINTS: f64 = 5.0;

/// What the rules say.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// Publish this network.
    Accept {
        /// Which one.
        network: Network,
        /// Whether nothing so far is better on the exam.
        best: bool,
        /// Why, in one sentence.
        reason: String,
    },
    /// Publish neither.
    Reject {
        /// Why, in one sentence.
        reason: String,
    },
}

/// Applies the rules. `is_published`: whether a network's weights are those of the published model, byte for byte.
pub(super) fn decide(report: &Report, step: u64, is_published: impl Fn(Network) -> bool) -> Decision {
    if report.exam.clean_samples < SAMPLES_MIN {
        return Decision::Reject {
            reason: "rejected: there are no samples to examine it on".to_owned(),
        };
    }
    let mut order = Network::ALL;
    order.sort_by(|a, b| score(report.of(*b)).total_cmp(&score(report.of(*a))));
    let mut refusals = Vec::new();
    for network in order {
        let refused = if is_published(network) {
            Some("it is the published model, byte for byte".to_owned())
        } else {
            insane(report.of(network), &report.baselines.random_encoder).or_else(|| unproven(report, step, network))
        };
        match refused {
            Some(why) => refusals.push(format!("{network}: {why}")),
            None => {
                return Decision::Accept {
                    network,
                    best: is_best(report, network),
                    reason: explain(report, network),
                };
            }
        }
    }
    Decision::Reject {
        reason: format!("rejected: {}", refusals.join("; ")),
    }
}

/// Why a network is not sane.
fn insane(network: &Measured, random: &Measured) -> Option<String> {
    if !network.finite {
        return Some("its vectors are not finite".to_owned());
    }
    if !network.deterministic {
        return Some("the same sample got two different vectors".to_owned());
    }
    let collapsed = |what: &str, own: Option<f64>, random: Option<f64>, share: f64| {
        let (own, floor) = (own?, random? * share);
        (own < floor).then(|| format!("it has collapsed ({what} {own:.3}, at least {floor:.3} is asked for)"))
    };
    collapsed("spread", network.std, random.std, STD_SHARE_RANDOM)
        .or_else(|| collapsed("effective rank", network.rank, random.rank, RANK_SHARE_RANDOM))
}

/// Why a sane network may not take the published model's place.
fn unproven(report: &Report, step: u64, network: Network) -> Option<String> {
    let published = report.published.as_ref()?;
    if report.exam.samples < EXAM_SAMPLES_MIN {
        return (step < published.step.saturating_mul(2)).then(|| {
            format!(
                "{}, and its {step} steps are not twice the {} of generation {}",
                too_small(report),
                published.step,
                published.generation
            )
        });
    }
    let generation = format!("generation {}", published.generation);
    let best = || {
        let best = report
            .best
            .as_ref()
            .filter(|best| best.generation != published.generation)?;
        worse(
            report,
            &format!("the best so far, generation {}", best.generation),
            best,
            network,
        )
    };
    worse(report, &generation, published, network)
        .or_else(best)
        .or_else(|| no_better(&generation, published, network))
        .or_else(|| {
            let (own, floor) = (
                report.of(network).rank?,
                published.measured.rank? * RANK_SHARE_PUBLISHED,
            );
            let proven_better = published.difference(network).is_some_and(|d| d.gain_bound > 0.0);
            (own < floor && !proven_better).then(|| {
                format!("its effective rank of {own:.1} is below {floor:.1}, {RANK_SHARE_PUBLISHED} of {generation}'s")
            })
        })
}

/// In what a network is worse than a model of before, or not proven to be as good.
fn worse(report: &Report, than: &str, other: &Comparison, network: Network) -> Option<String> {
    let margin = report.exam.margin_points / 100.0;
    let Some(scores) = other.difference(network) else {
        return Some(format!("it could not be compared with {than}"));
    };
    if scores.lower_bound <= -margin {
        return Some(format!("it is not proven as good as {than} ({})", points(scores)));
    }
    if let Some(told) = other.told(network).filter(|told| told.lower_bound <= -margin) {
        return Some(format!(
            "it is not proven to tell as much of what is hidden as {than} ({})",
            points(told)
        ));
    }
    if let Some(labels) = other.labels(network).filter(|labels| labels.upper_bound < -margin) {
        return Some(format!(
            "it tells fewer of the users' labels than {than} ({:+.1} points, upper bound {:+.1})",
            100.0 * labels.mean,
            100.0 * labels.upper_bound
        ));
    }
    let lost = other.slices(network).iter().find(|(_, d)| d.upper_bound < -margin);
    lost.map(|(slice, d)| {
        format!(
            "{} than {than} on {slice} ({:+.1} points, upper bound {:+.1})",
            less(report.exam.task),
            100.0 * d.mean,
            100.0 * d.upper_bound
        )
    })
}

/// That a network is better than the published model in nothing.
fn no_better(than: &str, published: &Comparison, network: Network) -> Option<String> {
    let gains = [
        published.difference(network),
        published.told(network),
        published.slices(network).get(&Slice::Recent).copied(),
    ];
    let proven = gains.into_iter().flatten().any(|d| d.gain_bound > 0.0);
    let scores = published.difference(network).map(points).unwrap_or_default();
    (!proven).then(|| format!("it is proven better than {than} in nothing ({scores})"))
}

/// Whether mixtures with the published model are worth the while: a network is sane and comparable, and not far behind.
pub(super) fn is_mixable(report: &Report) -> bool {
    let Some(published) = &report.published else {
        return false;
    };
    report.exam.samples >= EXAM_SAMPLES_MIN
        && Network::ALL.into_iter().any(|network| {
            insane(report.of(network), &report.baselines.random_encoder).is_none()
                && published
                    .difference(network)
                    .is_some_and(|d| 100.0 * d.mean > -MIXABLE_POINTS)
        })
}

/// The best generation so far, where the published one is worse by more than the margin.
pub(super) fn fall_back(report: &Report) -> Option<Generation> {
    let margin = report.exam.margin_points / 100.0;
    let (lost, best) = (report.published_less_best?, report.best.as_ref()?);
    (report.exam.samples >= EXAM_SAMPLES_MIN && lost.upper_bound < -margin).then_some(best.generation)
}

/// Whether nothing so far is better on the exam. Without evidence the newest counts as the best.
fn is_best(report: &Report, network: Network) -> bool {
    let difference = report.best.as_ref().and_then(|best| best.difference(network));
    report.exam.samples < EXAM_SAMPLES_MIN || difference.is_none_or(|d| d.mean >= 0.0)
}

fn explain(report: &Report, network: Network) -> String {
    let told = report.of(network).retrieval.map_or_else(String::new, |own| {
        let random = report.baselines.random_encoder.retrieval.unwrap_or_default();
        format!(
            "; it {} {:.1}% of {} samples, a random encoder {:.1}%",
            match report.exam.task {
                ExamTask::Views => "retrieves",
                ExamTask::Actions => "tells the action of",
            },
            100.0 * own,
            report.exam.samples,
            100.0 * random
        )
    });
    let told = match report.of(network).told {
        Some(share) => format!("{told}, and tells {:.1}% of what is hidden", 100.0 * share),
        None => told,
    };
    match &report.published {
        _ if report.exam.samples < EXAM_SAMPLES_MIN => {
            format!("accepted the {network} on sanity alone: {}{told}", too_small(report))
        }
        None => format!("accepted the {network} as the first model: it is sane{told}"),
        Some(published) => {
            let gain = published.difference(network).map_or_else(String::new, points);
            let (share, generation) = (100.0 * report.exam.share, published.generation);
            let mixed = match share < 100.0 {
                true => format!(" ({share:.0} % of it, the rest generation {generation})"),
                false => String::new(),
            };
            format!("accepted the {network}{mixed}: better than generation {generation} ({gain}){told}")
        }
    }
}

/// What it means to have the lower score.
fn less(task: ExamTask) -> &'static str {
    match task {
        ExamTask::Views => "it retrieves less",
        ExamTask::Actions => "it tells fewer actions",
    }
}

fn too_small(report: &Report) -> String {
    format!("exam too small: {} samples", report.exam.samples)
}

fn points(difference: Difference) -> String {
    format!(
        "{:+.1} points, lower bound {:+.1}",
        100.0 * difference.mean,
        100.0 * difference.lower_bound
    )
}

fn score(measured: &Measured) -> f64 {
    measured.retrieval.unwrap_or(f64::NEG_INFINITY)
}

#[cfg(test)]
mod tests;
