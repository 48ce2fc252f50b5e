//! What every boundary promises about any bytes, as plain functions: a fuzzer calls them with bytes that it makes up, a
//! test with those that are kept in `tests/fuzz/seeds`. Compiled for these two alone.
//! Invariant: a function here returns, whatever the bytes; it panics when a promise is broken.

use std::cell::OnceCell;
use std::path::Path;

use safetensors::tensor::SafeTensors;
use serde_json::Value;
use tch::Device;
use tch::nn::{Init, VarStore};

use crate::config::parse;
use crate::ids::{SourceHash, StreamName};
use crate::model::weights::{export, load_into};
use crate::registry::layout;
use crate::sample::Content;
use crate::sample::image::Format;
use crate::sample::image::fuzzing::{picture, reduced};

pub use crate::access::fuzzing::{authorization, keys};
pub use crate::learn::checkpoint_facts as checkpoint;
pub use crate::registry::fuzzing::manifest;
pub use crate::replay::fuzzing::{catalogue, segment};
pub use crate::sample::fuzzing::{series, texts, transitions};
pub use crate::serve::fuzzing::{infer, picture_file, request};

/// A JPEG.
pub fn jpeg(bytes: &[u8]) {
    picture(bytes, Format::Jpeg);
}

/// A JPEG, decoded at a part of its size. The first byte says which part.
pub fn jpeg_reduced(bytes: &[u8]) {
    reduced(bytes);
}

/// A PNG.
pub fn png(bytes: &[u8]) {
    picture(bytes, Format::Png);
}

/// A WebP.
pub fn webp(bytes: &[u8]) {
    picture(bytes, Format::WebP);
}

/// A GIF.
pub fn gif(bytes: &[u8]) {
    picture(bytes, Format::Gif);
}

/// A Windows bitmap.
pub fn bmp(bytes: &[u8]) {
    picture(bytes, Format::Bmp);
}

/// A TIFF.
pub fn tiff(bytes: &[u8]) {
    picture(bytes, Format::Tiff);
}

/// A sample's content as the buffer keeps it; and bytes that may be no picture, whose kind is told.
pub fn content(bytes: &[u8]) {
    if let Ok(content) = Content::decode(bytes) {
        assert_eq!(
            content.encode(),
            bytes,
            "a content reads back otherwise than it was written"
        );
    }
    if let Err(rejection) = Format::of(bytes) {
        assert!(!rejection.detail.is_empty(), "{rejection:?} says nothing");
    }
}

/// A configuration file and, each after a zero byte, variables of the environment.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let variables = parts.filter_map(|variable| variable.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let read = |text: &str, variables: &mut dyn Iterator<Item = _>| {
        parse(text, "curiod.toml", Path::new("/etc/curiod"), variables)
    };
    match read(file, &mut variables.into_iter()) {
        Err(error) => assert!(
            !error.what.is_empty() && !error.hint.is_empty(),
            "{error:?} says too little"
        ),
        Ok(config) => {
            assert_eq!(config.validate(), Ok(()));
            let Ok(written) = toml::to_string(&config) else {
                panic!("a configuration can not be written: {config:?}");
            };
            assert_eq!(read(&written, &mut std::iter::empty()), Ok(config), "{written}");
        }
    }
}

/// Names: of streams, sources, generations, folders, faults.
pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = text.parse::<StreamName>() {
        assert_eq!(name.as_str(), text);
        let path = Path::new("/streams").join(text);
        assert!(
            path.parent() == Some(Path::new("/streams")),
            "{text:?} leaves its folder"
        );
        assert!(path.file_name().is_some_and(|last| last == text));
    }
    if let Ok(hash) = text.parse::<SourceHash>() {
        assert_eq!(hash.to_string(), text.to_ascii_lowercase());
    }
    if let Some(generation) = layout::parse_dir_name(text) {
        assert_eq!(layout::dir_name(generation), text);
    }
    if let Some(generation) = layout::parse_broken_name(text) {
        assert!(text.starts_with(layout::BROKEN_PREFIX) && text.contains(&layout::dir_name(generation)));
    }
    crate::serve::fuzzing::version(text);
    crate::disk::fuzzing::orders(text);
}

/// The bytes of a safetensors file for a network of two variables.
pub fn weights(bytes: &[u8]) {
    thread_local!(static NETWORK: OnceCell<VarStore> = const { OnceCell::new() });
    NETWORK.with(|network| {
        let network = network.get_or_init(|| {
            let network = VarStore::new(Device::Cpu);
            let _ = (network.root() / "a").var("weight", &[2, 3], Init::Const(0.5));
            let _ = network.root().var("b", &[], Init::Const(0.0));
            network
        });
        let written = |what| match export(network) {
            Ok(bytes) => bytes,
            Err(error) => panic!("{what} can not be written: {error}"),
        };
        let before = written("weights");
        let loaded = load_into(network, bytes);
        let after = written("loaded weights");
        if loaded.is_err() {
            assert_eq!(before, after, "weights that were refused changed the network");
            return;
        }
        let (Ok(given), Ok(kept)) = (SafeTensors::deserialize(bytes), SafeTensors::deserialize(&after)) else {
            panic!("weights were loaded that are no safetensors");
        };
        for (name, tensor) in given.iter() {
            let same = kept.tensor(name).is_ok_and(|kept| kept.data() == tensor.data());
            assert!(same, "`{name}` is not what the file says");
        }
    });
}

/// Whether two JSON values say the same, but for the last bits of numbers, which a decimal may lose.
pub(crate) fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b)))
        }
        (Value::Number(x), Value::Number(y)) if x.is_f64() && y.is_f64() => {
            let (x, y) = (x.as_f64().unwrap_or(f64::NAN), y.as_f64().unwrap_or(f64::NAN));
            (x - y).abs() <= 1e-12 * x.abs().max(y.abs())
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests;
