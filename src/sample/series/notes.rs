//! What of a source is passed over while it is read.
//! Always true: no more faults than `FAULTS_KEPT_MAX` are held.

use crate::sample::{Fault, Reason};

/// Faults kept of one source; the others are only counted.
pub(super) const FAULTS_KEPT_MAX: usize = 100;

/// Faults of the source being read.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) faults: Vec<Fault>,
    pub(super) total: u64,
}

impl Notes {
    /// Notes a fault.
    pub(super) fn fault(&mut self, at: u64, reason: Reason, detail: impl FnOnce() -> String) {
        self.total += 1;
        if self.faults.len() < FAULTS_KEPT_MAX {
            self.faults.push(Fault {
                at,
                reason,
                detail: detail(),
            });
        }
    }

    /// Takes others in, in the order of their rows.
    pub(super) fn merge(&mut self, others: Self) {
        self.total += others.total;
        self.faults.extend(others.faults);
        self.faults.sort_by_key(|fault| fault.at);
        self.faults.truncate(FAULTS_KEPT_MAX);
    }
}
