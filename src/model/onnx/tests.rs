//! The file as others read it: whole, in order, and in onnxruntime's hands the embedder's vectors.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::*;
use crate::config::LearningConfig;
use crate::model::bert::{BertPlan, TINY};
use crate::model::text::{self, Tokenizer};
use crate::model::{
    Architecture, Embedder, ImageSpec, Pretrained, SeriesSpec, TextSpec, TransitionSpec, initialise, weights,
};
use crate::rng;
use crate::sample::{Action, Content, ImageTile, Modality, Passage, Transition, Window};

const IMAGES: [(Architecture, u32); 5] = [
    (Architecture::ResnetTiny, 64),
    (Architecture::Resnet18, 96),
    (Architecture::Resnet50, 65),
    (Architecture::VitTiny, 64),
    (Architecture::VitSmall, 112),
];

const TEXT: EncoderSpec = EncoderSpec::Text(TextSpec {
    bert: BertPlan { vocab: 600, ..TINY },
    tokens_max: 32,
});

const SERIES: EncoderSpec = EncoderSpec::Series(SeriesSpec {
    patch_steps: 8,
    channels_max: 3,
    hidden: 96,
    layers: 3,
    heads: 4,
});

const TRANSITIONS: EncoderSpec = EncoderSpec::Transition(TransitionSpec {
    state_dims: 12,
    actions: 4,
    width: 128,
    features: 64,
});

fn image((architecture, image_px): (Architecture, u32)) -> EncoderSpec {
    ImageSpec { architecture, image_px }.into()
}

fn all() -> impl Iterator<Item = EncoderSpec> {
    IMAGES.into_iter().map(image).chain([TEXT, SERIES, TRANSITIONS])
}

/// Weights of which none is what it starts as, so that each matters.
fn learnt(spec: &EncoderSpec) -> Vec<u8> {
    let variables = VarStore::new(Device::Cpu);
    let _ = spec.build(&variables.root());
    initialise(&variables, 1).unwrap();
    let _no_grad = tch::no_grad_guard();
    let mut named: Vec<_> = variables.variables().into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    for (number, (_, mut variable)) in named.into_iter().enumerate() {
        let mut rng = rng::for_step(7, number as u64, 0);
        let noise: Vec<f32> = (0..variable.numel())
            .map(|_| 0.1 * rng::normal(&mut rng) as f32)
            .collect();
        let noise = Tensor::from_slice(&noise).view(variable.size().as_slice());
        let _ = variable.f_add_(&noise.to_kind(Kind::Float)).unwrap();
    }
    weights::export(&variables).unwrap()
}

fn written(spec: &EncoderSpec) -> Vec<u8> {
    let about = [("stream", "pictures".to_owned()), ("generation", "7".to_owned())];
    onnx(spec, learnt(spec), &about, 7).unwrap()
}

#[test]
fn a_file_that_is_read_back_is_whole_and_every_value_in_it_is_made_before_it_is_used() {
    for spec in all() {
        let model = Model::decode(written(&spec).as_slice()).unwrap();
        assert_eq!((model.ir_version, model.opset_import[0].version), (IR_VERSION, OPSET));
        assert_eq!((model.producer_name.as_str(), model.model_version), ("curiod", 7));
        let said = |key: &str| {
            let found = model.metadata_props.iter().find(|property| property.key == key);
            found.map(|property| property.value.as_str())
        };
        assert_eq!((said("stream"), said("generation")), (Some("pictures"), Some("7")));
        assert_eq!(said("modality"), Some(spec.modality().to_string().as_str()));
        assert!(said("input").is_some_and(|input| input.len() > 40));

        let graph = model.graph.unwrap();
        let mut there: BTreeSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
        for numbers in &graph.initializer {
            let each = if numbers.data_type == Number::Float.data_type() {
                4
            } else {
                8
            };
            let count = numbers.dims.iter().product::<i64>() as usize;
            assert_eq!(numbers.raw_data.len(), each * count, "{}", numbers.name);
            assert!(there.insert(&numbers.name), "{} is there twice", numbers.name);
        }
        for node in &graph.node {
            for input in &node.input {
                assert!(there.contains(input.as_str()), "{} wants {input}", node.name);
            }
            for output in &node.output {
                assert!(there.insert(output), "{output} is made twice");
            }
        }
        let shape = |info: &proto::ValueInfo| -> Vec<Json> {
            let tensor = info.r#type.clone().unwrap().tensor_type.unwrap();
            let dim = |dim: proto::Dim| json!(dim.dim_value.map_or(json!(dim.dim_param), |value| json!(value)));
            tensor.shape.unwrap().dim.into_iter().map(dim).collect()
        };
        let [output] = graph.output.as_slice() else {
            panic!("one output, not {:?}", graph.output)
        };
        assert_eq!(
            (output.name.as_str(), shape(output)),
            ("embedding", vec![json!("batch"), json!(spec.dim())])
        );
        let inputs: Vec<(&str, Vec<Json>)> = graph
            .input
            .iter()
            .map(|info| (info.name.as_str(), shape(info)))
            .collect();
        let expected = match &spec {
            EncoderSpec::Image(spec) => {
                json!([["pixel_values", ["batch", 3, spec.image_px, spec.image_px]]])
            }
            EncoderSpec::Text(_) => json!([
                ["input_ids", ["batch", "tokens"]],
                ["attention_mask", ["batch", "tokens"]]
            ]),
            EncoderSpec::Series(_) => json!([["series", ["batch", "variables", "steps"]]]),
            EncoderSpec::Transition(_) => {
                json!([["state", ["batch", "numbers"]], ["next_state", ["batch", "numbers"]]])
            }
        };
        assert_eq!(json!(inputs), expected);
    }
}

