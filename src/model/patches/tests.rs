//! The patch transformer against its promises: neighbours and padding change nothing, and every variable learns.

use tch::nn::VarStore;

use super::*;
use crate::model::{Embedder, EncoderSpec, Filler, ModelError, PatchRow, initialise, weights};
use crate::sample::{Content, ImageTile, Window};

const SPEC: SeriesSpec = SeriesSpec {
    patch_steps: 8,
    channels_max: 4,
    hidden: 32,
    layers: 2,
    heads: 4,
};

fn window(channels: u16, steps: usize, number: f64) -> Window {
    let value = |at: usize| 3.0 * number + (at as f64 * (0.2 + 0.05 * number)).sin();
    Window {
        channels,
        values: (0..usize::from(channels) * steps).map(value).collect(),
        start: 0,
        time: None,
    }
}

fn embedder() -> Embedder {
    Embedder::random(&EncoderSpec::Series(SPEC), None, 3, Device::Cpu).unwrap()
}

fn with_decoder() -> Embedder {
    let heads = VarStore::new(Device::Cpu);
    PatchHead::new(&heads.root(), &SPEC);
    initialise(&heads, 3).unwrap();
    embedder().with_decoder(&weights::export(&heads).unwrap()).unwrap()
}

#[test]
fn an_embedding_of_a_window_has_unit_length_and_does_not_depend_on_its_neighbours() {
    let mut windows: Vec<_> = (1u16..6)
        .map(|n| window(n, 30 * usize::from(n), f64::from(n)))
        .collect();
    windows[2].values[10..40].fill(f64::NAN);
    let samples: Vec<Content> = windows.into_iter().map(Content::Series).collect();
    let (embedder, all) = (embedder(), samples.iter().collect::<Vec<_>>());
    let together = embedder.embed(&all).unwrap();
    for (row, sample) in together.chunks(embedder.dim()).zip(&all) {
        let alone = embedder.embed(&[sample]).unwrap();
        let cosine: f32 = row.iter().zip(&alone).map(|(x, y)| x * y).sum();
        assert!((cosine - 1.0).abs() < 1e-5, "{cosine}");
    }
    assert!(embedder.embed(&[]).unwrap().is_empty());
}

#[test]
fn windows_that_are_constant_huge_or_nearly_empty_have_finite_features_and_pictures_are_refused() {
    let of = |value: fn(usize) -> f64| {
        Content::Series(Window {
            values: (0..120).map(value).collect(),
            ..window(2, 60, 0.0)
        })
    };
    let samples = [
        of(|_| 4.0),
        of(|at| if at % 2 == 0 { 1e300 } else { -1e300 }),
        of(|at| if at == 70 { 1.0 } else { f64::NAN }),
    ];
    let rows = embedder().embed(&samples.iter().collect::<Vec<_>>()).unwrap();
    assert!(rows.iter().all(|number| number.is_finite()));
    let picture = Content::Image(ImageTile {
        width: 1,
        height: 1,
        rgb: vec![0; 3],
    });
    assert!(matches!(
        embedder().embed(&[&picture]),
        Err(ModelError::OtherInput { .. })
    ));
}

#[test]
fn a_gradient_reaches_every_variable_of_the_network_and_of_its_head() {
    let variables = VarStore::new(Device::Cpu);
    let network = PatchTransformer::new(&variables.root(), &SPEC);
    let head = PatchHead::new(&variables.root(), &SPEC);
    initialise(&variables, 1).unwrap();
    let rows = [
        PatchRow::new(&window(5, 64, 1.0), &SPEC, |_, patch| patch > 5),
        PatchRow::new(&window(2, 40, 2.0), &SPEC, |_, patch| patch == 0),
    ];
    let padded = PaddedPatches::new(&rows.iter().collect::<Vec<_>>(), &SPEC);
    let states = network.hidden(&Patches::on(Device::Cpu, &padded).unwrap());
    let places = Tensor::from_slice(&padded.filled.hidden_places());
    head.guesses(&states, &places).square().sum(Kind::Float).backward();
    for (name, variable) in variables.variables() {
        let gradient = variable.grad();
        assert!(gradient.defined(), "{name}");
        let most = gradient.abs().max().double_value(&[]);
        assert!(most > 0.0 && most.is_finite(), "{name}: {most}");
    }
}

#[test]
fn a_forecast_is_in_the_windows_units_and_sees_nothing_of_what_it_forecasts() {
    let embedder = with_decoder();
    let (known, short) = (window(3, 64, 2.0), window(1, 8, 1.0));
    let mut unknown = known.clone();
    for channel in 0..3 {
        unknown.values[channel * 64 + 54..(channel + 1) * 64].fill(f64::NAN);
    }
    let forecasts = embedder.forecast(&[&known, &short, &unknown], 10).unwrap().unwrap();
    assert_eq!(forecasts[1], None);
    let (one, other) = (forecasts[0].as_ref().unwrap(), forecasts[2].as_ref().unwrap());
    assert_eq!(one.expected, other.expected);
    assert_eq!((one.expected.len(), one.errors.len()), (30, 30));
    // The waves are around 6, an untrained guess within a few deviations of it.
    assert!(one.expected.iter().all(|value| (1.0..11.0).contains(value)), "{one:?}");
    assert!(one.errors.iter().all(|error| (0.0..=25.0).contains(error)));
    assert!(other.errors.iter().all(|error| error.is_nan()));
    assert!(one.compared(&known, None).is_some() && other.compared(&unknown, None).is_none());
    assert_eq!(self::embedder().forecast(&[&known], 10).unwrap(), None);
}

#[test]
fn the_heads_beside_an_encoder_are_those_that_are_published() {
    let variables = VarStore::new(Device::Cpu);
    assert!(matches!(
        Filler::new(&variables.root(), &EncoderSpec::Series(SPEC)),
        Filler::Patches(_)
    ));
    let mut names: Vec<_> = variables.variables().into_keys().collect();
    names.sort();
    assert!(names.iter().all(|name| name.starts_with("patch_head.")), "{names:?}");
}
