//! Clients of the Open Inference Protocol, Triton's among them.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::site::{Answer, Site, base64, picture};
use super::world::{Stream, TEXTS, assert_same, assert_signed, native, vectors};
use crate::sample::Modality;
use crate::serve::fuzzing::infer;

/// A tensor of bytes: each element after its length.
fn tensor(elements: &[&[u8]]) -> Vec<u8> {
    let each = elements.iter().flat_map(|element| {
        let length = (element.len() as u32).to_le_bytes();
        length.into_iter().chain(element.iter().copied())
    });
    each.collect()
}

/// A request with bytes after its JSON, as Triton's client sends it: without a type.
fn send(site: &Site, model: &str, json: &Value, raw: &[u8]) -> Answer {
    let json = json.to_string();
    send_packed(site, model, json.len(), "", &[json.as_bytes(), raw].concat())
}

fn send_packed(site: &Site, model: &str, json_bytes: usize, more: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "POST /v2/models/{model}/infer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}Inference-Header-Content-Length: {json_bytes}\r\nContent-Length: {length}\r\n\r\n"
    );
    site.send(&head, body)
}

fn post(site: &Site, model: &str, json: &Value) -> Answer {
    site.post(&format!("/v2/models/{model}/infer"), json)
}

fn refusal(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    let json = answer.json();
    assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
    json["error"].as_str().unwrap().to_owned()
}

/// The vectors of an answer in JSON.
fn in_json(answer: &Answer) -> Vec<Vec<f32>> {
    let output = answer.json()["outputs"][0].clone();
    assert_eq!(
        (&output["name"], &output["datatype"]),
        (&json!("embedding"), &json!("FP32"))
    );
    let numbers = vectors([&output["data"]]).remove(0);
    let dim = output["shape"][1].as_u64().unwrap() as usize;
    assert_eq!(output["shape"][0].as_u64().unwrap() as usize * dim, numbers.len());
    numbers.chunks_exact(dim).map(<[f32]>::to_vec).collect()
}

/// The vectors of an answer in bytes, and its JSON.
fn in_bytes(answer: &Answer) -> (Vec<Vec<f32>>, Value) {
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream"),
        "{answer:?}"
    );
    let json_bytes: usize = answer
        .header("inference-header-content-length")
        .unwrap()
        .parse()
        .unwrap();
    let (json, raw) = answer.body.split_at(json_bytes);
    let json: Value = serde_json::from_slice(json).unwrap();
    let output = &json["outputs"][0];
    assert!(output.get("data").is_none());
    assert_eq!(output["parameters"]["binary_data_size"], raw.len());
    let numbers: Vec<f32> = raw
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    let dim = output["shape"][1].as_u64().unwrap() as usize;
    (numbers.chunks_exact(dim).map(<[f32]>::to_vec).collect(), json)
}

#[test]
fn texts_in_json_and_in_bytes_give_the_native_vectors_in_json_and_in_bytes() {
    let site = Site::new();
    let _texts = Stream::of_texts(&site, "texts");
    let expected = native(&site, "texts", Modality::Text, json!(TEXTS));
    let input = json!({ "name": "texts", "datatype": "BYTES", "shape": [3], "data": TEXTS });
    let answer = post(&site, "texts", &json!({ "id": "7", "inputs": [input] }));
    assert_signed(&answer, "1");
    assert_same(&in_json(&answer), &expected);
    let json = answer.json();
    assert_eq!(
        (&json["id"], &json["model_name"], &json["model_version"]),
        (&json!("7"), &json!("texts"), &json!("1"))
    );

    let raw = tensor(&TEXTS.map(str::as_bytes));
    // Triton's models of batches have a second side.
    for shape in [json!([3]), json!([3, 1])] {
        let input = json!({ "name": "texts", "datatype": "BYTES", "shape": shape, "parameters": { "binary_data_size": raw.len() } });
        let all = json!({ "inputs": [input], "parameters": { "binary_data_output": true, "priority": 1 } });
        let answer = send(&site, "texts", &all, &raw);
        assert_signed(&answer, "1");
        assert_same(&in_bytes(&answer).0, &expected);
        let own =
            json!({ "inputs": [input], "outputs": [{ "name": "embedding", "parameters": { "binary_data": true } }] });
        assert_same(&in_bytes(&send(&site, "texts%40stable", &own, &raw)).0, &expected);
        let mixed = json!({
            "inputs": [input],
            "parameters": { "binary_data_output": true },
            "outputs": [{ "name": "embedding", "parameters": { "binary_data": false } }],
        });
        assert_same(&in_json(&send(&site, "texts/versions/1", &mixed, &raw)), &expected);
    }
}

