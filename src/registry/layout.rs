//! What lies where: the names in a stream's registry and in a generation's folder.
//!
//! ```text
//! registry/STREAM/
//!   000042/                immutable, complete or absent
//!     model.safetensors    __metadata__.format = "pt"
//!     config.json          timm: timm.create_model("local-dir:.../000042", pretrained=True)
//!     decoder.safetensors  fills holes, where the objective taught it to (`inpaint`)
//!     curiod.json          the manifest
//!   latest stable previous aliases (symbolic links)
//!   high_water             the largest number ever given
//!   chosen.json            what was rolled back from, and what is pinned
//!   verdicts.jsonl         the last verdicts of the gate
//!   broken-000041-TIME/    set aside: its files are not what its manifest says
//!   .tmp-*                 being made, or left by a kill and swept at the next open
//! ```

use crate::ids::Generation;

/// The weights.
pub const MODEL_FILE: &str = "model.safetensors";

/// The weights of what fills holes; only where the objective has it.
pub const DECODER_FILE: &str = "decoder.safetensors";

/// What timm builds the network from.
pub const CONFIG_FILE: &str = "config.json";

/// The manifest.
pub const MANIFEST_FILE: &str = "curiod.json";

/// The largest number ever given, in decimal.
pub const HIGH_WATER_FILE: &str = "high_water";

/// What was rolled back from, and what is pinned.
pub const CHOSEN_FILE: &str = "chosen.json";

/// The last verdicts of the gate, one JSON object a line.
pub const VERDICTS_FILE: &str = "verdicts.jsonl";

/// First part of the names of generations that were set aside.
pub const BROKEN_PREFIX: &str = "broken-";

/// The name of a generation's folder: at least six digits, so that names sort as numbers do.
pub fn dir_name(generation: Generation) -> String {
    format!("{:06}", generation.0)
}

/// The generation that a folder's name names.
pub fn parse_dir_name(name: &str) -> Option<Generation> {
    let generation = Generation(name.parse().ok()?);
    (dir_name(generation) == name && generation.0 > 0).then_some(generation)
}

/// The generation that was set aside under this name.
pub fn parse_broken_name(name: &str) -> Option<Generation> {
    parse_dir_name(name.strip_prefix(BROKEN_PREFIX)?.split('-').next()?)
}

/// A name that moves from generation to generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alias {
    /// The one that is served: the newest that was not rolled back from, or the one that is pinned.
    Latest,
    /// The best on the exam so far; every candidate is compared with it too, so that many small losses can not add up.
    Stable,
    /// The newest that is older than it and was not rolled back from.
    Previous,
}

impl Alias {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Latest, Self::Stable, Self::Previous];

    /// The link's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::Stable => "stable",
            Self::Previous => "previous",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_that_a_generation_would_get_names_it() {
        assert_eq!(dir_name(Generation(42)), "000042");
        assert_eq!(parse_dir_name("000042"), Some(Generation(42)));
        assert_eq!(parse_dir_name("1234567"), Some(Generation(1_234_567)));
        assert_eq!(parse_broken_name("broken-000042-1700000000000"), Some(Generation(42)));
        for other in [
            "42",
            "0000042",
            "000000",
            "+00042",
            "latest",
            "broken-000042-1",
            ".tmp-1-000042",
        ] {
            assert_eq!(parse_dir_name(other), None, "{other}");
        }
    }
}
