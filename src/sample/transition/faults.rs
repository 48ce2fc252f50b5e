//! The faults of the source being read.
//! Always true: the first of the source's are kept, in whatever order they are found; the others are counted.

use crate::sample::{Fault, Reason, Rejection};

/// Faults kept of one source.
const FAULTS_KEPT_MAX: usize = 100;

#[derive(Default)]
pub(super) struct Faults {
    /// Up to twice as many as are kept.
    faults: Vec<Fault>,
    total: u64,
    /// Rows passed over for each reason, in the order of their first one.
    rows: Vec<(Reason, u64, String)>,
}

impl Faults {
    /// A row that is passed over.
    pub(super) fn row(&mut self, at: u64, why: Rejection) {
        match self.rows.iter_mut().find(|(reason, ..)| *reason == why.reason) {
            Some((_, count, _)) => *count += 1,
            None => {
                let first = format!("the first is row {at}: {}", why.detail);
                self.rows.push((why.reason, 1, first));
            }
        }
        self.remark(at, why);
    }

    /// A fault that cost no row.
    pub(super) fn remark(&mut self, at: u64, Rejection { reason, detail }: Rejection) {
        self.total += 1;
        self.faults.push(Fault { at, reason, detail });
        if self.faults.len() >= 2 * FAULTS_KEPT_MAX {
            self.keep_first();
        }
    }

    /// Counts faults that were found before and not kept.
    pub(super) fn uncounted(&mut self, faults: u64) {
        self.total += faults;
    }

    /// The first faults in the source's order, and how many there were.
    pub(super) fn finish(mut self) -> (Vec<Fault>, u64) {
        self.keep_first();
        (self.faults, self.total)
    }

    /// Why nothing is left of the source: the commonest reason, of equally common ones the first.
    pub(super) fn commonest(self) -> Option<Rejection> {
        let rows = self.rows.into_iter().rev();
        let (reason, _, detail) = rows.max_by_key(|(_, count, _)| *count)?;
        Some(Rejection::new(reason, format!("every row is broken; {detail}")))
    }

    fn keep_first(&mut self) {
        self.faults.sort_by_key(|fault| fault.at);
        self.faults.truncate(FAULTS_KEPT_MAX);
    }
}
