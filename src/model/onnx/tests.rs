//! The file as others read it: whole, in order, and in onnxruntime's hands the embedder's vectors.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

use super::*;
use crate::model::operators::examples::{self, Example, IMAGES, SERIES, agree, all, image, learnt};
use crate::model::{Architecture, SeriesSpec};

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

/// Writes the file of each, and runs it.
fn check(examples: impl IntoIterator<Item = Example>) {
    let Some(python) = python() else { return };
    for Example {
        what,
        spec,
        bytes,
        inputs,
        ours,
    } in examples
    {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.onnx");
        std::fs::write(&file, onnx(&spec, bytes, &[], 1).unwrap()).unwrap();
        agree(&what, &ours, &run(&python, &file, &inputs));
    }
}

#[test]
fn onnxruntime_gives_the_vectors_of_pictures() {
    check(examples::pictures());
}

#[test]
fn onnxruntime_gives_the_vectors_of_texts() {
    check(examples::texts());
}

#[test]
fn onnxruntime_gives_the_vectors_of_a_sentence_encoder_that_others_published() {
    check(examples::minilm());
}

#[test]
fn onnxruntime_gives_the_vectors_of_series_with_gaps_constants_and_numbers_of_any_size() {
    check(examples::series());
}

#[test]
fn onnxruntime_gives_the_vectors_of_transitions_shorter_and_longer_than_the_network_sees() {
    check(examples::transitions());
}
