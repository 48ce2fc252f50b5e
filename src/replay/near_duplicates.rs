//! Near-duplicates: groups of samples that show the same, by their perceptual hashes.
//! Invariant: a sample is in the group of its look, which is the hash of the group's first member and is kept with the
//! sample, so that the groups of a reopened buffer are those of the one that was closed, whoever of them is gone.
//!
//! A hash joins the nearest group whose look differs in at most [`NEAR_BITS`] bits: exactly the groups within reach are
//! found, for two hashes of four bands of 16 bits that differ in fewer than eight bits have a band in which they differ
//! in one at most. Groups are balls around their first member, so that a chain of small steps does not become one group.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use crate::ids::SampleId;
use crate::sample::perceptual::NEAR_BITS;

use super::pending::Look;

/// Bands of a hash.
const BANDS: usize = 4;

const _: () = assert!(NEAR_BITS < 2 * BANDS as u32, "a band must differ in one bit at most");

/// A group of more is drawn as often as so many of its samples weigh: when a group grows or shrinks across a power of
/// two its members are weighed anew, and there must be an end to that.
pub(super) const COPIES_MAX: u32 = 1_024;

/// The groups.
#[derive(Default)]
pub(super) struct NearDuplicates {
    groups: HashMap<u64, Group>,
    /// Band and its bits -> the looks that have them.
    bands: HashMap<(u8, u16), Vec<u64>>,
    /// The groups of which copies may be evicted, those with the most first.
    crowded: BTreeSet<(Reverse<usize>, u64)>,
    /// Samples beside the first of each group.
    copies: u64,
}

/// Samples that show the same, ascending. The first `settled` of them are no longer among the newest of the buffer.
#[derive(Default)]
struct Group {
    members: Vec<u64>,
    settled: usize,
}

impl Group {
    fn copies(&self) -> u32 {
        (self.members.len() as u32).next_power_of_two().min(COPIES_MAX)
    }
}

/// A group whose members are drawn as another share of it than before.
pub(super) struct Reweighed {
    pub(super) members: Vec<SampleId>,
    /// The members, rounded up to a power of two so that it seldom changes.
    pub(super) copies: u32,
}

impl NearDuplicates {
    /// The look of a new sample: that of the nearest group within reach, else its own hash.
    pub(super) fn look_of(&self, hash: u64) -> Look {
        let mut nearest = (NEAR_BITS + 1, hash);
        for (band, bits) in bands(hash) {
            let alike = std::iter::once(bits).chain((0..16).map(|bit| bits ^ 1 << bit));
            let looks = alike.filter_map(|bits| self.bands.get(&(band, bits))).flatten();
            for look in looks {
                nearest = nearest.min(((look ^ hash).count_ones(), *look));
            }
        }
        Look::of(if nearest.0 <= NEAR_BITS { nearest.1 } else { hash })
    }

    /// A sample joins its group.
    pub(super) fn insert(&mut self, look: Look, id: SampleId, settled: bool) -> Option<Reweighed> {
        let look = look.get()?;
        let group = self.groups.entry(look).or_default();
        let Err(at) = group.members.binary_search(&id.0) else {
            return None;
        };
        if group.members.is_empty() {
            for band in bands(look) {
                self.bands.entry(band).or_default().push(look);
            }
            group.members.reserve_exact(1);
        }
        let before = (group.copies(), group.settled);
        self.copies += u64::from(!group.members.is_empty());
        group.members.insert(at, id.0);
        group.settled += usize::from(settled);
        self.changed(look, before)
    }

    /// A sample is no longer among the newest.
    pub(super) fn settle(&mut self, look: Look) {
        let Some(look) = look.get() else { return };
        if let Some(group) = self.groups.get_mut(&look) {
            let before = (group.copies(), group.settled);
            group.settled = (group.settled + 1).min(group.members.len());
            self.changed(look, before);
        }
    }

    /// A sample leaves its group.
    pub(super) fn remove(&mut self, look: Look, id: SampleId) -> Option<Reweighed> {
        let look = look.get()?;
        let group = self.groups.get_mut(&look)?;
        let at = group.members.binary_search(&id.0).ok()?;
        let before = (group.copies(), group.settled);
        group.members.remove(at);
        self.copies -= u64::from(!group.members.is_empty());
        group.settled -= usize::from(at < group.settled);
        self.changed(look, before)
    }

    /// Of the group with the most copies that may go: one to evict, and the one that stays for it.
    pub(super) fn surplus(&self) -> Option<(SampleId, SampleId)> {
        let (_, look) = self.crowded.first()?;
        let group = self.groups.get(look)?;
        let goes = group.members.get(group.settled.checked_sub(1)?)?;
        Some((SampleId(*goes), SampleId(*group.members.first()?)))
    }

    /// How many samples there are beside the first of each group.
    pub(super) fn count(&self) -> u64 {
        self.copies
    }

