//! A network of states as operators, applied to both states of a transition.

use super::Misfit;
use super::graph::{Graph, Value};
use super::parts::{Number, Size, int};
use crate::model::TransitionSpec;
use crate::model::layers::EPSILON;
use crate::model::scale::LARGEST;

/// The embedding of transitions.
pub(super) fn embedding(graph: &mut Graph<'_>, spec: &TransitionSpec) -> Result<Value, Misfit> {
    let shape = [Size::Any("batch"), Size::Any("numbers")];
    let about = "finite numbers, `state_dims` at most; fewer are filled up with zeros";
    let [before, after] = ["state", "next_state"].map(|name| graph.input(name, Number::Float, &shape, about));
    let (before, after) = (features(graph, &before, spec)?, features(graph, &after, spec)?);
    let pair = graph.op_with("Concat", [&before, &after], [int("axis", 1)]); //      [B, 2D]
    Ok(graph.unit(&pair))
}

/// [B, any] to [B, D].
fn features(graph: &mut Graph<'_>, states: &Value, spec: &TransitionSpec) -> Result<Value, Misfit> {
    let (dims, none) = (graph.wholes(&[spec.state_dims.into()]), graph.wholes(&[0]));
    let width = graph.op_with("Shape", [states], [int("start", 1), int("end", 2)]);
    let missing = graph.op("Sub", [&dims, &width]);
    let missing = graph.op("Max", [&missing, &none]);
    let elsewhere = graph.wholes(&[0, 0, 0]);
    let pads = graph.op_with("Concat", [&elsewhere, &missing], [int("axis", 0)]);
    let zero = graph.float(0.0);
    let filled = graph.op("Pad", [states, &pads, &zero]);
    let along = graph.wholes(&[1]);
    let seen = graph.op("Slice", [&filled, &none, &dims, &along]); //                [B, S]

    let seen_dims = i64::from(spec.state_dims);
    let (weight, bias) = (
        graph.weight("scale.weight", &[seen_dims])?,
        graph.weight("scale.bias", &[seen_dims])?,
    );
    let (least, most) = (graph.float(-LARGEST as f32), graph.float(LARGEST as f32));
    let scaled = graph.op("Mul", [&seen, &weight]);
    let scaled = graph.op("Add", [&scaled, &bias]);
    let scaled = graph.op("Clip", [&scaled, &least, &most]);
    let mut x = graph.op("Asinh", [&scaled]);
    let (width, features) = (i64::from(spec.width), i64::from(spec.features));
    for (layer, sizes) in [[seen_dims, width], [width, width], [width, features]]
        .into_iter()
        .enumerate()
    {
        x = graph.dense(&x, &format!("layers.{layer}.linear"), sizes)?;
        x = graph.layer_norm(&x, &format!("layers.{layer}.norm"), sizes[1], EPSILON)?;
        if layer < 2 {
            x = graph.gelu(&x);
        }
    }
    Ok(x)
}