#[test]
fn weights_of_another_network_are_refused_by_name() {
    let tiny = image(IMAGES[0]);
    let refused = |spec: &EncoderSpec, bytes: Vec<u8>| onnx(spec, bytes, &[], 1).unwrap_err().to_string();
    let EncoderSpec::Series(series) = SERIES else { panic!() };
    let unbuilt = EncoderSpec::Series(SeriesSpec { heads: 0, ..series });
    assert!(refused(&unbuilt, learnt(&SERIES)).contains("no network is as"));
    assert!(refused(&image(IMAGES[1]), learnt(&tiny)).contains("the file lacks `conv1.weight`"));
    let whole = learnt(&tiny);
    for length in [0, 7, 8, 9, 500, whole.len() - 1] {
        assert!(
            refused(&tiny, whole[..length].to_vec()).contains("do not fit"),
            "{length} bytes"
        );
    }
    let shallow = EncoderSpec::Series(SeriesSpec { layers: 2, ..series });
    assert!(refused(&shallow, learnt(&SERIES)).contains("`blocks.2.attn.proj.bias` is unknown"));
    let small = image((Architecture::VitTiny, 32));
    assert!(refused(&small, learnt(&image(IMAGES[3]))).contains("pos_embed"));
}

#[test]
fn a_network_that_is_too_large_for_one_file_is_refused() {
    let spec = image(IMAGES[0]);
    let bytes = learnt(&spec);
    let whole = bounded(&spec, bytes.clone(), &[], 1, BYTES_MAX).unwrap();
    assert_eq!(bounded(&spec, bytes.clone(), &[], 1, whole.len()).unwrap(), whole);
    let refused = bounded(&spec, bytes, &[], 1, whole.len() - 1).unwrap_err();
    assert!(
        matches!(refused, OnnxError::TooLarge { bytes } if bytes == whole.len()),
        "{refused}"
    );
}

/// A Python with onnx and onnxruntime; None, after saying so, where `CURIOD_TEST_PYTHON` names none.
fn python() -> Option<OsString> {
    let python = std::env::var_os("CURIOD_TEST_PYTHON").filter(|python| {
        let tried = Command::new(python)
            .args(["-c", "import numpy, onnx, onnxruntime"])
            .output();
        tried.is_ok_and(|tried| tried.status.success())
    });
    if python.is_none() {
        eprintln!("skipped: CURIOD_TEST_PYTHON names no Python with onnx and onnxruntime");
    }
    python
}

/// What onnxruntime makes of these inputs.
fn run(python: &OsString, model: &Path, inputs: &Json) -> Vec<Vec<f32>> {
    let mut running = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/onnx_run.py"))
        .arg(model)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = running.stdin.take().unwrap();
    let text = inputs.to_string();
    let writing = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    writing.join().unwrap().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The vectors are the embedder's: of unit length, and in the same direction.
fn agree(what: &str, ours: &[f32], theirs: &[Vec<f32>]) {
    let dim = theirs[0].len();
    assert_eq!(ours.len(), theirs.len() * dim, "{what}");
    for (at, (ours, theirs)) in ours.chunks(dim).zip(theirs).enumerate() {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        assert!(
            (dot(theirs, theirs) - 1.0).abs() < 1e-4,
            "{what} {at}: {}",
            dot(theirs, theirs)
        );
        let cosine = dot(ours, theirs) / dot(ours, ours).sqrt() / dot(theirs, theirs).sqrt();
        assert!(cosine > 0.999_99, "{what} {at}: {cosine}");
    }
}

fn tensor(shape: &[usize], data: impl IntoIterator<Item = impl Into<Json>>) -> Json {
    json!({ "shape": shape, "data": data.into_iter().map(Into::into).collect::<Vec<Json>>() })
}

fn embedded(spec: &EncoderSpec, tokenizer: Option<&Tokenizer>, bytes: &[u8], samples: &[Content]) -> Vec<f32> {
    let embedder = Embedder::open(spec, tokenizer, bytes, Device::Cpu).unwrap();
    embedder.embed(&samples.iter().collect::<Vec<_>>()).unwrap()
}

/// Writes the file of these weights, and runs it.
fn check(what: &str, python: &OsString, spec: &EncoderSpec, bytes: Vec<u8>, inputs: &Json, ours: &[f32]) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.onnx");
    std::fs::write(&file, onnx(spec, bytes, &[], 1).unwrap()).unwrap();
    agree(what, ours, &run(python, &file, inputs));
}

