//! Labels: the few that users give, kept durably; classifiers that are fitted from them on embeddings; what to label next.
//! Invariant: the learner never sees a label, and nothing here touches a tensor: embeddings come in as rows of numbers.

mod calibration;
mod cluster;
mod folds;
mod head;
mod log;
mod names;
mod queue;
mod regression;
mod store;
#[cfg(test)]
mod tests;

pub use calibration::{expected_calibration_error, wilson};
pub use head::{Answer, FitError, Head, HeadReport, ROWS_MAX, Tested, Training, balanced, fit, fit_untested};
pub use names::{ClassName, LabelKey, NameError, SetName};
pub use queue::{PAIRS_MAX, POOL_MAX, Pool, diverse, typical, uncertain};
pub use store::{Change, Changed, LabelError, LabelSet, LabelStore, Refused};

/// What was asked for when a classifier was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// One on the published network's embeddings.
    Frozen,
    /// That, and a copy of the network that is trained together with another, to answer where it is better.
    Finetuned,
}

/// Labels that a stream keeps, all sets together. More are refused.
pub const LABELS_MAX: usize = 1_000_000;

/// Sets of labels that a stream keeps. More are refused.
pub const SETS_MAX: usize = 100;

/// Classes of a set. More are refused.
pub const CLASSES_MAX: usize = 10_000;

/// Characters of a class's name. A longer one is refused.
pub const CLASS_CHARS_MAX: usize = 200;

/// Labels of one request. More are refused.
pub const LABEL_ITEMS_MAX: usize = 10_000;
