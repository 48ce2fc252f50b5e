//! The room's promises: names, seeds, weights on disk, embeddings.

use std::process::Command;

use tch::nn::VarStore;

use super::*;
use crate::sample::ImageTile;

const TINY: EncoderSpec = EncoderSpec {
    architecture: Architecture::ResnetTiny,
    image_px: 64,
};

fn store(spec: &EncoderSpec, seed: u64) -> VarStore {
    let variables = VarStore::new(Device::Cpu);
    spec.build(&variables.root());
    initialise(&variables, seed).unwrap();
    variables
}

/// A picture that is a function of its number.
fn picture(width: u16, height: u16, number: u64) -> ImageTile {
    let mut rng = crate::rng::for_step(number, 0, 0);
    let rgb = (0..usize::from(width) * usize::from(height) * 3)
        .map(|_| crate::rng::below(&mut rng, 256) as u8)
        .collect();
    ImageTile { width, height, rgb }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn exported_weights_load_into_another_network_and_give_the_same_bytes() {
    for architecture in [Architecture::ResnetTiny, Architecture::Resnet18] {
        let spec = EncoderSpec { architecture, ..TINY };
        let bytes = weights::export(&store(&spec, 1)).unwrap();
        let other = store(&spec, 2);
        assert_ne!(weights::export(&other).unwrap(), bytes);
        weights::load_into(&other, &bytes).unwrap();
        assert_eq!(weights::export(&other).unwrap(), bytes);
    }
}

#[test]
fn weights_of_another_network_are_refused_and_change_nothing() {
    let resnet18 = EncoderSpec {
        architecture: Architecture::Resnet18,
        ..TINY
    };
    let variables = store(&TINY, 1);
    let before = weights::export(&variables).unwrap();
    let mut cut = before.clone();
    cut.truncate(before.len() - 1);
    for wrong in [
        weights::export(&store(&resnet18, 1)).unwrap(),
        cut,
        b"rubbish".to_vec(),
        Vec::new(),
    ] {
        assert!(weights::load_into(&variables, &wrong).is_err());
    }
    assert_eq!(weights::export(&variables).unwrap(), before);
}

#[test]
fn first_weights_are_a_function_of_the_seed_and_spread_as_pytorch_spreads_them() {
    let variables = store(&TINY, 7);
    assert_eq!(
        weights::export(&variables).unwrap(),
        weights::export(&store(&TINY, 7)).unwrap()
    );
    let named = variables.variables();
    let conv = &named["layer4.0.conv2.weight"];
    let fan_out = conv.size()[0] * 9;
    let (std, expected) = (conv.std(false).double_value(&[]), (2.0 / fan_out as f64).sqrt());
    assert!((std / expected - 1.0).abs() < 0.01, "{std} against {expected}");
    assert_eq!(named["layer1.0.bn1.weight"].min().double_value(&[]), 1.0);
    assert_eq!(named["layer1.0.bn1.bias"].abs().max().double_value(&[]), 0.0);
}

#[test]
fn an_embedding_has_unit_length_and_does_not_depend_on_its_neighbours() {
    let embedder = Embedder::random(&TINY, 0, Device::Cpu).unwrap();
    let pictures: Vec<_> = (0..7).map(|n| picture(40 + n, 64, u64::from(n))).collect();
    let all: Vec<&ImageTile> = pictures.iter().collect();
    let together = embedder.embed(&all).unwrap();
    assert_eq!(together.len(), 7 * embedder.dim());
    for (row, picture) in together.chunks(embedder.dim()).zip(&all) {
        assert!((row.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        let alone = embedder.embed(&[picture]).unwrap();
        assert!(cosine(row, &alone) > 0.999_999);
    }
    assert!(embedder.embed(&[]).unwrap().is_empty());
}

#[test]
fn auto_is_tiny_on_the_cpu_and_resnet18_on_cuda() {
    let config = LearningConfig::default();
    assert_eq!(EncoderSpec::resolve(&config, Device::Cpu), TINY);
    let cuda = EncoderSpec {
        architecture: Architecture::Resnet18,
        image_px: 224,
    };
    assert_eq!(EncoderSpec::resolve(&config, Device::Cuda(0)), cuda);
}

/// Needs `CURIOD_TEST_PYTHON`, a Python with timm.
#[test]
fn timm_loads_the_weights_and_gives_the_same_embeddings() {
    let Some(python) = std::env::var_os("CURIOD_TEST_PYTHON") else {
        eprintln!("skipped: CURIOD_TEST_PYTHON names no Python with timm");
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/timm_parity.py");
    for spec in [
        TINY,
        EncoderSpec {
            architecture: Architecture::Resnet18,
            image_px: 96,
        },
    ] {
        let dir = tempfile::tempdir().unwrap();
        let bytes = weights::export(&store(&spec, 3)).unwrap();
        std::fs::write(dir.path().join("model.safetensors"), &bytes).unwrap();
        std::fs::write(dir.path().join("config.json"), spec.timm_config().to_string()).unwrap();
        let pictures: Vec<_> = [(64, 64), (32, 32), (90, 70), (128, 200)]
            .iter()
            .zip(0..)
            .map(|(&(width, height), number)| picture(width, height, number))
            .collect();
        let mut command = Command::new(&python);
        command.arg(script).arg(dir.path());
        for (number, tile) in pictures.iter().enumerate() {
            let path = dir.path().join(format!("{number}.png"));
            image::RgbImage::from_raw(tile.width.into(), tile.height.into(), tile.rgb.clone())
                .unwrap()
                .save(&path)
                .unwrap();
            command.arg(path);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let theirs: Vec<Vec<f32>> = serde_json::from_slice(&output.stdout).unwrap();
        let embedder = Embedder::open(&spec, &bytes, Device::Cpu).unwrap();
        let ours = embedder.embed(&pictures.iter().collect::<Vec<_>>()).unwrap();
        for (ours, theirs) in ours.chunks(embedder.dim()).zip(&theirs) {
            let cosine = cosine(ours, theirs);
            assert!(cosine > 0.9999, "cosine {cosine}");
        }
    }
}
