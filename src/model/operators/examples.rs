//! Networks and samples of every kind, and the embedder's vectors of them: what tests hold the files that are written to.

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use crate::config::LearningConfig;
use crate::model::bert::{BertPlan, TINY};
use crate::model::text::{self, Tokenizer};
use crate::model::{
    Architecture, Embedder, EncoderSpec, ImageSpec, PIXEL_MEAN, PIXEL_STD, Pretrained, SeriesSpec, TextSpec,
    TransitionSpec, initialise, weights,
};
use crate::rng;
use crate::sample::{Action, Content, ImageTile, Modality, Passage, Transition, Window};

pub(in crate::model) const IMAGES: [(Architecture, u32); 5] = [
    (Architecture::ResnetTiny, 64),
    (Architecture::Resnet18, 96),
    (Architecture::Resnet50, 65),
    (Architecture::VitTiny, 64),
    (Architecture::VitSmall, 112),
];

pub(in crate::model) const TEXT: EncoderSpec = EncoderSpec::Text(TextSpec {
    bert: BertPlan { vocab: 600, ..TINY },
    tokens_max: 32,
});

pub(in crate::model) const SERIES: EncoderSpec = EncoderSpec::Series(SeriesSpec {
    patch_steps: 8,
    channels_max: 3,
    hidden: 96,
    layers: 3,
    heads: 4,
});

pub(in crate::model) const TRANSITIONS: EncoderSpec = EncoderSpec::Transition(TransitionSpec {
    state_dims: 12,
    actions: 4,
    width: 128,
    features: 64,
});

pub(in crate::model) fn image((architecture, image_px): (Architecture, u32)) -> EncoderSpec {
    ImageSpec { architecture, image_px }.into()
}

/// A network of each kind.
pub(in crate::model) fn all() -> impl Iterator<Item = EncoderSpec> {
    IMAGES.into_iter().map(image).chain([TEXT, SERIES, TRANSITIONS])
}

/// Weights of which none is what it starts as, so that each matters.
pub(in crate::model) fn learnt(spec: &EncoderSpec) -> Vec<u8> {
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

/// A network, samples, and what the embedder makes of them.
pub(in crate::model) struct Example {
    pub(in crate::model) what: String,
    pub(in crate::model) spec: EncoderSpec,
    /// A `model.safetensors`.
    pub(in crate::model) bytes: Vec<u8>,
    /// The samples as the file's inputs: of each its `shape` and `data`, null where a number is missing.
    pub(in crate::model) inputs: Json,
    /// [N * D]
    pub(in crate::model) ours: Vec<f32>,
}

/// The vectors are the embedder's: of unit length, and in the same direction.
pub(in crate::model) fn agree(what: &str, ours: &[f32], theirs: &[Vec<f32>]) {
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
        println!("{what} {at}: {cosine:.8}");
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

pub(in crate::model) fn pictures() -> Vec<Example> {
    let of = |(kind, count): ((Architecture, u32), u64)| {
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
        Example {
            what: format!("{kind:?}"),
            spec,
            bytes,
            inputs,
            ours,
        }
    };
    IMAGES.into_iter().zip([5, 2, 2, 3, 1]).map(of).collect()
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

/// Together, and each alone, at its own length.
pub(in crate::model) fn texts() -> Vec<Example> {
    let texts = sentences();
    let tokenizer = Tokenizer::train(texts.iter().map(String::as_str), 400, true).unwrap();
    let bytes = learnt(&TEXT);
    let of = |texts: &[String]| Example {
        what: format!("BERT, {} texts", texts.len()),
        spec: TEXT,
        bytes: bytes.clone(),
        inputs: tokens(&tokenizer, texts, 32),
        ours: embedded(&TEXT, Some(&tokenizer), &bytes, &passages(texts)),
    };
    std::iter::once(texts.as_slice())
        .chain(texts.chunks(1))
        .map(of)
        .collect()
}

/// A sentence encoder that others published; None, after saying so, without `CURIOD_TEST_MINILM`: see
/// `minilm_embeds_texts_as_sentence_transformers_does`.
pub(in crate::model) fn minilm() -> Option<Example> {
    let Some(minilm) = std::env::var_os("CURIOD_TEST_MINILM").map(PathBuf::from) else {
        eprintln!("skipped: CURIOD_TEST_MINILM names no folder");
        return None;
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
    Some(Example {
        what: "MiniLM".to_owned(),
        inputs: tokens(tokenizer, &texts, 128),
        ours: embedded(&spec, Some(tokenizer), &bytes, &passages(&texts)),
        spec,
        bytes,
    })
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

/// With gaps, constants and numbers of any size; and a window longer than the network is shown.
pub(in crate::model) fn series() -> Vec<Example> {
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
    // More than the network is shown: the newest of it.
    let long = window(1, 8 * 2_048 + 77, &wave);
    let of = |what: &str, windows: &[Window]| {
        let samples: Vec<Content> = windows.iter().cloned().map(Content::Series).collect();
        Example {
            what: what.to_owned(),
            spec: SERIES,
            inputs: batch(windows),
            ours: embedded(&SERIES, None, &bytes, &samples),
            bytes: bytes.clone(),
        }
    };
    vec![
        of("together", &windows),
        of("long", &[long]),
        of("short", &windows[5..6]),
    ]
}

/// Shorter and longer than the network sees.
pub(in crate::model) fn transitions() -> Vec<Example> {
    let bytes = learnt(&TRANSITIONS);
    let of = |width: usize| {
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
        Example {
            what: format!("{width} numbers"),
            spec: TRANSITIONS,
            inputs,
            ours: embedded(&TRANSITIONS, None, &bytes, &samples),
            bytes: bytes.clone(),
        }
    };
    [2, 12, 15].into_iter().map(of).collect()
}
