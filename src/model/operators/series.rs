//! The transformer over patches as operators, from the numbers of a series on: it cuts and normalises them as
//! [`cut`](crate::model::cut) does, in double precision.
//! Always true: what is missing reaches nothing, so that shorter windows of a batch may begin with steps that are.

use super::Misfit;
use super::graph::{Graph, Value};
use super::parts::{Number, Size, int, ints, to};
use crate::model::SeriesSpec;
use crate::model::cut::{FAR, SCALE_MAX, TOKENS_MAX};
use crate::model::layers::EPSILON;
use crate::model::patches::wave_rates;
use crate::sample::FLAT;

/// From this size on the logarithm of a number's double is its `asinh`: its square might be none.
const LARGE: f64 = 1e8;

/// The embedding of windows of series.
pub(super) fn embedding(graph: &mut Graph<'_>, spec: &SeriesSpec) -> Result<Value, Misfit> {
    let shape = [Size::Any("batch"), Size::Any("variables"), Size::Any("steps")];
    let about = "windows, the oldest step first; NaN where a number is missing";
    let series = graph.input("series", Number::Double, &shape, about);
    let dim = i64::from(spec.hidden);
    let steps = whole_patches(graph, &series, spec);
    let Cut { tokens, is_token } = cut(graph, &steps, spec);

    let seen = graph.dense(&tokens, "embed", [2 * i64::from(spec.patch_steps) + 2, dim])?; //                                     [N, C, K, H]
    let places = places(graph, &tokens, spec)?; //                                    [C, K, H]
    let x = graph.op("Add", [&seen, &places]);
    let in_a_row = graph.wholes(&[0, -1, dim]);
    let mut x = graph.op("Reshape", [&x, &in_a_row]); //                              [N, T, H]
    let all = graph.wholes(&[0, -1]);
    let mask = graph.op("Reshape", [&is_token, &all]); //                             [N, T]
    let penalty = graph.penalty(&mask);
    for index in 0..spec.layers {
        let path = format!("blocks.{index}");
        x = graph.block(&x, &path, spec.heads.into(), dim, Some(&penalty))?;
    }
    let x = graph.layer_norm(&x, "norm", dim, EPSILON)?;
    // Stands where a patch is hidden; here none is.
    graph.leave_out("mask_token", &[1, 1, dim])?;
    let mean = graph.mean_of(&x, &mask);
    Ok(graph.unit(&mean))
}

/// The newest patches and the first variables, as many as the network is shown: [N, C, steps], to [N, C', K * P]. What of the oldest
/// patch lies before the window is missing.
fn whole_patches(graph: &mut Graph<'_>, series: &Value, spec: &SeriesSpec) -> Value {
    let len = i64::from(spec.patch_steps);
    let (along_steps, along_variables) = (graph.wholes(&[2]), graph.wholes(&[1]));
    let (oldest, end) = (graph.wholes(&[-(TOKENS_MAX as i64) * len]), graph.wholes(&[i64::MAX]));
    let newest = graph.op("Slice", [series, &oldest, &end, &along_steps]);
    let (patch, elsewhere) = (graph.wholes(&[len]), graph.wholes(&[0, 0]));
    let behind = graph.wholes(&[0, 0, 0]);
    let steps = graph.op_with("Shape", [&newest], [int("start", 2), int("end", 3)]);
    // Of whole numbers `Mod` has the divisor's sign.
    let less = graph.op("Neg", [&steps]);
    let before = graph.op("Mod", [&less, &patch]);
    let pads = graph.op_with("Concat", [&elsewhere, &before, &behind], [int("axis", 0)]);
    let missing = graph.double(f64::NAN);
    let padded = graph.op("Pad", [&newest, &pads, &missing]);
    let steps = graph.op_with("Shape", [&padded], [int("start", 2), int("end", 3)]);
    let patches = graph.op("Div", [&steps, &patch]);
    let (none, most) = (graph.wholes(&[0]), graph.wholes(&[TOKENS_MAX as i64]));
    let variables = graph.op("Div", [&most, &patches]);
    graph.op("Slice", [&padded, &none, &variables, &along_variables])
}

/// Patches as tokens.
struct Cut {
    /// [N, C, K, 2P + 2]: numbers, whether they are there, and the scale of their variable.
    tokens: Value,
    /// [N, C, K]: 1 where a number of the patch is there, else 0.
    is_token: Value,
}

