//! What whoever asks an exported network must know of its input: keys and values that travel in its file.

use crate::model::{EncoderSpec, PIXEL_MEAN, PIXEL_STD};

/// Of a network.
pub(in crate::model) fn properties(spec: &EncoderSpec) -> Vec<(&'static str, String)> {
    let list = |values: [f32; 3]| values.map(|value| value.to_string()).join(",");
    let mut all = match spec {
        EncoderSpec::Image(spec) => vec![
            (
                "input",
                format!(
                    "pixel_values: the picture upright, its shorter side brought to {0} pixels (bilinear, antialiased, as \
                     PIL does), the {0} x {0} in the middle cut out; red, green, blue; each level divided by 255, less `mean`, \
                     divided by `std`",
                    spec.image_px
                ),
            ),
            ("image_px", spec.image_px.to_string()),
            ("mean", list(PIXEL_MEAN)),
            ("std", list(PIXEL_STD)),
        ],
        EncoderSpec::Text(spec) => vec![
            (
                "input",
                format!(
                    "input_ids, attention_mask: the text by `tokenizer.json`, [CLS] and [SEP] around it, cut to {} tokens; shorter \
                     ones padded, where the mask is 0",
                    spec.tokens_max
                ),
            ),
            ("tokens_max", spec.tokens_max.to_string()),
        ],
        EncoderSpec::Series(spec) => vec![
            (
                "input",
                "series: windows, NaN where a number is missing; shorter ones of a batch are filled up with NaN before their first \
                 step. They are normalised in the graph"
                    .to_owned(),
            ),
            ("patch_steps", spec.patch_steps.to_string()),
        ],
        EncoderSpec::Transition(spec) => vec![
            (
                "input",
                format!(
                    "state, next_state: the state before and the one after, finite numbers, {} at most; they are filled up and \
                     scaled in the graph",
                    spec.state_dims
                ),
            ),
            ("state_dims", spec.state_dims.to_string()),
        ],
    };
    all.push(("output", "embedding: of unit length, as the daemon gives it".to_owned()));
    all.push(("modality", spec.modality().to_string()));
    all
}
