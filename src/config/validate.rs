//! What a configuration must be beyond its types. Every refusal names the key, its value and what would be right.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Config, ConfigError, LearningConfig, ObjectiveKind, StreamConfig};
use crate::model::vit::patch_px;

impl Config {
    /// Checks what the types do not say.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.streams.is_empty() {
            return Err(ConfigError::new(
                "the configuration has no stream",
                "add one: [[stream]] with name, modality and inbox",
            ));
        }
        self.server.validate_access()?;
        for (key, value) in [
            ("server.body_bytes_max", self.server.body_bytes_max),
            ("server.items_max", self.server.items_max),
            ("server.concurrency_max", self.server.concurrency_max),
        ] {
            within(key, value as f64, 1.0, 1e12)?;
        }
        within(
            "server.request_timeout_s",
            self.server.request_timeout_s as f64,
            1.0,
            3600.0,
        )?;
        within(
            "server.exact_search_samples_max",
            self.server.exact_search_samples_max as f64,
            0.0,
            1e12,
        )?;
        let threads = &self.threads;
        for (key, value) in [
            ("threads.decode", threads.decode),
            ("threads.augment", threads.augment),
            ("threads.learn", threads.learn),
            ("threads.serve", threads.serve),
            ("threads.lanes", threads.lanes),
        ] {
            within(key, value as f64, 0.0, 1024.0)?;
        }
        let mut names = BTreeSet::new();
        let mut inboxes: Vec<&PathBuf> = Vec::new();
        for stream in &self.streams {
            if !names.insert(&stream.name) {
                return Err(ConfigError::new(
                    format!("two streams are called `{}`", stream.name),
                    "give each its own name",
                ));
            }
            for inbox in &stream.inbox {
                let overlaps = |other: &&&PathBuf| inbox.starts_with(other) || other.starts_with(inbox);
                if let Some(other) = inboxes.iter().find(overlaps) {
                    return Err(ConfigError::new(
                        format!(
                            "the inbox {} and the inbox {} overlap",
                            inbox.display(),
                            other.display()
                        ),
                        "a file belongs to one inbox of one stream",
                    ));
                }
                inboxes.push(inbox);
                if inbox.starts_with(&self.state_dir) || self.state_dir.starts_with(inbox) {
                    return Err(ConfigError::new(
                        format!(
                            "the inbox {} and state_dir = {} are inside each other",
                            inbox.display(),
                            self.state_dir.display()
                        ),
                        "keep what the daemon writes out of what it watches",
                    ));
                }
            }
            stream.validate()?;
        }
        Ok(())
    }
}

impl StreamConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let key = |key: &str| format!("stream `{}`: {key}", self.name);
        if self.inbox.is_empty() {
            return Err(ConfigError::new(key("it has no inbox"), "add inbox = [\"/a/folder\"]"));
        }
        for folder in [&self.ingest.done_dir, &self.ingest.quarantine_dir]
            .into_iter()
            .flatten()
        {
            if self.inbox.iter().any(|inbox| folder.starts_with(inbox)) {
                return Err(ConfigError::new(
                    key(&format!("{} is inside its inbox", folder.display())),
                    "what was taken would be taken again: choose a folder outside",
                ));
            }
        }
        let (ingest, replay, learning, publication) = (&self.ingest, &self.replay, &self.learning, &self.publication);
        for (name, value, least, most) in [
            ("ingest.settle_ms", ingest.settle_ms as f64, 1.0, 3.6e6),
            ("ingest.rescan_s", ingest.rescan_s as f64, 1.0, 86_400.0),
            ("ingest.file_bytes_max", ingest.file_bytes_max as f64, 1.0, 1e12),
            ("ingest.image_pixels_max", ingest.image_pixels_max as f64, 1.0, 1e10),
            (
                "ingest.image_side_px_max",
                f64::from(ingest.image_side_px_max),
                1.0,
                1e6,
            ),
            (
                "ingest.passage_chars_max",
                ingest.passage_chars_max as f64,
                64.0,
                100_000.0,
            ),
            (
                "ingest.passage_overlap_chars",
                ingest.passage_overlap_chars as f64,
                0.0,
                ingest.passage_chars_max as f64 / 2.0,
            ),
            ("ingest.window_steps", ingest.window_steps as f64, 16.0, 4_096.0),
            (
                "ingest.window_stride_steps",
                ingest.window_stride_steps as f64,
                0.0,
                ingest.window_steps as f64,
            ),
            (
                "learning.state_dims_max",
                f64::from(learning.state_dims_max),
                1.0,
                65_535.0,
            ),
            ("learning.actions_max", f64::from(learning.actions_max), 1.0, 4_096.0),
            ("learning.vocab_size", f64::from(learning.vocab_size), 512.0, 1e6),
            (
                "learning.vocab_bytes",
                learning.vocab_bytes as f64,
                1.0,
                (16u32 << 20).into(),
            ),
            ("replay.bytes_max", replay.bytes_max as f64, (1u64 << 20) as f64, 1e16),
            ("replay.recent_share", replay.recent_share, 0.0, 1.0),
            ("replay.recent_samples", replay.recent_samples as f64, 1.0, 1e9),
            ("replay.draws_per_sample", replay.draws_per_sample, 0.0, 1e9),
            ("replay.draws_per_sample_min", replay.draws_per_sample_min, 0.0, 1e9),
            ("learning.learning_rate", learning.learning_rate, 1e-9, 10.0),
            ("learning.weight_decay", learning.weight_decay, 0.0, 10.0),
            ("learning.alignment_max", learning.alignment_max, 0.0, 100.0),
            ("learning.samples_min", learning.samples_min as f64, 2.0, 1e9),
            ("learning.checkpoint_s", learning.checkpoint_s as f64, 1.0, 86_400.0),
            (
                "learning.checkpoints_kept",
                learning.checkpoints_kept as f64,
                1.0,
                1000.0,
            ),
            (
                "publication.first_candidate_steps",
                publication.first_candidate_steps as f64,
                1.0,
                1e12,
            ),
            (
                "publication.candidate_steps",
                publication.candidate_steps as f64,
                1.0,
                1e12,
            ),
            (
                "publication.exam_samples_max",
                publication.exam_samples_max as f64,
                1.0,
                1e6,
            ),
            ("publication.margin_points", publication.margin_points, 0.0, 100.0),
            ("publication.confidence", publication.confidence, 0.5, 0.999_999),
            (
                "publication.generations_kept",
                publication.generations_kept as f64,
                2.0,
                1e6,
            ),
        ] {
            within(&key(name), value, least, most)?;
        }
        if replay.samples_max != 0 {
            // The exam has a tenth, and there must be some.
            within(&key("replay.samples_max"), replay.samples_max as f64, 10.0, 1e12)?;
        }
        if learning.image_px != 0 {
            within(&key("learning.image_px"), f64::from(learning.image_px), 32.0, 512.0)?;
        }
        if learning.batch != 0 {
            within(&key("learning.batch"), learning.batch as f64, 2.0, 65_536.0)?;
        }
        if learning.tokens_max != 0 {
            within(&key("learning.tokens_max"), f64::from(learning.tokens_max), 8.0, 512.0)?;
        }
        self.fits_its_modality(key)?;
        fits_together(learning, key)
    }

    /// Whether objective and encoder are for the stream's kind of data.
    fn fits_its_modality(&self, key: impl Fn(&str) -> String) -> Result<(), ConfigError> {
        let (objective, encoder) = (self.learning.objective.modality(), self.learning.encoder.modality());
        let asked = [("objective", objective), ("encoder", encoder)];
        match asked
            .into_iter()
            .find(|(_, of)| of.is_some_and(|of| of != self.modality))
        {
            None => Ok(()),
            Some((name, _)) => Err(ConfigError::new(
                key(&format!("learning.{name} is not for the modality `{}`", self.modality)),
                "leave it out, or \"auto\": pictures are learnt by simclr, vicreg, inpaint and mae on resnet_* and vit_*, texts by mlm \
                 and bert on bert_*; where [learning] is for another modality, set it in [stream.learning]",
            )),
        }
    }
}

