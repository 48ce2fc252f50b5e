//! The container: a zip file whose entries are not compressed, laid out as `torch.jit.save` does.
//! Always true: the same parts give the same bytes; every weight begins at a multiple of 64 bytes, so that it can be mapped.

use std::io::{Cursor, Write};

use zip::result::ZipResult;
use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, DateTime};

use super::pickle;
use super::tree::Tree;

/// The folder that every entry is in. Readers take whichever there is.
const FOLDER: &str = "encoder";

/// What the operators of the source mean: as since PyTorch 1.6, the oldest whose meanings are those used.
const VERSION: &str = "5\n";

/// At which multiples an entry begins, as torch writes them.
const ALIGNMENT: u16 = 64;

/// Module, source, weights, and what is known of them.
pub(super) fn archive(tree: &Tree, source: &str, about: &str) -> ZipResult<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut entry = |name: &str, bytes: &[u8]| -> ZipResult<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .with_alignment(ALIGNMENT)
            .large_file(u32::try_from(bytes.len()).is_err());
        zip.start_file(format!("{FOLDER}/{name}"), options)?;
        Ok(zip.write_all(bytes)?)
    };
    entry("data.pkl", &pickle::module(tree))?;
    entry("code/__torch__.py", source.as_bytes())?;
    entry("constants.pkl", &pickle::nothing())?;
    entry("version", VERSION.as_bytes())?;
    entry("byteorder", b"little")?;
    entry("extra/about.json", about.as_bytes())?;
    for (number, weight) in tree.weights.iter().enumerate() {
        entry(&format!("data/{number}"), &weight.bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}
