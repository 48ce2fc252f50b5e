//! What holds for any bytes at all.

use proptest::prelude::*;

use super::*;

/// Sources that bytes are changed in.
const SOURCES: [&str; 4] = [
    "{\"episode\":\"a\",\"t\":0,\"state\":{\"x\":[1,2],\"y\":3},\"action\":[0.5],\"reward\":1,\"next_state\":[1,2,3]}\n\
     {\"episode\":\"b\",\"t\":1,\"state\":[[1,2],[3]],\"action\":[0.25],\"next_state\":[4,5,6]}\n",
    "[{\"obs\":[0,1],\"action\":1},{\"obs\":[1,1],\"action\":0},{\"obs\":[2,1],\"action\":true,\"done\":true}]",
    "ep,step,state,action,next_state\n0,0,\"[1, 2]\",1,\"[2, 3]\"\n0,1,\"[2, 3]\",0,\"[3, 4]\"\n",
    "s0;s1;a0;a1;done\n0;1;0.5;0.5;false\n1;1;0.5;0.5;true\n2;2;0.5;0.5;false\n3;3;0.5;0.5;false\n",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn no_bytes_are_worse_than_a_refusal(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for opening in [&b""[..], b"PAR1", b"\x1f\x8b\x08\0", b"{\"state\":", b"[{\"state\":[", b"state,action\n", b"\xff\xfe"] {
            if let Ok(cut) = read("a", [opening, &bytes].concat()) {
                prop_assert!(is_within(&cut, &TransitionLimits::default()));
            }
        }
    }

    #[test]
    fn changed_bytes_of_a_source_cost_rows_and_never_more(
        source in 0..SOURCES.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_usize..4), 1..6),
        is_tight in any::<bool>(),
    ) {
        let mut bytes = SOURCES[source].as_bytes().to_vec();
        for (place, byte, how) in changes {
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => bytes[at] = b"[]{},\"\n0-e.:"[usize::from(byte) % 12],
                _ => bytes.truncate(at.max(1)),
            }
        }
        let mut limits = TransitionLimits::default();
        if is_tight {
            limits = TransitionLimits { state_dims_max: 2, actions_max: 1, transitions_max: 1, nesting_max: 2, ..limits };
        }
        if let Ok(cut) = cut(Path::new("a"), &bytes, &limits) {
            prop_assert!(is_within(&cut, &limits));
        }
    }

    #[test]
    fn rows_of_the_alphabet_of_json_and_tables_stay_within_the_limits(
        text in "([{}\\[\\]\",:a-z0-9\n\t;| .-]|\"state\"|\"action\":|state|action|\\\\){0,300}",
    ) {
        if let Ok(cut) = read("a", text) {
            prop_assert!(is_within(&cut, &TransitionLimits::default()));
        }
    }
}