/// [N, C, K * P], normalised, to patches.
fn cut(graph: &mut Graph<'_>, steps: &Value, spec: &SeriesSpec) -> Cut {
    let to_double = || to(Number::Double);
    let (zero, one) = (graph.double(0.0), graph.double(1.0));
    let over_steps = graph.wholes(&[2]);
    let over = || [ints("axes", &[2]), int("keepdims", 1)];
    let kept = || [int("keepdims", 1)];

    // As `Window::normalised`: scaled first, for of numbers as large as a double can be neither a sum nor a square is one.
    let is_missing = graph.op("IsNaN", [steps]);
    let is_there = graph.op("Not", [&is_missing]);
    let there = graph.op_with("Cast", [&is_there], [to_double()]);
    let values = graph.op("Where", [&is_missing, &zero, steps]);
    let sizes = graph.op("Abs", [&values]);
    let largest = graph.op_with("ReduceMax", [&sizes], over());
    let varies = graph.op("Greater", [&largest, &zero]);
    let unit = graph.op("Where", [&varies, &largest, &one]); //                       [N, C, 1]
    let count = graph.op_with("ReduceSum", [&there, &over_steps], kept());
    let count = graph.op("Max", [&count, &one]);
    let scaled = graph.op("Div", [&values, &unit]);
    let shares = graph.op("Div", [&scaled, &count]);
    let mean = graph.op_with("ReduceSum", [&shares, &over_steps], kept());
    let off = graph.op("Sub", [&scaled, &mean]);
    let off = graph.op("Mul", [&off, &there]);
    let squares = graph.op("Mul", [&off, &off]);
    let shares = graph.op("Div", [&squares, &count]);
    let variance = graph.op_with("ReduceSum", [&shares, &over_steps], kept());
    let spread = graph.op("Sqrt", [&variance]);
    let (flat, least) = (graph.double(FLAT), graph.double(f64::MIN_POSITIVE));
    let size = graph.op("Abs", [&mean]);
    let size = graph.op("Max", [&size, &least]);
    let limit = graph.op("Mul", [&size, &flat]);
    let is_flat = graph.op("LessOrEqual", [&spread, &limit]);
    let divisor = graph.op("Where", [&is_flat, &one, &spread]);
    let normal = graph.op("Div", [&off, &divisor]);
    let normal = graph.op("Where", [&is_flat, &zero, &normal]);
    let normal = graph.op_with("Cast", [&normal], [to(Number::Float)]);
    let (nearest, farthest) = (graph.float(-FAR), graph.float(FAR));
    let normal = graph.op("Clip", [&normal, &nearest, &farthest]);
    let deviation = graph.op("Where", [&is_flat, &zero, &spread]);

    let mean = graph.op("Mul", [&mean, &unit]);
    let mean = asinh(graph, &mean);
    let mean = soft(graph, &mean);
    let deviation = graph.op("Mul", [&deviation, &unit]);
    let deviation = graph.op("Max", [&deviation, &least]);
    let deviation = graph.op("Log", [&deviation]);
    let deviation = soft(graph, &deviation);
    let scale = graph.op_with("Concat", [&mean, &deviation], [int("axis", 2)]); //    [N, C, 2]

    // A patch has its steps in a row: [N, C, K, P].
    let (batch, patch) = (
        graph.op_with("Shape", [steps], [int("start", 0), int("end", 2)]),
        graph.wholes(&[-1, spec.patch_steps.into()]),
    );
    let shape = graph.op_with("Concat", [&batch, &patch], [int("axis", 0)]);
    let normal = graph.op("Reshape", [&normal, &shape]);
    let there = graph.op_with("Cast", [&there], [to(Number::Float)]);
    let there = graph.op("Reshape", [&there, &shape]);
    let is_token = graph.op_with("ReduceMax", [&there], [ints("axes", &[3]), int("keepdims", 0)]);
    let scale = graph.op("Unsqueeze", [&scale, &over_steps]); //                      [N, C, 1, 2]
    let (grid, two) = (
        graph.op_with("Shape", [&there], [int("start", 0), int("end", 3)]),
        graph.wholes(&[2]),
    );
    let each = graph.op_with("Concat", [&grid, &two], [int("axis", 0)]);
    let scale = graph.op("Expand", [&scale, &each]);
    Cut {
        tokens: graph.op_with("Concat", [&normal, &there, &scale], [int("axis", 3)]),
        is_token,
    }
}

