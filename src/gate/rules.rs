//! From numbers to a verdict: the rules of the gate, pure.
//!
//! A candidate is published when one of its two networks
//! 1. is *sane*: finite, deterministic, not collapsed beside a random encoder of the same shape;
//! 2. is not the published model itself;
//! 3. against the published model: the lower bound of the difference in the exam's scores is above `-margin`, its mean is
//!    at least 0, and the effective rank is at least [`RANK_SHARE_PUBLISHED`] of the published model's, unless the lower
//!    bound is above 0;
//! 4. against the best so far: the lower bound is above `-margin`;
//! 5. where the objective learns to tell what is hidden: against both, the lower bound of the difference in how much is told
//!    is above `-margin`; where it is above 0 against the published model, the scores' mean of rule 3 may be below 0.
//!
//! The network with the better score is looked at first, the other one if it fails. Looking twice is paid for:
//! each bound has the confidence `1 - alpha / 2`, so the probability that either of two networks that are worse
//! by more than the margin passes is at most alpha, however the choice is made (Bonferroni). The published model and
//! the best must both be passed, which costs nothing (intersection-union test).
//!
//! The rank is a veto only over what is not proven better: a random encoder's effective rank is high (21.8 on 48
//! samples), and contrastive training at a high rate first took it to 6.6, while retrieval rose from 0.13 to 0.20
//! before the rank came back (Adam at 3e-3 to 5e-3, 140 steps). A veto without exception could serve the first model for ever.
//!
//! An exam of fewer than [`EXAM_SAMPLES_MIN`] samples proves nothing: then rules 1 and 2 alone hold, and a candidate
//! replaces a published model only when its steps have doubled, so that a stream with little data does not publish for
//! ever without evidence.

use super::exam::EXAM_SAMPLES_MIN;
use super::report::{Difference, ExamTask, Measured, Network, Report};
use super::room::SAMPLES_MIN;

/// Below this share of a random encoder's spread a network has collapsed.
pub const STD_SHARE_RANDOM: f64 = 0.5;

/// Below this share of a random encoder's effective rank a network has collapsed.
pub const RANK_SHARE_RANDOM: f64 = 0.25;

/// Below this share of the published model's effective rank a network is refused, unless it is proven better.
pub const RANK_SHARE_PUBLISHED: f64 = 0.9;

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
    let margin = report.exam.margin_points / 100.0;
    let worse = |than: &str, difference: Option<Difference>, mean_min: f64| match difference {
        None => Some(format!("it could not be compared with {than}")),
        Some(d) if d.lower_bound <= -margin => Some(format!("it is not proven as good as {than} ({})", points(d))),
        Some(d) if d.mean < mean_min => Some(format!("{} than {than} ({})", less(report.exam.task), points(d))),
        Some(_) => None,
    };
    let tells_less = |than: &str, told: Option<Difference>| {
        let told = told.filter(|told| told.lower_bound <= -margin)?;
        Some(format!(
            "it is not proven to tell as much of what is hidden as {than} ({})",
            points(told)
        ))
    };
    let generation = format!("generation {}", published.generation);
    let tells_more = published.told(network).is_some_and(|told| told.lower_bound > 0.0);
    let mean_min = if tells_more { f64::NEG_INFINITY } else { 0.0 };
    let proven_better = published.difference(network).is_some_and(|d| d.lower_bound > 0.0);
    let rank = || {
        let (own, floor) = (
            report.of(network).rank?,
            published.measured.rank? * RANK_SHARE_PUBLISHED,
        );
        (own < floor && !proven_better).then(|| {
            format!("its effective rank of {own:.1} is below {floor:.1}, {RANK_SHARE_PUBLISHED} of {generation}'s")
        })
    };
    let best = || {
        let best = report.best.as_ref()?;
        let name = format!("the best so far, generation {}", best.generation);
        worse(&name, best.difference(network), f64::NEG_INFINITY).or_else(|| tells_less(&name, best.told(network)))
    };
    worse(&generation, published.difference(network), mean_min)
        .or_else(|| tells_less(&generation, published.told(network)))
        .or_else(rank)
        .or_else(best)
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
            format!(
                "accepted the {network}: as good as generation {} ({gain}){told}",
                published.generation
            )
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
mod tests {
    use super::super::report::{Baselines, Comparison, ExamSummary};
    use super::*;
    use crate::ids::Generation;

