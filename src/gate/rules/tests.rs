//! Sentences about the rules, on reports made up for them.

use std::collections::BTreeMap;

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
        corrupted: None,
        labels_told: None,
    }
}

fn bounds(mean: f64, lower_bound: f64) -> Difference {
    Difference {
        mean,
        lower_bound,
        gain_bound: lower_bound,
        upper_bound: 2.0 * mean - lower_bound,
    }
}

fn against(generation: u64, student: (f64, f64), teacher: (f64, f64)) -> Comparison {
    let difference = |(mean, lower_bound)| Some(bounds(mean, lower_bound));
    Comparison {
        generation: Generation(generation),
        step: 100,
        measured: sane(0.5),
        student: difference(student),
        teacher: difference(teacher),
        student_told: None,
        teacher_told: None,
        student_labels: None,
        teacher_labels: None,
        student_slices: BTreeMap::new(),
        teacher_slices: BTreeMap::new(),
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
            trial: 1,
            share: 1.0,
        },
        student: sane(0.6),
        teacher: sane(0.7),
        published: Some(against(2, (0.1, 0.02), (0.2, 0.1))),
        best: Some(against(1, (0.1, 0.02), (0.2, 0.1))),
        published_less_best: None,
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
fn what_is_better_in_nothing_is_rejected_and_a_mean_below_the_bests_within_the_margin_is_not() {
    let mut report = good();
    report.published = Some(against(2, (0.004, -0.004), (0.004, -0.004)));
    assert!(
        refusal(&report).contains("proven better than generation 2 in nothing (+0.4 points"),
        "{}",
        refusal(&report)
    );
    let mut report = good();
    report.best = Some(against(1, (-0.001, -0.004), (-0.001, -0.004)));
    let Decision::Accept { best, .. } = decide(&report, 150, |_| false) else {
        panic!("rejected within the margin of the best")
    };
    assert!(!best);
}

#[test]
fn a_gain_on_the_newest_samples_alone_is_a_gain_and_a_loss_on_any_part_is_a_veto() {
    let level = || against(2, (0.0, -0.004), (0.0, -0.004));
    let with = |parts: &[(Slice, Difference)]| {
        let mut published = level();
        published.teacher_slices.extend(parts.iter().copied());
        let mut report = good();
        report.published = Some(published);
        report
    };
    assert_eq!(
        accepted(&with(&[(Slice::Recent, bounds(0.05, 0.01))])),
        Some(Network::Teacher)
    );
    // Being better on old samples alone is no reason to change every vector.
    assert_eq!(accepted(&with(&[(Slice::Anchor, bounds(0.05, 0.01))])), None);
    for slice in [Slice::Anchor, Slice::Rare, Slice::Corrupted] {
        let lost = [(Slice::Recent, bounds(0.05, 0.01)), (slice, bounds(-0.04, -0.07))];
        let why = refusal(&with(&lost));
        assert!(
            why.contains(&format!("retrieves less than generation 2 on {slice}")),
            "{why}"
        );
    }
    // So few samples that nothing is proven are no veto.
    let unsure = [(Slice::Recent, bounds(0.05, 0.01)), (Slice::Rare, bounds(-0.02, -0.1))];
    assert_eq!(accepted(&with(&unsure)), Some(Network::Teacher));
}

#[test]
fn who_tells_fewer_of_the_users_labels_is_rejected() {
    let mut report = good();
    let mut published = against(2, (0.1, 0.02), (0.2, 0.1));
    (published.student_labels, published.teacher_labels) = (Some(bounds(-0.05, -0.08)), Some(bounds(-0.01, -0.03)));
    report.published = Some(published.clone());
    assert_eq!(accepted(&report), Some(Network::Teacher), "nothing is shown of it");
    published.teacher_labels = Some(bounds(-0.05, -0.08));
    report.published = Some(published);
    assert!(
        refusal(&report).contains("it tells fewer of the users' labels than generation 2"),
        "{}",
        refusal(&report)
    );
}

#[test]
fn a_published_model_that_is_found_worse_than_the_best_is_fallen_back_from() {
    let mut report = good();
    assert_eq!(fall_back(&report), None);
    report.published_less_best = Some(bounds(-0.02, -0.036));
    assert_eq!(fall_back(&report), None, "it is within the margin");
    report.published_less_best = Some(bounds(-0.02, -0.03));
    assert_eq!(fall_back(&report), Some(Generation(1)));
    report.exam.samples = 31;
    assert_eq!(fall_back(&report), None);
}

#[test]
fn mixtures_are_tried_of_what_is_sane_and_not_far_behind() {
    assert!(is_mixable(&good()));
    let mut report = good();
    report.published = Some(against(2, (-0.06, -0.1), (-0.2, -0.3)));
    assert!(!is_mixable(&report));
    let mut report = good();
    (report.student.finite, report.teacher.rank) = (false, Some(1.0));
    assert!(!is_mixable(&report));
    report.published = None;
    assert!(!is_mixable(&report));
}

#[test]
fn who_tells_less_of_what_is_hidden_is_rejected_and_who_tells_more_may_retrieve_a_little_less() {
    let told = |mean, lower_bound| Some(bounds(mean, lower_bound));
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
    assert_eq!(accepted(&with(told(0.02, 0.01), 0.1)), Some(Network::Teacher));
    assert_eq!(accepted(&with(told(0.02, 0.01), -0.001)), Some(Network::Teacher));
    assert!(refusal(&with(told(0.02, -0.001), -0.001)).contains("better than generation 2 in nothing"));
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
    let mut published = against(2, (0.1, 0.02), (0.1, 0.02));
    published.teacher_slices.insert(Slice::Recent, bounds(-0.04, -0.05));
    published.student_slices.insert(Slice::Recent, bounds(-0.04, -0.05));
    report.published = Some(published);
    assert!(
        refusal(&report).contains("tells fewer actions than generation 2 on the newest samples"),
        "{}",
        refusal(&report)
    );
}

#[test]
fn a_fall_of_the_effective_rank_is_a_veto_over_what_is_not_proven_better() {
    let mut report = good();
    let mut published = against(2, (0.1, -0.001), (0.2, -0.001));
    for slices in [&mut published.student_slices, &mut published.teacher_slices] {
        slices.insert(Slice::Recent, bounds(0.05, 0.01));
    }
    report.published = Some(published);
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
