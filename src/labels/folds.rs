//! Folds for cross-validation: of each class every fold gets about as many, and what belongs together stays together.
//! Invariant: a group is in one fold; a class of one group is never held out, so that no fold lacks what it is asked about.

use std::collections::BTreeMap;

/// The fold of each row; None where it is in training always. `groups`: rows that share a number are in one fold. Groups of a
/// class are dealt out in the order of their numbers, beginning where the class before ended.
pub(super) fn stratified(labels: &[u32], groups: &[u64], folds: usize) -> Vec<Option<usize>> {
    // A group is dealt with the first class that has it.
    let mut class_of_group: BTreeMap<u64, u32> = BTreeMap::new();
    for (label, group) in labels.iter().zip(groups) {
        class_of_group.entry(*group).or_insert(*label);
    }
    let mut by_class: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (group, class) in &class_of_group {
        by_class.entry(*class).or_default().push(*group);
    }
    let mut fold_of: BTreeMap<u64, usize> = BTreeMap::new();
    let mut next = 0;
    for groups in by_class.values().filter(|groups| groups.len() > 1) {
        for group in groups {
            fold_of.insert(*group, next % folds);
            next += 1;
        }
    }
    groups.iter().map(|group| fold_of.get(group).copied()).collect()
}
