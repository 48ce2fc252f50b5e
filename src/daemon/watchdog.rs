//! Does every part move that should?

use std::time::Duration;

use super::roster::Roster;

/// A learner whose loop has not gone round for this long is stuck: a step takes seconds, a wait for others' turns less.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// The first part that does not move, if there is one. A learner that failed is told as such elsewhere: it is not stuck,
/// and restarting the daemon would take queries down with it.
pub(super) fn stuck(roster: &Roster) -> Option<String> {
    let mut found = None;
    roster.each(|stream| {
        let learner = stream.learner();
        let failed = matches!(learner.activity, crate::learn::Activity::Failed(_));
        if !failed
            && learner
                .alive_at
                .is_some_and(|alive_at| alive_at.elapsed() > STUCK_AFTER)
        {
            found.get_or_insert(format!("the learner of stream `{}`", stream.config.name));
        }
    });
    found
}
