//! A BERT as operators: over all places, padding included.

use super::Misfit;
use super::graph::{Graph, Value};
use super::parts::{Number, Size, int, to};
use crate::model::TextSpec;

/// The embedding of texts.
pub(super) fn embedding(graph: &mut Graph<'_>, spec: &TextSpec) -> Result<Value, Misfit> {
    let (plan, dim, wide) = (&spec.bert, spec.bert.hidden, spec.bert.intermediate);
    let epsilon = plan.layer_norm_eps;
    let shape = [Size::Any("batch"), Size::Any("tokens")];
    let ids = graph.input(
        "input_ids",
        Number::Whole,
        &shape,
        "token ids by `tokenizer.json`, `tokens_max` at most",
    );
    let mask = graph.input(
        "attention_mask",
        Number::Whole,
        &shape,
        "1 where there is a token, 0 in padding",
    );
    let mask = graph.op_with("Cast", [&mask], [to(Number::Float)]);
    let penalty = graph.penalty(&mask);

    let words = graph.weight("embeddings.word_embeddings.weight", &[plan.vocab, dim])?;
    let places = graph.weight("embeddings.position_embeddings.weight", &[plan.positions, dim])?;
    let types = graph.weight("embeddings.token_type_embeddings.weight", &[plan.types, dim])?;
    let (zero, along) = (graph.wholes(&[0]), graph.wholes(&[0]));
    let length = graph.op_with("Shape", [&ids], [int("start", 1), int("end", 2)]);
    let places = graph.op("Slice", [&places, &zero, &length, &along]); //             [T, H]
    let first = graph.whole(0);
    // Every token is of the first text: there is one.
    let kind = graph.op("Gather", [&types, &first]); //                               [H]
    let x = graph.op("Gather", [&words, &ids]);
    let x = graph.op("Add", [&x, &places]);
    let x = graph.op("Add", [&x, &kind]);
    let mut x = graph.layer_norm(&x, "embeddings.LayerNorm", dim, epsilon)?;
    for index in 0..plan.layers {
        let path = format!("encoder.layer.{index}");
        let [q, k, v] = ["query", "key", "value"].map(|name| {
            let path = format!("{path}.attention.self.{name}");
            graph.dense(&x, &path, [dim, dim])
        });
        let mixed = graph.attention([&q?, &k?, &v?], plan.heads, dim, Some(&penalty));
        let attended = graph.dense(&mixed, &format!("{path}.attention.output.dense"), [dim, dim])?;
        let sum = graph.op("Add", [&attended, &x]);
        let norm = format!("{path}.attention.output.LayerNorm");
        let seen = graph.layer_norm(&sum, &norm, dim, epsilon)?;
        let inner = graph.dense(&seen, &format!("{path}.intermediate.dense"), [dim, wide])?;
        let inner = graph.gelu(&inner);
        let narrow = graph.dense(&inner, &format!("{path}.output.dense"), [wide, dim])?;
        let sum = graph.op("Add", [&narrow, &seen]);
        x = graph.layer_norm(&sum, &format!("{path}.output.LayerNorm"), dim, epsilon)?;
    }
    let mean = graph.mean_of(&x, &mask);
    Ok(graph.unit(&mean))
}
