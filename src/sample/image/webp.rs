//! WebP: what a file says of its size, held against what the coded pictures in it say of theirs.
//! The decoder makes room for a lossy picture by the picture's own word and compares only when it is decoded; for
//! metadata it makes room before it looks whether they are there.

use image::metadata::Orientation;

/// Whether the lossy pictures that are decoded are as large as the file, or the frame that they are in, says.
pub(super) fn sizes_agree(bytes: &[u8], size: (u32, u32)) -> bool {
    let mut is_first_frame = true;
    chunks(bytes.get(12..).unwrap_or_default()).all(|chunk| match chunk.name {
        b"VP8 " => lossy_size(chunk.data).is_none_or(|lossy| lossy == size),
        b"ANMF" if std::mem::take(&mut is_first_frame) => frame_agrees(chunk.data),
        _ => true,
    })
}

/// As [`sizes_agree`], for a frame of an animation.
fn frame_agrees(frame: &[u8]) -> bool {
    let Some((head, coded)) = frame.split_first_chunk::<16>() else {
        return true;
    };
    let side = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], 0]) + 1;
    let mut chunks = chunks(coded);
    let lossy = chunks.next().and_then(|chunk| match chunk.name {
        b"VP8 " => Some(chunk.data),
        // What follows the transparency is taken for a lossy picture, whatever its name.
        b"ALPH" => chunks.next().map(|chunk| chunk.data),
        _ => None,
    });
    lossy
        .and_then(lossy_size)
        .is_none_or(|lossy| lossy == (side(6), side(9)))
}

/// What the file's metadata say about its orientation; nothing where they are not there as long as they should be.
pub(super) fn orientation(bytes: &[u8]) -> Option<Orientation> {
    let exif = chunks(bytes.get(12..)?).find(|chunk| chunk.name == b"EXIF")?;
    Orientation::from_exif_chunk(exif.data).filter(|_| exif.is_whole)
}

/// A part of a file or a frame.
struct Chunk<'a> {
    name: &'a [u8; 4],
    /// What is there of its data.
    data: &'a [u8],
    is_whole: bool,
}

/// The chunks of a file or a frame.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    std::iter::from_fn(move || {
        let (name, rest) = bytes.split_first_chunk::<4>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*len) as usize;
        bytes = rest.get(len + len % 2..).unwrap_or_default();
        Some(Chunk {
            name,
            data: &rest[..len.min(rest.len())],
            is_whole: len <= rest.len(),
        })
    })
}

/// The size in the header of a lossy picture; nothing where it is none.
fn lossy_size(data: &[u8]) -> Option<(u32, u32)> {
    let [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = data else {
        return None;
    };
    // The two highest bits scale, and are passed over.
    let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    Some((side(*w0, *w1), side(*h0, *h1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orientation_is_read_from_metadata_that_are_whole() {
        let turned = include_bytes!("../../../tests/fuzz/seeds/webp/turned");
        assert_eq!(orientation(turned), Some(Orientation::Rotate270));
        assert_eq!(orientation(&turned[..turned.len() - 2]), None);
    }
}
