//! The archive as libtorch reads it: each weight once and under its name, and the embedder's vectors for any number of samples.

use std::io::{Cursor, Read as _};

use serde_json::Value as Json;
use tch::{CModule, IndexOp, Kind, Tensor};
use zip::ZipArchive;

use super::*;
use crate::model::operators::examples::{self, Example, IMAGES, SERIES, agree, all, image, learnt};
use crate::model::operators::{Node, Set};
use crate::model::weights;

/// Rows that are the first of a batch are what they are alone.
const COUNTS: [i64; 4] = [1, 2, 3, 5];

fn opened(bytes: &[u8]) -> CModule {
    CModule::load_data(&mut Cursor::new(bytes)).unwrap()
}

/// The inputs of a network, in their order.
fn inputs(spec: &EncoderSpec, given: &Json) -> Vec<Tensor> {
    let names: &[(&str, Kind)] = match spec {
        EncoderSpec::Image(_) => &[("pixel_values", Kind::Float)],
        EncoderSpec::Text(_) => &[("input_ids", Kind::Int64), ("attention_mask", Kind::Int64)],
        EncoderSpec::Series(_) => &[("series", Kind::Double)],
        EncoderSpec::Transition(_) => &[("state", Kind::Float), ("next_state", Kind::Float)],
    };
    let tensor = |(name, kind): &(&str, Kind)| {
        let shape: Vec<i64> = serde_json::from_value(given[*name]["shape"].clone()).unwrap();
        let numbers = given[*name]["data"].as_array().unwrap().iter();
        let numbers: Vec<f64> = numbers.map(|number| number.as_f64().unwrap_or(f64::NAN)).collect();
        Tensor::from_slice(&numbers).view(shape.as_slice()).to_kind(*kind)
    };
    names.iter().map(tensor).collect()
}

/// Writes the archive of each, and asks it about all samples and about the first few.
fn check(examples: impl IntoIterator<Item = Example>) {
    for example in examples {
        let Example { what, spec, bytes, .. } = example;
        let module = opened(&torchscript(&spec, bytes, &[]).unwrap());
        let inputs = inputs(&spec, &example.inputs);
        let (all, dim) = (inputs[0].size()[0], spec.dim() as usize);
        for count in COUNTS.into_iter().filter(|count| *count < all).chain([all]) {
            let first: Vec<Tensor> = inputs.iter().map(|input| input.i(..count)).collect();
            let theirs = module.forward_ts(&first).unwrap();
            assert_eq!((theirs.size(), theirs.kind()), (vec![count, dim as i64], Kind::Float));
            assert!(!theirs.requires_grad(), "{what}");
            let theirs: Vec<Vec<f32>> = Vec::try_from(theirs).unwrap();
            agree(
                &format!("{what}, {count} of {all}"),
                &example.ours[..count as usize * dim],
                &theirs,
            );
        }
    }
}

#[test]
fn libtorch_gives_the_vectors_of_pictures() {
    check(examples::pictures());
}

#[test]
fn libtorch_gives_the_vectors_of_texts() {
    check(examples::texts());
}

#[test]
fn libtorch_gives_the_vectors_of_a_sentence_encoder_that_others_published() {
    check(examples::minilm());
}

#[test]
fn libtorch_gives_the_vectors_of_series_with_gaps_constants_and_numbers_of_any_size() {
    check(examples::series());
}

#[test]
fn libtorch_gives_the_vectors_of_transitions_shorter_and_longer_than_the_network_sees() {
    check(examples::transitions());
}

#[test]
fn a_modules_parameters_are_the_weights_each_once_and_under_its_name() {
    for spec in all() {
        let bytes = learnt(&spec);
        let weights = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let written = torchscript(&spec, bytes.clone(), &[]).unwrap();
        assert!(
            written.len() < bytes.len() + bytes.len() / 10 + 300_000,
            "{} of {}",
            written.len(),
            bytes.len()
        );
        let mut parameters = opened(&written).named_parameters().unwrap();
        parameters.sort_by(|a, b| a.0.cmp(&b.0));
        let mut names: Vec<&str> = weights.names();
        // Stands where a patch is hidden; whoever asks hides none.
        names.retain(|name| *name != "mask_token");
        names.sort_unstable();
        assert_eq!(
            parameters.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            names
        );
        for (name, parameter) in &parameters {
            let weight = weights.tensor(name).unwrap();
            let shape: Vec<usize> = parameter.size().iter().map(|size| *size as usize).collect();
            assert_eq!(shape, weight.shape(), "{name}");
            let numbers: Vec<f32> = Vec::try_from(parameter.reshape([-1])).unwrap();
            assert_eq!(numbers, weights::floats_of(weight.data()), "{name}");
        }
    }
}

#[test]
fn an_archive_says_what_it_is_and_its_weights_can_be_mapped() {
    for spec in all() {
        let written = torchscript(&spec, learnt(&spec), &[("stream", "pictures".to_owned())]).unwrap();
        assert_eq!(
            torchscript(&spec, learnt(&spec), &[("stream", "pictures".to_owned())]).unwrap(),
            written
        );
        let mut archive = ZipArchive::new(Cursor::new(&written)).unwrap();
        for place in 0..archive.len() {
            let entry = archive.by_index(place).unwrap();
            assert_eq!(entry.compressed_size(), entry.size());
            assert_eq!(entry.data_start().unwrap() % 64, 0, "{:?}", entry.name());
        }
        let mut about = String::new();
        archive
            .by_name("encoder/extra/about.json")
            .unwrap()
            .read_to_string(&mut about)
            .unwrap();
        let about: Json = serde_json::from_str(&about).unwrap();
        assert_eq!(about["stream"], "pictures");
        assert_eq!(about["modality"], spec.modality().to_string());
        assert!(about["input"].as_str().unwrap().len() > 40);
    }
}

#[test]
fn weights_of_another_network_are_refused_by_name() {
    let refused = torchscript(&image(IMAGES[1]), learnt(&image(IMAGES[0])), &[]).unwrap_err();
    assert!(
        refused.to_string().contains("the file lacks `conv1.weight`"),
        "{refused}"
    );
}

#[test]
fn an_operator_that_nobody_has_said_in_torchscript_is_refused_by_name() {
    let whole = operators(&SERIES, learnt(&SERIES)).unwrap();
    let refused = |change: &dyn Fn(&mut Node)| {
        let mut operators = whole.clone();
        operators.nodes.iter_mut().for_each(change);
        forward::forward(&operators).unwrap_err().to_string()
    };
    assert!(refused(&|node| node.kind = "Loop").contains("it is not known what Loop of"));
    assert!(refused(&|node| node.settings.clear()).contains("under []"));
    assert!(refused(&|node| node.inputs.clear()).contains(" of [] "));
    assert!(refused(&|node| node.settings = vec![("axis", Set::Float(0.5))]).contains("Float(0.5)"));
}