    fn sane(retrieval: f64) -> Measured {
        Measured {
            finite: true,
            deterministic: true,
            std: Some(0.6),
            rank: Some(30.0),
            retrieval: Some(retrieval),
            told: None,
        }
    }

    fn against(generation: u64, student: (f64, f64), teacher: (f64, f64)) -> Comparison {
        let difference = |(mean, lower_bound)| Some(Difference { mean, lower_bound });
        Comparison {
            generation: Generation(generation),
            step: 100,
            measured: sane(0.5),
            student: difference(student),
            teacher: difference(teacher),
            student_told: None,
            teacher_told: None,
            student_neighbours_kept: None,
            teacher_neighbours_kept: None,
        }
    }

    /// A student at 0.6 and a teacher at 0.7, both proven better than the published model and the best.
    fn good() -> Report {
        Report {
            exam: ExamSummary {
                task: ExamTask::Views,
                samples: 100,
                clean_samples: 100,
                pairs: 8,
                digest: String::new(),
                margin_points: 0.5,
                confidence: 0.95,
            },
            student: sane(0.6),
            teacher: sane(0.7),
            published: Some(against(2, (0.1, 0.02), (0.2, 0.1))),
            best: Some(against(1, (0.1, 0.02), (0.2, 0.1))),
            baselines: Baselines {
                random_encoder: sane(0.2),
                raw_retrieval: Some(0.1),
            },
        }
    }

    fn accepted(report: &Report) -> Option<Network> {
        match decide(report, 150, |_| false) {
            Decision::Accept { network, .. } => Some(network),
            Decision::Reject { .. } => None,
        }
    }

    fn refusal(report: &Report) -> String {
        match decide(report, 150, |_| false) {
            Decision::Accept { network, .. } => panic!("accepted the {network}"),
            Decision::Reject { reason } => reason,
        }
    }

    #[test]
    fn the_network_that_the_exam_prefers_is_chosen() {
        assert_eq!(accepted(&good()), Some(Network::Teacher));
        let mut report = good();
        report.student.retrieval = Some(0.8);
        assert_eq!(accepted(&report), Some(Network::Student));
    }

    #[test]
    fn the_other_network_is_chosen_when_the_preferred_one_is_not_sane() {
        let mut report = good();
        report.teacher.finite = false;
        assert_eq!(accepted(&report), Some(Network::Student));
        report.student.deterministic = false;
        assert!(refusal(&report).contains("not finite") && refusal(&report).contains("two different vectors"));
    }

    #[test]
    fn a_bound_below_the_margin_rejects_against_the_published_model_and_against_the_best() {
        let mut report = good();
        report.published = Some(against(2, (0.1, -0.006), (0.2, -0.006)));
        assert!(
            refusal(&report).contains("not proven as good as generation 2"),
            "{}",
            refusal(&report)
        );
        let mut report = good();
        report.best = Some(against(1, (0.1, -0.006), (0.2, -0.006)));
        assert!(
            refusal(&report).contains("the best so far, generation 1"),
            "{}",
            refusal(&report)
        );
    }

    #[test]
    fn a_mean_below_the_published_models_rejects_but_one_below_the_bests_within_the_margin_does_not() {
        let mut report = good();
        report.published = Some(against(2, (-0.001, -0.004), (-0.001, -0.004)));
        assert!(refusal(&report).contains("retrieves less"));
        let mut report = good();
        report.best = Some(against(1, (-0.001, -0.004), (-0.001, -0.004)));
        let Decision::Accept { best, .. } = decide(&report, 150, |_| false) else {
            panic!("rejected within the margin of the best")
        };
        assert!(!best);
    }