#[test]
fn pictures_come_as_their_files_and_series_as_numbers() {
    let site = Site::new();
    site.insert(0..3);
    site.wait_for(site.publish(1), 3);
    let _series = Stream::of_series(&site, "series");
    let files = [picture(1), picture(2)];
    let expected = native(
        &site,
        "pictures",
        Modality::Image,
        json!([base64(&files[0]), base64(&files[1])]),
    );
    let raw = tensor(&[&files[0], &files[1]]);
    let input =
        json!({ "name": "images", "datatype": "BYTES", "shape": [2], "parameters": { "binary_data_size": raw.len() } });
    let answer = send(&site, "pictures", &json!({ "inputs": [input] }), &raw);
    assert_same(&in_json(&answer), &expected);
    let input = json!({ "name": "images", "datatype": "BYTES", "shape": [2], "data": [base64(&files[0]), format!("data:image/png;base64,{}", base64(&files[1]))] });
    assert_same(
        &in_json(&post(&site, "pictures", &json!({ "inputs": [input] }))),
        &expected,
    );

    // Two series of two variables; a number of one is missing.
    let said = json!([[[1, 2.5, 0.1, 4], [5, null, 7, 1]], [[0, 1, 0, 1], [3, 2, 1, 0]]]);
    let expected = native(
        &site,
        "series",
        Modality::Series,
        json!([
            [[1, 2.5, f64::from(0.1f32), 4], [5, null, 7, 1]],
            [[0, 1, 0, 1], [3, 2, 1, 0]],
        ]),
    );
    let input = json!({ "name": "series", "datatype": "FP32", "shape": [2, 2, 4], "data": said });
    assert_same(
        &in_json(&post(&site, "series", &json!({ "inputs": [input] }))),
        &expected,
    );
    let numbers = [
        1.0,
        2.5,
        0.1,
        4.0,
        5.0,
        f32::NAN,
        7.0,
        1.0,
        0.0,
        1.0,
        0.0,
        1.0,
        3.0,
        2.0,
        1.0,
        0.0,
    ];
    let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let input =
        json!({ "name": "series", "datatype": "FP32", "shape": [2, 2, 4], "parameters": { "binary_data_size": 64 } });
    let answer = send(
        &site,
        "series",
        &json!({ "inputs": [input], "parameters": { "binary_data_output": true } }),
        &raw,
    );
    assert_same(&in_bytes(&answer).0, &expected);
    // One variable needs no side of its own.
    let alone = native(&site, "series", Modality::Series, json!([[1, 2, 3, 5]]));
    let raw: Vec<u8> = [1f64, 2.0, 3.0, 5.0]
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    let input =
        json!({ "name": "series", "datatype": "FP64", "shape": [1, 4], "parameters": { "binary_data_size": 32 } });
    assert_same(
        &in_json(&send(&site, "series", &json!({ "inputs": [input] }), &raw)),
        &alone,
    );
}

