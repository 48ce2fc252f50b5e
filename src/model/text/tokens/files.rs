//! The files beside tokenizer.json from which Python's `AutoTokenizer` learns what each special token is for.
//! Invariant: they name the tokens that the tokenizer itself uses.

use serde_json::{Map, Value, json};

use super::{ROLES, Tokenizer};

impl Tokenizer {
    /// The tokenizer_config.json of a tokenizer of ours; `tokens_max` counts `[CLS]` and `[SEP]`. A tokenizer that came
    /// with such a file keeps that one.
    pub fn config(&self, tokens_max: usize) -> Value {
        let mut config = self.special_tokens();
        config.extend([
            // The class that takes tokenizer.json as it is, whatever the model.
            ("tokenizer_class".into(), "PreTrainedTokenizerFast".into()),
            ("model_max_length".into(), tokens_max.into()),
            ("padding_side".into(), "right".into()),
            ("truncation_side".into(), "right".into()),
            // It would take out spaces before punctuation that the text has.
            ("clean_up_tokenization_spaces".into(), false.into()),
            (
                "model_input_names".into(),
                json!(["input_ids", "token_type_ids", "attention_mask"]),
            ),
        ]);
        Value::Object(config)
    }

    /// The special_tokens_map.json.
    pub fn special_tokens_map(&self) -> Value {
        Value::Object(self.special_tokens())
    }

    fn special_tokens(&self) -> Map<String, Value> {
        ROLES
            .iter()
            .zip(self.0.roles)
            .map(|(role, id)| (format!("{}_token", role.name), self.token(id).into()))
            .collect()
    }
}
