//! The names of fields and columns -> what of a transition they hold.

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Episode,
    T,
    State,
    Action,
    NextState,
    Reward,
    /// Whether the episode ends with the row.
    End,
}

/// The names of each field, the likeliest first.
const NAMES: [(Field, &[&str]); 7] = [
    (Field::Episode, &["episode", "episode_id", "ep", "trajectory"]),
    (Field::T, &["t", "step", "timestep", "time_step"]),
    (Field::State, &["state", "obs", "observation"]),
    (Field::Action, &["action"]),
    (Field::NextState, &["next_state", "next_obs", "next_observation"]),
    (Field::Reward, &["reward"]),
    (Field::End, &["terminated", "truncated", "done"]),
];

/// Names that stand for a vector only with the number of a column behind them.
const STEMS: [(Field, &[&str]); 3] = [
    (Field::State, &["s"]),
    (Field::Action, &["a"]),
    (Field::NextState, &["next_s", "s_next"]),
];

/// A name that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) field: Field,
    /// Of two names of one field the one with the lower rank is meant.
    pub(super) rank: usize,
}

/// A column that holds a part of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) known: Known,
    /// Its place in the vector.
    pub(super) index: u32,
}

/// What a field of this name holds.
pub(super) fn known(name: &str) -> Option<Known> {
    find(&NAMES, name)
}

/// The part of a vector that a column of this name holds: `state_0`, `state.0`, `state[0]`, `s0`.
pub(super) fn part(name: &str) -> Option<Part> {
    let name = name.trim();
    let open = name.strip_suffix(']').unwrap_or(name);
    let stem = open.trim_end_matches(|c: char| c.is_ascii_digit());
    let index = open.get(stem.len()..)?.parse().ok()?;
    let stem = if open.len() < name.len() {
        stem.strip_suffix('[')?
    } else {
        stem.strip_suffix(['_', '.', '-', ' ']).unwrap_or(stem)
    };
    let vector = |known: &Known| matches!(known.field, Field::State | Field::Action | Field::NextState);
    let known = known(stem).filter(vector).or_else(|| {
        let known = find(&STEMS, stem)?;
        Some(Known {
            rank: usize::MAX,
            ..known
        })
    })?;
    Some(Part { known, index })
}

fn find(names: &[(Field, &[&str])], name: &str) -> Option<Known> {
    let name = name.trim();
    names.iter().find_map(|&(field, names)| {
        let rank = names.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        Some(Known { field, rank })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_columns_name_tells_its_vector_and_its_place() {
        let place = |name| part(name).map(|part| (part.known.field, part.index));
        for name in ["state_2", "state.2", "state[2]", "s2", "obs_2", "Observation 2", "s_2"] {
            assert_eq!(place(name), Some((Field::State, 2)), "{name}");
        }
        for name in ["next_state_11", "next_obs[11]", "next_s11"] {
            assert_eq!(place(name), Some((Field::NextState, 11)), "{name}");
        }
        assert_eq!(place("action_0"), Some((Field::Action, 0)));
        for name in [
            "state",
            "state[2",
            "state_",
            "reward_1",
            "t1",
            "7",
            "",
            "s99999999999",
            "statue_1",
        ] {
            assert_eq!(place(name), None, "{name}");
        }
    }
}