#[test]
fn sizes_that_lie_are_refused() {
    let site = Site::new();
    let _texts = Stream::of_texts(&site, "texts");
    let _series = Stream::of_series(&site, "series");
    let raw = tensor(&[b"one", b"two"]);
    let of = |shape: Value, size: Value| json!({ "inputs": [{ "name": "texts", "datatype": "BYTES", "shape": shape, "parameters": { "binary_data_size": size } }] });
    for (json, raw, says) in [
        (of(json!([2]), json!(15)), &raw[..], "14 are left"),
        (of(json!([2]), json!(u64::MAX)), &raw, "14 are left"),
        (of(json!([2]), json!(7)), &raw, "7 bytes after the JSON"),
        (of(json!([3]), json!(14)), &raw, "3 elements"),
        (of(json!([1]), json!(14)), &raw, "1 elements"),
        (of(json!([2, 0]), json!(14)), &raw, "shape"),
        (of(json!([]), json!(14)), &raw, "shape"),
        (of(json!([1, 2]), json!(14)), &raw, "shape"),
        (of(json!([1u64 << 63, 4]), json!(14)), &raw, "shape"),
        (of(json!([1]), json!(5)), &[255, 255, 255, 255, 0], "1 elements"),
        (of(json!([1]), json!(6)), &[2, 0, 0, 0, 255, 254], "no text"),
        (of(json!([2]), Value::Null), &[], "2 elements"),
    ] {
        let answer = send(&site, "texts", &json, raw);
        let error = refusal(&answer);
        assert!(answer.status == 400 && error.contains(says), "{json}: {answer:?}");
    }
    let both = json!({ "inputs": [{ "name": "texts", "datatype": "BYTES", "shape": [2], "data": ["a", "b"], "parameters": { "binary_data_size": 14 } }] });
    assert!(refusal(&send(&site, "texts", &both, &raw)).contains("and `binary_data_size`"));
    let numbers = json!({ "inputs": [{ "name": "series", "datatype": "FP32", "shape": [1, 4], "parameters": { "binary_data_size": 15 } }] });
    assert!(refusal(&send(&site, "series", &numbers, &[0; 15])).contains("4 elements"));
    // The JSON is told to be longer than the body, cut off, or nothing that is a number.
    let text = of(json!([2]), json!(14)).to_string();
    let body = [text.as_bytes(), &raw].concat();
    for told in [body.len() + 1, text.len() - 1, 0] {
        assert_eq!(send_packed(&site, "texts", told, "", &body).status, 400, "{told}");
    }
    let more = "Inference-Header-Content-Length: many\r\n";
    assert_eq!(send_packed(&site, "texts", text.len(), more, &body).status, 400);
    assert_eq!(send_packed(&site, "texts", text.len(), "", &body).status, 200);
}

#[test]
fn what_a_model_does_not_take_is_named() {
    let site = Site::new();
    let _texts = Stream::of_texts(&site, "texts");
    let input = |name: &str, datatype: &str, shape: Value, data: Value| json!({ "name": name, "datatype": datatype, "shape": shape, "data": data });
    let good = input("texts", "BYTES", json!([1]), json!(["a"]));
    for (json, says) in [
        (json!({ "inputs": [] }), "takes one input"),
        (json!({ "inputs": [good, good] }), "at most 1"),
        (
            json!({ "inputs": [input("texts", "BYTES", json!([1, 1, 1, 1, 1]), json!(["a"]))] }),
            "at most 4",
        ),
        (
            json!({ "inputs": [input("images", "BYTES", json!([1]), json!(["a"]))] }),
            "`images`",
        ),
        (
            json!({ "inputs": [input("texts", "FP32", json!([1]), json!([1]))] }),
            "FP32",
        ),
        (
            json!({ "inputs": [input("texts", "BYTES", json!([2]), json!(["a"]))] }),
            "2 elements",
        ),
        (
            json!({ "inputs": [input("texts", "BYTES", json!([2]), json!(["a", 1]))] }),
            "texts and numbers",
        ),
        (
            json!({ "inputs": [input("texts", "BYTES", json!([1]), json!([" "]))] }),
            "item 0",
        ),
        (
            json!({ "inputs": [good], "outputs": [{ "name": "logits" }] }),
            "`embedding`",
        ),
        (json!({ "outputs": [] }), "inputs"),
    ] {
        let answer = post(&site, "texts", &json);
        let error = refusal(&answer);
        assert!(answer.status == 400 && error.contains(says), "{json}: {error}");
    }
    let good = json!({ "inputs": [good] });
    for (model, status) in [
        ("nobody", 404),
        ("texts/versions/7", 404),
        ("texts%401/versions/1", 404),
        ("pictures", 503),
    ] {
        let answer = post(&site, model, &good);
        assert_eq!(answer.status, status, "{model}: {}", refusal(&answer));
    }
    refusal(&site.get("/v2/nowhere"));
    let wrong = site.get("/v2/models/texts/infer");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    refusal(&wrong);
}

