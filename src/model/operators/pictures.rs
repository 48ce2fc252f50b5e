//! ResNets and ViTs as operators.

use super::Misfit;
use super::graph::{Graph, Value};
use super::parts::{Number, Size, float, int, ints};
use crate::model::layers::EPSILON;
use crate::model::resnet::{self, Kind, Norm, Stem};
use crate::model::spec::Plan;
use crate::model::{ImageSpec, vit};

/// The embedding of pictures.
pub(super) fn embedding(graph: &mut Graph<'_>, spec: &ImageSpec) -> Result<Value, Misfit> {
    let px = i64::from(spec.image_px);
    let shape = [Size::Any("batch"), Size::Fixed(3), Size::Fixed(px), Size::Fixed(px)];
    let about = "pictures, (red, green, blue): each level divided by 255, less `mean`, divided by `std`";
    let pixels = graph.input("pixel_values", Number::Float, &shape, about);
    let features = match spec.plan() {
        Plan::Resnet(plan) => resnet(graph, &plan, pixels, px)?,
        Plan::Vit(plan) => vit(graph, &plan, &pixels, spec.image_px)?,
    };
    Ok(graph.unit(&features))
}

/// A value that is a map: [N, channels, side, side].
#[derive(Clone)]
struct Map {
    value: Value,
    channels: i64,
    side: i64,
}

fn resnet(graph: &mut Graph<'_>, plan: &resnet::Plan, pixels: Value, px: i64) -> Result<Value, Misfit> {
    let mut map = Map {
        value: pixels,
        channels: 3,
        side: px,
    };
    let norm = plan.norm;
    let stem: &[(&str, &str, i64, i64, i64)] = match plan.stem {
        Stem::Plain => &[("conv1", "bn1", 64, 7, 2)],
        Stem::Deep { width } => &[
            ("conv1.0", "conv1.1", width, 3, 2),
            ("conv1.3", "conv1.4", width, 3, 1),
            ("conv1.6", "bn1", 2 * width, 3, 1),
        ],
    };
    for (conv, bn, channels, kernel, stride) in stem {
        map = conv_norm(graph, &map, (conv, bn), (*channels, *kernel, *stride), norm)?;
        map.value = graph.op("Relu", [&map.value]);
    }
    let settings = [
        ints("kernel_shape", &[3, 3]),
        ints("strides", &[2, 2]),
        ints("pads", &[1, 1, 1, 1]),
    ];
    map.value = graph.op_with("MaxPool", [&map.value], settings);
    map.side = (map.side - 1) / 2 + 1;
    for (stage, (count, channels)) in plan.layers.into_iter().zip(plan.channels).enumerate() {
        for index in 0..count {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            map = block(
                graph,
                plan,
                &map,
                &format!("layer{}.{index}", stage + 1),
                channels,
                stride,
            )?;
        }
    }
    Ok(graph.op_with("ReduceMean", [&map.value], [ints("axes", &[2, 3]), int("keepdims", 0)]))
}

/// Convolutions and a way around them.
fn block(
    graph: &mut Graph<'_>,
    plan: &resnet::Plan,
    x: &Map,
    path: &str,
    channels: i64,
    stride: i64,
) -> Result<Map, Misfit> {
    let outputs = plan.block.outputs(channels);
    let layers: &[(i64, i64, i64)] = match plan.block {
        Kind::Basic => &[(channels, 3, stride), (outputs, 3, 1)],
        Kind::Bottleneck => &[(channels, 1, 1), (channels, 3, stride), (outputs, 1, 1)],
    };
    let mut y = x.clone();
    for (at, layer) in layers.iter().enumerate() {
        let names = (format!("{path}.conv{}", at + 1), format!("{path}.bn{}", at + 1));
        y = conv_norm(graph, &y, (&names.0, &names.1), *layer, plan.norm)?;
        if at + 1 < layers.len() {
            y.value = graph.op("Relu", [&y.value]);
        }
    }
    let around = match stride != 1 || x.channels != outputs {
        true => {
            let names = (format!("{path}.downsample.0"), format!("{path}.downsample.1"));
            conv_norm(graph, x, (&names.0, &names.1), (outputs, 1, stride), plan.norm)?
        }
        false => x.clone(),
    };
    let sum = graph.op("Add", [&y.value, &around.value]);
    y.value = graph.op("Relu", [&sum]);
    Ok(y)
}