#[test]
fn onnxruntime_gives_the_vectors_of_pictures() {
    let Some(python) = python() else { return };
    for (kind, count) in IMAGES.into_iter().zip([5, 2, 2, 3, 1]) {
        let (spec, px) = (image(kind), kind.1);
        let tile = |number: u64| {
            let mut rng = rng::for_step(number, 0, 0);
            let side = px as usize;
            let colours: Vec<usize> = (0..12).map(|_| rng::below(&mut rng, 256)).collect();
            let level = |at: usize| {
                let (place, channel) = (at / 3, at % 3);
                let (row, column) = (place / side, place % side);
                (colours[channel] + colours[3 + channel] * row / side + colours[6 + channel] * column / side) as u8
            };
            ImageTile {
                width: px as u16,
                height: px as u16,
                rgb: (0..side * side * 3).map(level).collect(),
            }
        };
        let tiles: Vec<ImageTile> = (0..count).map(tile).collect();
        let pixels = tiles.iter().flat_map(|tile| {
            let planes = (0..3).flat_map(|channel| tile.rgb.iter().skip(channel).step_by(3).map(move |v| (channel, v)));
            planes.map(|(channel, value)| (f32::from(*value) / 255.0 - PIXEL_MEAN[channel]) / PIXEL_STD[channel])
        });
        let side = px as usize;
        let inputs = json!({ "pixel_values": tensor(&[tiles.len(), 3, side, side], pixels) });
        let samples: Vec<Content> = tiles.iter().cloned().map(Content::Image).collect();
        let bytes = learnt(&spec);
        let ours = embedded(&spec, None, &bytes, &samples);
        check(&format!("{kind:?}"), &python, &spec, bytes, &inputs, &ours);
    }
}

/// Texts as rows of ids and a mask.
fn tokens(tokenizer: &Tokenizer, texts: &[String], tokens_max: usize) -> Json {
    let row = |text: &String| {
        let encoded = tokenizer.encode(text, tokens_max - text::SPECIALS_OF_ONE).unwrap();
        text::clean(tokenizer, &encoded, None)
    };
    let rows: Vec<_> = texts.iter().map(row).collect();
    let padded = text::pad(tokenizer, &rows, 1, tokens_max);
    let shape = [padded.rows, padded.columns];
    let mask = padded.mask.iter().map(|is_token| i64::from(*is_token));
    json!({ "input_ids": tensor(&shape, padded.ids.iter().copied()), "attention_mask": tensor(&shape, mask) })
}

fn passages(texts: &[String]) -> Vec<Content> {
    let of = |text: &String| {
        Content::Text(Passage {
            text: text.clone(),
            document: 0,
            part: 0,
        })
    };
    texts.iter().map(of).collect()
}

fn sentences() -> Vec<String> {
    let long = "The heron went to the river before the rain came. ".repeat(9);
    [
        "A cat.",
        "The dog number 7 sleeps in the barn.",
        "Un été à Paris \u{1f600}",
        &long,
    ]
    .map(str::to_owned)
    .into()
}

#[test]
fn onnxruntime_gives_the_vectors_of_texts() {
    let Some(python) = python() else { return };
    let texts = sentences();
    let tokenizer = Tokenizer::train(texts.iter().map(String::as_str), 400, true).unwrap();
    let (bytes, inputs) = (learnt(&TEXT), tokens(&tokenizer, &texts, 32));
    let ours = embedded(&TEXT, Some(&tokenizer), &bytes, &passages(&texts));
    check("bert", &python, &TEXT, bytes, &inputs, &ours);
}