/// Whether objective, encoder and size of the pictures can be learnt with together.
fn fits_together(learning: &LearningConfig, key: impl Fn(&str) -> String) -> Result<(), ConfigError> {
    let is_mae = learning.objective == ObjectiveKind::Mae;
    if is_mae && learning.encoder.is_resnet() {
        return Err(ConfigError::new(
            key("learning.objective = \"mae\" does not go with a ResNet"),
            "it hides patches from the encoder, which only a ViT can do without: set learning.encoder to vit_tiny, vit_small, \
             vit_base or auto, or the objective to inpaint",
        ));
    }
    let (px, is_vit) = (learning.image_px, is_mae || learning.encoder.is_vit());
    if is_vit && !px.is_multiple_of(patch_px(px)) {
        return Err(ConfigError::new(
            key(&format!(
                "learning.image_px = {px} can not be cut into patches of {}",
                patch_px(px)
            )),
            "a ViT's pictures are a multiple of 8 px up to 96, and a multiple of 16 above",
        ));
    }
    Ok(())
}

fn within(key: &str, value: f64, least: f64, most: f64) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::new(
            format!("{key} = {value} is out of bounds"),
            format!("it is {least} to {most}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;

    fn refusal(text: &str) -> String {
        let error = parse(text, "curiod.toml", Path::new("/"), std::iter::empty()).unwrap_err();
        assert!(!error.hint.is_empty());
        error.what
    }

    #[test]
    fn what_can_not_work_is_refused_by_name() {
        let stream = |rest: &str| format!("[[stream]]\nname = \"a\"\nmodality = \"image\"\ninbox = [\"/in\"]\n{rest}");
        for (text, named) in [
            (String::new(), "no stream"),
            (stream("") + &stream(""), "two streams are called `a`"),
            (
                format!("[server]\nbind = \"0.0.0.0:80\"\n{}", stream("")),
                "not a loopback address",
            ),
            (stream("[stream.replay]\nrecent_share = 1.5\n"), "replay.recent_share"),
            (stream("[stream.replay]\nsamples_max = 9\n"), "replay.samples_max"),
            (stream("[stream.learning]\nbatch = 1\n"), "learning.batch"),
            (
                stream("[stream.learning]\nlearning_rate = nan\n"),
                "learning.learning_rate",
            ),
            (stream("[stream.ingest]\ndone_dir = \"/in/done\"\n"), "inside its inbox"),
            (
                format!("state_dir = \"/in/state\"\n{}", stream("")),
                "inside each other",
            ),
            (
                stream("[stream.learning]\nobjective = \"mae\"\nencoder = \"resnet18\"\n"),
                "does not go with a ResNet",
            ),
            (
                stream("[stream.learning]\nencoder = \"vit_tiny\"\nimage_px = 100\n"),
                "patches of 16",
            ),
            (
                stream("[stream.learning]\nobjective = \"mae\"\nimage_px = 60\n"),
                "patches of 8",
            ),
            (stream("modalty = 1\n"), "modalty"),
            (
                "[[stream]]\nname = \"../x\"\nmodality = \"image\"\ninbox = []\n".to_owned(),
                "not a stream name",
            ),
        ] {
            let what = refusal(&text);
            assert!(what.contains(named), "{what:?} does not say {named:?}");
        }
    }
}
