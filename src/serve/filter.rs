//! What a search is narrowed to: times of arrival, the names of files, samples left out.
//! Invariant: a filter that was made can be passed by something, and asks for bounded work of each row.

use std::collections::HashSet;

use super::index::Origin;
use super::problem::{Kind, Problem};
use crate::clock::Timestamp;
use crate::ids::SampleId;
use crate::limits::{SEARCH_EXCLUDED_MAX, SOURCE_PATTERN_BYTES_MAX};

/// Which samples a search may find.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// Those that arrived then or later.
    after: Option<Timestamp>,
    /// Those that arrived earlier.
    before: Option<Timestamp>,
    source: Option<Source>,
    exclude: HashSet<SampleId>,
}

/// Which names of files.
#[derive(Debug)]
enum Source {
    /// Those that begin with this.
    Prefix(String),
    /// Those that are this, where `*` stands for any characters and `?` for one.
    Glob(Vec<char>),
}

impl Filter {
    /// Of what a request says: times in RFC 3339, a prefix or a glob, samples.
    pub(super) fn of(
        after: Option<&str>,
        before: Option<&str>,
        source: Option<String>,
        exclude: Vec<SampleId>,
    ) -> Result<Self, Problem> {
        let refused = |detail: String| Problem::new(Kind::Unprocessable, detail);
        let (after, before) = (moment("after", after)?, moment("before", before)?);
        if let (Some(after), Some(before)) = (after, before)
            && before <= after
        {
            let detail = format!(
                "nothing arrived between `after`, {}, and `before`, {}",
                after.to_rfc3339(),
                before.to_rfc3339()
            );
            return Err(refused(detail).hint("`before` is the later of the two"));
        }
        if source
            .as_ref()
            .is_some_and(|source| source.is_empty() || source.len() > SOURCE_PATTERN_BYTES_MAX)
        {
            return Err(refused(format!(
                "`source` may have 1 to {SOURCE_PATTERN_BYTES_MAX} bytes"
            )));
        }
        if exclude.len() > SEARCH_EXCLUDED_MAX {
            return Err(refused(format!(
                "`exclude` has {} samples, and may have {SEARCH_EXCLUDED_MAX}",
                exclude.len()
            )));
        }
        Ok(Self {
            after,
            before,
            source: source.map(Source::of),
            exclude: exclude.into_iter().collect(),
        })
    }

    /// Whether everything passes.
    pub(super) fn is_open(&self) -> bool {
        self.after.is_none() && self.before.is_none() && self.source.is_none() && self.exclude.is_empty()
    }

    /// Whether a search may find this sample.
    pub(super) fn passes(&self, id: SampleId, origin: &Origin) -> bool {
        self.after.is_none_or(|after| origin.taken_at >= after)
            && self.before.is_none_or(|before| origin.taken_at < before)
            && !self.exclude.contains(&id)
            && self.source.as_ref().is_none_or(|source| source.names(&origin.path))
    }
}

fn moment(key: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let read = |text: &str| {
        Timestamp::from_rfc3339(text).ok_or_else(|| {
            Problem::new(Kind::Unprocessable, format!("`{key}` is no time in RFC 3339"))
                .hint("write 2026-11-26T05:00:00Z, or another offset than Z")
        })
    };
    text.map(read).transpose()
}

impl Source {
    fn of(text: String) -> Self {
        if text.contains(['*', '?']) {
            // Stars in a row say what one says.
            let mut glob: Vec<char> = text.chars().collect();
            glob.dedup_by(|a, b| (*a, *b) == ('*', '*'));
            Self::Glob(glob)
        } else {
            Self::Prefix(text)
        }
    }

    fn names(&self, path: &str) -> bool {
        match self {
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Glob(glob) => matches(glob, path),
        }
    }
}

/// Whether a path is what a glob says. Only the newest star is tried again, which suffices, so that the work is at most the
/// product of both lengths.
fn matches(glob: &[char], path: &str) -> bool {
    let (mut at, mut left) = (0, path.chars());
    // Where to go on when what follows the newest star does not fit: behind it in the glob, and one character later in the path.
    let mut again: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let here = left.clone();
        match (glob.get(at), left.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                left = here;
                at += 1;
                again = Some((at, left.clone()));
                continue;
            }
            (Some('?'), Some(_)) => {
                at += 1;
                continue;
            }
            (Some(wanted), Some(is)) if *wanted == is => {
                at += 1;
                continue;
            }
            _ => {}
        }
        let Some((behind, from)) = &mut again else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        (at, left) = (*behind, from.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(taken_at: i64, path: &str) -> Origin {
        Origin {
            taken_at: Timestamp(taken_at),
            path: path.into(),
        }
    }

    fn named(source: &str, path: &str) -> bool {
        let filter = Filter::of(None, None, Some(source.to_owned()), Vec::new()).unwrap();
        filter.passes(SampleId(1), &origin(0, path))
    }

    #[test]
    fn a_source_is_a_prefix_or_where_it_has_stars_the_whole_name() {
        for (source, path, is_meant) in [
            ("cam1/", "cam1/a.png", true),
            ("cam1/", "cam10/a.png", false),
            ("a.png", "cam1/a.png", false),
            ("*.png", "cam1/a.png", true),
            ("*.png", "cam1/a.png.txt", false),
            ("cam?/*", "cam1/a.png", true),
            ("cam?/*", "cam10/a.png", false),
            ("*a*b*c", "xxaxxbxxbxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("**", "", true),
            ("?", "", false),
            ("?", "ä", true),
            ("*é", "é", true),
            ("a*", "a", true),
            ("*ab", "aab", true),
        ] {
            assert_eq!(named(source, path), is_meant, "{source} of {path}");
        }
    }

    #[test]
    fn a_glob_made_to_be_slow_is_not() {
        let glob = format!("{}b", "*a".repeat(100));
        let path = "a".repeat(4_000);
        let started = std::time::Instant::now();
        assert!(!named(&glob, &path));
        assert!(started.elapsed() < std::time::Duration::from_secs(1));
    }

    #[test]
    fn times_of_arrival_are_from_and_until() {
        let filter = Filter::of(
            Some("1970-01-01T00:00:01Z"),
            Some("1970-01-01T02:00:02+02:00"),
            None,
            vec![SampleId(9)],
        )
        .unwrap();
        let passes = |id, at| filter.passes(SampleId(id), &origin(at, ""));
        assert_eq!(
            [999, 1_000, 1_999, 2_000].map(|at| passes(1, at)),
            [false, true, true, false]
        );
        assert!(!passes(9, 1_500));
    }

    #[test]
    fn what_nothing_can_pass_or_is_no_time_is_refused() {
        let of = |after, before, source: Option<&str>, exclude| {
            Filter::of(after, before, source.map(str::to_owned), vec![SampleId(0); exclude]).is_err()
        };
        assert!(of(Some("yesterday"), None, None, 0));
        assert!(of(None, Some("2026-11-26"), None, 0));
        assert!(of(Some("2026-11-26T00:00:00Z"), Some("2026-11-25T00:00:00Z"), None, 0));
        assert!(of(None, None, Some(""), 0));
        assert!(of(None, None, Some(&"x".repeat(SOURCE_PATTERN_BYTES_MAX + 1)), 0));
        assert!(of(None, None, None, SEARCH_EXCLUDED_MAX + 1));
        assert!(!of(None, None, None, SEARCH_EXCLUDED_MAX));
        assert!(Filter::of(None, None, None, Vec::new()).unwrap().is_open());
    }
}