#[test]
fn a_packed_body_is_unpacked_within_the_bounds_of_one_that_is_not() {
    let site = Site::new();
    let _texts = Stream::of_texts(&site, "texts");
    let raw = tensor(&[b"The cat sat."]);
    let json = json!({ "inputs": [{ "name": "texts", "datatype": "BYTES", "shape": [1], "parameters": { "binary_data_size": raw.len() } }] }).to_string();
    let expected = native(&site, "texts", Modality::Text, json!(["The cat sat."]));
    let body = [json.as_bytes(), &raw].concat();
    let gzip = |bytes: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::fast());
    deflate.write_all(&body).unwrap();
    let deflate = deflate.finish().unwrap();
    let send = |encoding: &str, bytes: &[u8]| {
        send_packed(
            &site,
            "texts",
            json.len(),
            &format!("Content-Encoding: {encoding}\r\n"),
            bytes,
        )
    };
    assert_same(&in_json(&send("gzip", &gzip(&body))), &expected);
    assert_same(&in_json(&send("deflate", &deflate)), &expected);
    let bomb = send("gzip", &gzip(&vec![b' '; (64 << 20) + 1]));
    assert_eq!(bomb.status, 413);
    assert!(refusal(&bomb).contains("unpacked"), "{bomb:?}");
    assert_eq!(send("gzip", &body).status, 400);
    assert_eq!(send("br", &body).status, 415);
}

#[test]
fn a_model_says_what_it_takes_and_whether_it_is_ready() {
    let site = Site::new();
    let texts = Stream::of_texts(&site, "texts");
    let _series = Stream::of_series(&site, "series");
    texts.publish(2);
    let model = site.get("/v2/models/texts");
    assert_signed(&model, "2");
    let model = model.json();
    assert_eq!(
        (&model["name"], &model["versions"]),
        (&json!("texts"), &json!(["1", "2"]))
    );
    assert_eq!(
        model["inputs"],
        json!([{ "name": "texts", "datatype": "BYTES", "shape": [-1] }])
    );
    assert_eq!(
        model["outputs"],
        json!([{ "name": "embedding", "datatype": "FP32", "shape": [-1, 128] }])
    );
    let older = site.get("/v2/models/texts/versions/1");
    assert_signed(&older, "1");
    assert_eq!(older.json()["versions"], json!(["1"]));
    assert_eq!(
        site.get("/v2/models/series").json()["inputs"][0]["shape"],
        json!([-1, -1, -1])
    );
    for (path, status) in [
        ("/v2", 200),
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/v2/models/texts/ready", 200),
        ("/v2/models/texts%40previous/ready", 200),
        ("/v2/models/texts/versions/2/ready", 200),
        ("/v2/models/texts/versions/9/ready", 404),
        ("/v2/models/pictures/ready", 404),
        ("/v2/models/nobody/ready", 404),
        ("/v2/models/nobody", 404),
    ] {
        let answer = site.get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        if status != 200 {
            refusal(&answer);
        }
    }
    assert_eq!(site.get("/v2").json()["extensions"], json!(["binary_tensor_data"]));
    site.state.ready.store(false, std::sync::atomic::Ordering::Release);
    assert_eq!(site.get("/v2/health/ready").status, 503);
    assert_eq!(site.get("/v2/health/live").json()["live"], true);
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_within_its_bounds_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        infer(&bytes);
    }

    #[test]
    fn any_sizes_are_a_request_within_its_bounds_or_refused(
        shape in prop::collection::vec(prop_oneof![0u64..5, Just(u64::MAX), any::<u64>()], 0..4),
        size in prop_oneof![0u64..40, any::<u64>()],
        raw in prop::collection::vec(0u8..4, 0..40),
        input in prop_oneof![Just(("texts", "BYTES")), Just(("images", "BYTES")), Just(("series", "FP32")), Just(("series", "FP64"))],
        cut in -3i64..3,
    ) {
        let (name, datatype) = input;
        let json = json!({ "inputs": [{ "name": name, "datatype": datatype, "shape": shape, "parameters": { "binary_data_size": size } }] });
        let json = json.to_string();
        let told = (json.len() as i64 + cut) as u16;
        infer(&[&told.to_be_bytes()[..], json.as_bytes(), &raw].concat());
    }
}