/// Needs `CURIOD_TEST_MINILM` too: see `minilm_embeds_texts_as_sentence_transformers_does`.
#[test]
fn onnxruntime_gives_the_vectors_of_a_sentence_encoder_that_others_published() {
    let Some(python) = python() else { return };
    let Some(minilm) = std::env::var_os("CURIOD_TEST_MINILM").map(PathBuf::from) else {
        eprintln!("skipped: CURIOD_TEST_MINILM names no folder");
        return;
    };
    let config = LearningConfig {
        init: Some(minilm.clone()),
        ..LearningConfig::default()
    };
    let spec = EncoderSpec::resolve(Modality::Text, &config, Device::Cpu).unwrap();
    let pretrained = Pretrained::read(&minilm, &spec).unwrap();
    let variables = VarStore::new(Device::Cpu);
    let _ = spec.build(&variables.root());
    pretrained.load_into(&variables).unwrap();
    let bytes = weights::export(&variables).unwrap();
    let (texts, tokenizer) = (sentences(), pretrained.tokenizer().unwrap());
    let ours = embedded(&spec, Some(tokenizer), &bytes, &passages(&texts));
    let inputs = tokens(tokenizer, &texts, 128);
    check("MiniLM", &python, &spec, bytes, &inputs, &ours);
}

/// Windows of a batch as the file takes them: filled up before their first step, and with variables of nothing.
fn batch(windows: &[Window]) -> Json {
    let channels = windows.iter().map(|window| usize::from(window.channels)).max().unwrap();
    let steps = windows.iter().map(Window::steps).max().unwrap();
    let mut data = Vec::new();
    for window in windows {
        for channel in 0..channels {
            let own = window.channel(channel);
            data.extend(std::iter::repeat_n(Json::Null, steps - own.len()));
            data.extend(
                own.iter()
                    .map(|value| if value.is_nan() { Json::Null } else { json!(value) }),
            );
        }
    }
    json!({ "series": tensor(&[windows.len(), channels, steps], data) })
}

#[test]
fn onnxruntime_gives_the_vectors_of_series_with_gaps_constants_and_numbers_of_any_size() {
    let Some(python) = python() else { return };
    let window = |channels: u16, steps: usize, value: &dyn Fn(usize, usize) -> f64| Window {
        channels,
        values: (0..usize::from(channels))
            .flat_map(|channel| (0..steps).map(move |step| (channel, step)))
            .map(|(channel, step)| value(channel, step))
            .collect(),
        start: 0,
        time: None,
    };
    let wave = |channel: usize, step: usize| 3.0 * channel as f64 + (step as f64 * (0.2 + 0.1 * channel as f64)).sin();
    let gap = |channel: usize, step: usize| match step {
        9..30 => f64::NAN,
        _ => 1e-3 * wave(channel, step),
    };
    let windows = [
        window(1, 128, &wave),
        window(2, 101, &gap),
        // More variables than the network tells apart.
        window(5, 64, &wave),
        window(3, 40, &|channel, step| {
            [7.5, 1e300, -1e-300][channel] * if step == 20 { 1.5 } else { 1.0 }
        }),
        window(2, 50, &|channel, step| {
            [4.0, f64::MAX * (step as f64 / 25.0 - 1.0)][channel]
        }),
        window(1, 3, &wave),
        window(2, 24, &|channel, step| {
            if channel == 1 && step < 20 {
                f64::NAN
            } else {
                wave(0, step)
            }
        }),
    ];
    let bytes = learnt(&SERIES);
    let samples: Vec<Content> = windows.iter().cloned().map(Content::Series).collect();
    let ours = embedded(&SERIES, None, &bytes, &samples);
    check("together", &python, &SERIES, bytes.clone(), &batch(&windows), &ours);
    // More than the network is shown: the newest of it.
    let long = window(1, 8 * 2_048 + 77, &wave);
    let ours = embedded(&SERIES, None, &bytes, &[Content::Series(long.clone())]);
    check("long", &python, &SERIES, bytes, &batch(&[long]), &ours);
}

#[test]
fn onnxruntime_gives_the_vectors_of_transitions_shorter_and_longer_than_the_network_sees() {
    let Some(python) = python() else { return };
    let bytes = learnt(&TRANSITIONS);
    for width in [2usize, 12, 15] {
        let state = |number: usize| -> Vec<f32> {
            let of = |at: usize| ((number * 31 + at * 7) as f32).sin() * if at == 1 { 1e30 } else { 3.0 };
            (0..width).map(of).collect()
        };
        let transition = |number: usize| Transition {
            episode: 0,
            t: number as u64,
            state: state(number),
            action: Action::Discrete(0),
            next_state: state(number + 1),
        };
        let transitions: Vec<Transition> = (0..6).map(transition).collect();
        let side = |of: fn(&Transition) -> &Vec<f32>| {
            tensor(
                &[transitions.len(), width],
                transitions.iter().flat_map(|one| of(one).iter().copied()),
            )
        };
        let inputs = json!({ "state": side(|one| &one.state), "next_state": side(|one| &one.next_state) });
        let samples: Vec<Content> = transitions.iter().cloned().map(Content::Transition).collect();
        let ours = embedded(&TRANSITIONS, None, &bytes, &samples);
        check(
            &format!("{width} numbers"),
            &python,
            &TRANSITIONS,
            bytes.clone(),
            &inputs,
            &ours,
        );
    }
}