/// The inverse hyperbolic sine, in double precision.
fn asinh(graph: &mut Graph<'_>, x: &Value) -> Value {
    let (one, large, ln_2) = (
        graph.double(1.0),
        graph.double(LARGE),
        graph.double(std::f64::consts::LN_2),
    );
    let (sign, size) = (graph.op("Sign", [x]), graph.op("Abs", [x]));
    let is_large = graph.op("Greater", [&size, &large]);
    let near = graph.op("Min", [&size, &large]);
    let square = graph.op("Mul", [&near, &near]);
    let square = graph.op("Add", [&square, &one]);
    let root = graph.op("Sqrt", [&square]);
    let sum = graph.op("Add", [&near, &root]);
    let near = graph.op("Log", [&sum]);
    let far = graph.op("Max", [&size, &large]);
    let far = graph.op("Log", [&far]);
    let far = graph.op("Add", [&far, &ln_2]);
    let inverse = graph.op("Where", [&is_large, &far, &near]);
    graph.op("Mul", [&inverse, &sign])
}

/// A logarithm as a feature, as `cut` makes it: half of it where it is small, `SCALE_MAX` at most. float32.
fn soft(graph: &mut Graph<'_>, logarithm: &Value) -> Value {
    let (least, most) = (graph.double(f64::MIN_EXP.into()), graph.double(f64::MAX_EXP.into()));
    let (one, two, bound) = (graph.double(1.0), graph.double(2.0), graph.double(2.0 * SCALE_MAX));
    let logarithm = graph.op("Clip", [logarithm, &least, &most]);
    let half = graph.op("Div", [&logarithm, &two]);
    let size = graph.op("Abs", [&logarithm]);
    let size = graph.op("Div", [&size, &bound]);
    let bent = graph.op("Add", [&size, &one]);
    let soft = graph.op("Div", [&half, &bent]);
    graph.op_with("Cast", [&soft], [to(Number::Float)])
}

/// What each token begins as but its content: its variable's vector, and the sines and cosines of its place from the end.
fn places(graph: &mut Graph<'_>, tokens: &Value, spec: &SeriesSpec) -> Result<Value, Misfit> {
    let (zero, one, last) = (
        graph.whole(0),
        graph.whole(1),
        graph.whole(i64::from(spec.channels_max) - 1),
    );
    let table = graph.weight("channel_embed", &[1, spec.channels_max.into(), spec.hidden.into()])?;
    let (first, second) = (graph.wholes(&[0]), graph.wholes(&[1]));
    let table = graph.op("Squeeze", [&table, &first]);
    let count = |graph: &mut Graph<'_>, axis: i64| {
        let size = graph.op_with("Shape", [tokens], [int("start", axis), int("end", axis + 1)]);
        let first = graph.wholes(&[0]);
        graph.op("Squeeze", [&size, &first])
    };
    let variables = count(graph, 1);
    let variables = graph.op("Range", [&zero, &variables, &one]);
    let variables = graph.op("Min", [&variables, &last]);
    let variables = graph.op("Gather", [&table, &variables]);
    let variables = graph.op("Unsqueeze", [&variables, &second]); //                  [C, 1, H]

    let patches = count(graph, 2);
    let (newest, back) = (graph.op("Sub", [&patches, &one]), graph.whole(-1));
    let from_end = graph.op("Range", [&newest, &back, &back]);
    let from_end = graph.op_with("Cast", [&from_end], [to(Number::Float)]);
    let from_end = graph.op("Unsqueeze", [&from_end, &second]); //                    [K, 1]
    let rates = wave_rates(spec.hidden.into());
    let rates = graph.floats(&[rates.len() as i64], &rates);
    let angles = graph.op("Mul", [&from_end, &rates]);
    let (sines, cosines) = (graph.op("Sin", [&angles]), graph.op("Cos", [&angles]));
    let waves = graph.op_with("Concat", [&sines, &cosines], [int("axis", 1)]); //     [K, H]
    Ok(graph.op("Add", [&variables, &waves]))
}