    /// After a change of a group that had so many copies and settled members before.
    fn changed(&mut self, look: u64, (copies, settled): (u32, usize)) -> Option<Reweighed> {
        let group = self.groups.get(&look)?;
        if settled != group.settled {
            self.crowded.remove(&(Reverse(settled), look));
            if group.settled > 1 {
                self.crowded.insert((Reverse(group.settled), look));
            }
        }
        if group.members.is_empty() {
            self.groups.remove(&look);
            for band in bands(look) {
                if let Some(looks) = self.bands.get_mut(&band) {
                    looks.retain(|other| *other != look);
                    if looks.is_empty() {
                        self.bands.remove(&band);
                    }
                }
            }
            return None;
        }
        let copies_now = group.copies();
        (copies_now != copies).then(|| Reweighed {
            members: group.members.iter().map(|id| SampleId(*id)).collect(),
            copies: copies_now,
        })
    }

    /// As what part of its group a member is drawn.
    pub(super) fn copies(&self, look: Look) -> u32 {
        let group = look.get().and_then(|look| self.groups.get(&look));
        group.map_or(1, Group::copies)
    }
}

/// A hash as four bands, with their numbers.
fn bands(hash: u64) -> [(u8, u16); BANDS] {
    std::array::from_fn(|band| (band as u8, (hash >> (16 * band)) as u16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{self, Rng};
    use rand_core::RngCore;

    /// The hash with so many bits turned.
    fn turned(hash: u64, bits: u32, rng: &mut Rng) -> u64 {
        let mut turned = hash;
        while (turned ^ hash).count_ones() < bits {
            turned ^= 1 << rng::below(rng, 64);
        }
        turned
    }

    #[test]
    fn exactly_what_is_within_reach_is_found() {
        let rng = &mut rng::for_step(0, 0, 0);
        for _ in 0..2_000 {
            let mut groups = NearDuplicates::default();
            let first = rng.next_u64();
            groups.insert(groups.look_of(first), SampleId(1), true);
            for bits in 0..12 {
                let near = turned(first, bits, rng);
                let expected = if bits <= NEAR_BITS { first } else { near };
                assert_eq!(groups.look_of(near), Look::of(expected), "{bits} bits apart");
            }
        }
    }

    #[test]
    fn the_nearest_of_several_groups_is_joined() {
        let rng = &mut rng::for_step(1, 0, 0);
        let mut groups = NearDuplicates::default();
        let mut looks = Vec::new();
        for id in 0..3_000u64 {
            let hash = match id % 2 {
                0 => rng.next_u64(),
                _ => turned(looks[rng::below(rng, looks.len())], 7, rng),
            };
            let look = groups.look_of(hash);
            let distance = |look: &u64| (look ^ hash).count_ones();
            let nearest = looks.iter().map(distance).min().filter(|bits| *bits <= NEAR_BITS);
            assert_eq!(nearest.unwrap_or(0), distance(&look.get().unwrap()));
            if nearest.is_none() {
                looks.push(hash);
            }
            groups.insert(look, SampleId(id), true);
        }
    }

    #[test]
    fn the_copies_of_the_largest_group_go_first_and_its_oldest_stays() {
        let mut groups = NearDuplicates::default();
        for (id, hash) in [(1, 0xff), (2, 0xff_0000), (3, 0xff), (4, 0xff_0000), (5, 0xff_0000)] {
            groups.insert(groups.look_of(hash), SampleId(id), true);
        }
        assert_eq!(groups.count(), 3);
        let mut gone = Vec::new();
        while let Some((goes, stays)) = groups.surplus() {
            let look = if stays.0 == 1 { 0xff } else { 0xff_0000 };
            groups.remove(Look::of(look), goes);
            gone.push((goes.0, stays.0));
        }
        assert_eq!(gone, [(5, 2), (3, 1), (4, 2)]);
        groups.remove(Look::of(0xff), SampleId(1));
        groups.remove(Look::of(0xff_0000), SampleId(2));
        assert_eq!(groups.count(), 0);
        assert!(groups.groups.is_empty() && groups.bands.is_empty() && groups.crowded.is_empty());
    }

    #[test]
    fn the_newest_are_not_surplus_until_they_settle() {
        let mut groups = NearDuplicates::default();
        let look = Look::of(7);
        groups.insert(look, SampleId(1), true);
        groups.insert(look, SampleId(2), false);
        assert_eq!(groups.surplus(), None);
        groups.settle(look);
        assert_eq!(groups.surplus(), Some((SampleId(2), SampleId(1))));
    }

    #[test]
    fn members_are_weighed_anew_at_powers_of_two_only() {
        let mut groups = NearDuplicates::default();
        let look = Look::of(7);
        let reweighed = (1..=9).map(|id| {
            groups
                .insert(look, SampleId(id), false)
                .map(|it| (it.members.len(), it.copies))
        });
        let reweighed: Vec<_> = reweighed.collect();
        let expected = [
            None,
            Some((2, 2)),
            Some((3, 4)),
            None,
            Some((5, 8)),
            None,
            None,
            None,
            Some((9, 16)),
        ];
        assert_eq!(reweighed, expected);
        assert_eq!(groups.copies(look), 16);
        assert_eq!(groups.remove(look, SampleId(4)).map(|it| it.copies), Some(8));
        assert_eq!(groups.copies(Look::NOTHING), 1);
    }
}