    #[test]
    fn who_tells_less_of_what_is_hidden_is_rejected_and_who_tells_more_may_retrieve_a_little_less() {
        let told = |mean, lower_bound| Some(Difference { mean, lower_bound });
        let with = |told: Option<Difference>, retrieval: f64| {
            let mut report = good();
            let published = Comparison {
                student_told: told,
                teacher_told: told,
                ..against(2, (retrieval, -0.004), (retrieval, -0.004))
            };
            report.published = Some(published);
            report
        };
        assert!(
            refusal(&with(told(-0.01, -0.02), 0.1))
                .contains("not proven to tell as much of what is hidden as generation 2"),
        );
        assert_eq!(accepted(&with(told(0.0, -0.004), 0.1)), Some(Network::Teacher));
        assert_eq!(accepted(&with(told(0.02, 0.01), -0.001)), Some(Network::Teacher));
        assert!(refusal(&with(told(0.02, -0.001), -0.001)).contains("retrieves less"));
        let mut report = good();
        report.best = Some(Comparison {
            student_told: told(-0.01, -0.02),
            teacher_told: told(-0.01, -0.02),
            ..against(1, (0.1, 0.02), (0.2, 0.1))
        });
        assert!(refusal(&report).contains("as the best so far"), "{}", refusal(&report));
    }

    #[test]
    fn a_verdict_on_transitions_speaks_of_actions() {
        let mut report = good();
        report.exam.task = ExamTask::Actions;
        let Decision::Accept { reason, .. } = decide(&report, 150, |_| false) else {
            panic!("rejected")
        };
        assert!(
            reason.contains("it tells the action of 70.0% of 100 samples"),
            "{reason}"
        );
        report.published = Some(against(2, (-0.001, -0.004), (-0.001, -0.004)));
        assert!(
            refusal(&report).contains("tells fewer actions than generation 2"),
            "{}",
            refusal(&report)
        );
    }

    #[test]
    fn a_fall_of_the_effective_rank_is_a_veto_over_what_is_not_proven_better() {
        let mut report = good();
        report.published = Some(against(2, (0.1, -0.001), (0.2, -0.001)));
        report.student.rank = Some(26.0);
        report.teacher.rank = Some(26.0);
        assert!(
            refusal(&report).contains("effective rank of 26.0 is below 27.0"),
            "{}",
            refusal(&report)
        );
        report.published = Some(against(2, (0.1, 0.001), (0.2, 0.001)));
        assert_eq!(accepted(&report), Some(Network::Teacher));
    }

    #[test]
    fn a_collapsed_spread_or_rank_is_refused_even_before_the_first_generation() {
        for (std, rank) in [(0.01, 30.0), (0.6, 1.0)] {
            let mut report = good();
            (report.published, report.best) = (None, None);
            for network in [&mut report.student, &mut report.teacher] {
                (network.std, network.rank) = (Some(std), Some(rank));
            }
            assert!(refusal(&report).contains("collapsed"));
        }
    }

    #[test]
    fn an_exam_too_small_lets_the_first_model_pass_and_then_only_doubled_steps() {
        let mut report = good();
        report.exam.samples = 31;
        assert!(
            refusal(&report).contains("exam too small: 31 samples"),
            "{}",
            refusal(&report)
        );
        let Decision::Accept { reason, best, .. } = decide(&report, 200, |_| false) else {
            panic!("doubled steps were rejected")
        };
        assert!(best && reason.contains("exam too small: 31 samples"), "{reason}");
        (report.published, report.best) = (None, None);
        assert!(accepted(&report).is_some());
    }

    #[test]
    fn the_published_model_is_never_published_again() {
        let Decision::Reject { reason } = decide(&good(), 150, |_| true) else {
            panic!("the published model was accepted again")
        };
        assert!(reason.contains("byte for byte"));
    }
}
