//! What stands beside a BERT's weights, so that `sentence_transformers.SentenceTransformer(dir)` and
//! `transformers.AutoModel.from_pretrained(dir)` give the vectors that the daemon gives.

use serde_json::{Value, json};

use crate::model::TextSpec;
use crate::model::text::Tokenizer;

/// The vocabulary.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// How the tokens' features become the text's.
pub const POOLING_FILE: &str = "1_Pooling/config.json";

/// The files beside weights and `config.json`, by their names in the generation's folder.
pub(super) fn files(spec: &TextSpec, tokenizer: &Tokenizer) -> Vec<(&'static str, Vec<u8>)> {
    let tokens_max = spec.tokens_max as usize;
    let module = |at: u32, path: &str, kind: &str| json!({ "idx": at, "name": at.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}") });
    let modules = json!([
        module(0, "", "Transformer"),
        module(1, "1_Pooling", "Pooling"),
        module(2, "2_Normalize", "Normalize"),
    ]);
    let pooling = json!({
        "word_embedding_dimension": spec.bert.hidden,
        "pooling_mode_cls_token": false,
        "pooling_mode_mean_tokens": true,
        "pooling_mode_max_tokens": false,
        "pooling_mode_mean_sqrt_len_tokens": false,
    });
    let of = |value: Value| format!("{value:#}\n").into_bytes();
    vec![
        (TOKENIZER_FILE, tokenizer.json().to_vec()),
        ("tokenizer_config.json", of(tokenizer.config(tokens_max))),
        ("special_tokens_map.json", of(tokenizer.special_tokens_map())),
        ("modules.json", of(modules)),
        (
            "sentence_bert_config.json",
            of(json!({ "max_seq_length": tokens_max, "do_lower_case": false })),
        ),
        (POOLING_FILE, of(pooling)),
    ]
}