/// A convolution to so many channels, of this side and stride, and its norm.
fn conv_norm(
    graph: &mut Graph<'_>,
    x: &Map,
    (conv, bn): (&str, &str),
    (channels, kernel, stride): (i64, i64, i64),
    norm: Norm,
) -> Result<Map, Misfit> {
    let padding = kernel / 2;
    let weight = graph.weight(&format!("{conv}.weight"), &[channels, x.channels, kernel, kernel])?;
    let settings = [
        ints("kernel_shape", &[kernel, kernel]),
        ints("strides", &[stride, stride]),
        ints("pads", &[padding; 4]),
    ];
    let value = graph.op_with("Conv", [&x.value, &weight], settings);
    let side = (x.side + 2 * padding - kernel) / stride + 1;
    let map = Map { value, channels, side };
    let value = group_norm(graph, &map, bn, norm.groups())?;
    Ok(Map { value, ..map })
}

/// Group normalisation. ONNX's own came later than other runtimes are, and its first form was another norm: groups are instances of
/// one channel each here, as PyTorch writes them.
fn group_norm(graph: &mut Graph<'_>, x: &Map, path: &str, groups: i64) -> Result<Value, Misfit> {
    let (one_each, as_before) = (
        graph.wholes(&[0, groups, -1]),
        graph.wholes(&[0, x.channels, x.side, x.side]),
    );
    let (ones, zeros) = (
        graph.floats(&[groups], &vec![1.0; groups as usize]),
        graph.floats(&[groups], &vec![0.0; groups as usize]),
    );
    let grouped = graph.op("Reshape", [&x.value, &one_each]);
    let settings = [float("epsilon", resnet::EPSILON as f32)];
    let normed = graph.op_with("InstanceNormalization", [&grouped, &ones, &zeros], settings);
    let normed = graph.op("Reshape", [&normed, &as_before]);
    let weight = graph.channel_weight(&format!("{path}.weight"), x.channels)?;
    let bias = graph.channel_weight(&format!("{path}.bias"), x.channels)?;
    let scaled = graph.op("Mul", [&normed, &weight]);
    Ok(graph.op("Add", [&scaled, &bias]))
}

fn vit(graph: &mut Graph<'_>, plan: &vit::Plan, pixels: &Value, px: u32) -> Result<Value, Misfit> {
    let (dim, patch_px) = (plan.dim, i64::from(vit::patch_px(px)));
    let count = (i64::from(px) / patch_px).pow(2);
    let (weight, bias) = (
        graph.weight("patch_embed.proj.weight", &[dim, 3, patch_px, patch_px])?,
        graph.weight("patch_embed.proj.bias", &[dim])?,
    );
    let settings = [
        ints("kernel_shape", &[patch_px, patch_px]),
        ints("strides", &[patch_px, patch_px]),
    ];
    let cut = graph.op_with("Conv", [pixels, &weight, &bias], settings);
    let in_a_row = graph.wholes(&[0, dim, count]);
    let patches = graph.op("Reshape", [&cut, &in_a_row]);
    let patches = graph.op_with("Transpose", [&patches], [ints("perm", &[0, 2, 1])]); // [B, N, D]

    // The class token has the first place.
    let class = graph.weight("cls_token", &[1, 1, dim])?;
    let places = graph.weight("pos_embed", &[1, 1 + count, dim])?;
    let batch = graph.op_with("Shape", [&patches], [int("start", 0), int("end", 1)]);
    let rest = graph.wholes(&[1, dim]);
    let each = graph.op_with("Concat", [&batch, &rest], [int("axis", 0)]);
    let class = graph.op("Expand", [&class, &each]);
    let x = graph.op_with("Concat", [&class, &patches], [int("axis", 1)]);
    let mut x = graph.op("Add", [&x, &places]); //                                    [B, 1 + N, D]
    for index in 0..vit::DEPTH {
        x = graph.block(&x, &format!("blocks.{index}"), plan.heads, dim, None)?;
    }
    let x = graph.layer_norm(&x, "norm", dim, EPSILON)?;
    let (from, to, over_tokens) = (graph.wholes(&[1]), graph.wholes(&[1 + count]), graph.wholes(&[1]));
    let patches = graph.op("Slice", [&x, &from, &to, &over_tokens]);
    Ok(graph.op_with("ReduceMean", [&patches], [ints("axes", &[1]), int("keepdims", 0)]))
}
