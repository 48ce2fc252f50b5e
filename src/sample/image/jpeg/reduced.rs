//! JPEG decoded at a quarter or an eighth of its size: of each block only the low frequencies are transformed
//! back, so that what the reduction to a tile would throw away is never computed.
//!
//! Baseline pictures at both sizes; progressive ones at an eighth, for which their first scans suffice. Grey and
//! YCbCr, 8 bits. This is an optimisation, never a verdict: for whatever it does not expect it returns nothing, and
//! the full decoder decides.

use image::RgbImage;

use super::bits::{Bits, Huffman, Irregular};
use super::component::{Component, Scan, ZIGZAG};
use super::transform::Transform;

/// The state of a decoding.
struct Decoder<'a> {
    bytes: &'a [u8],
    /// Samples that a block of 8 becomes, each way: 2 or 1.
    samples: usize,
    is_progressive: bool,
    width: usize,
    height: usize,
    horizontal_max: usize,
    vertical_max: usize,
    components: Vec<Component>,
    quantisations: [Option<[u16; 64]>; 4],
    dc_tables: [Option<Huffman>; 4],
    ac_tables: [Option<Huffman>; 4],
    restart_interval: usize,
}

/// The picture of `size` at `1 / reduction` of it, rounded up; `reduction` is 4 or 8. Nothing where the file is not
/// of the plain kind. The size has been found within the limits; a file that turns out to have another is not plain.
pub(super) fn decode(bytes: &[u8], size: (u32, u32), reduction: u32) -> Option<RgbImage> {
    let mut decoder = Decoder {
        bytes,
        samples: 8 / reduction as usize,
        is_progressive: false,
        width: size.0 as usize,
        height: size.1 as usize,
        horizontal_max: 1,
        vertical_max: 1,
        components: Vec::new(),
        quantisations: [None; 4],
        dc_tables: [const { None }; 4],
        ac_tables: [const { None }; 4],
        restart_interval: 0,
    };
    decoder.run().ok()?;
    decoder.picture()
}

impl<'a> Decoder<'a> {
    fn run(&mut self) -> Result<(), Irregular> {
        let mut at = 2;
        loop {
            let (marker, segment, next) = self.segment(at)?;
            at = next;
            match marker {
                0xc0..=0xc2 => self.read_frame(segment, marker == 0xc2)?,
                0xc4 => self.read_huffman_tables(segment)?,
                // Lossless, hierarchical or arithmetic coding; a height that comes later.
                0xc3 | 0xc5..=0xcf | 0xdc => return Err(Irregular),
                0xdb => self.read_quantisations(segment)?,
                0xdd => self.restart_interval = usize::from(u16_at(segment, 0)?),
                // Adobe's marker says which colours there are; only 1, YCbCr, is the plain kind.
                0xee if segment.starts_with(b"Adobe") && segment.get(11) != Some(&1) => return Err(Irregular),
                0xda => {
                    let scan = self.read_scan(segment)?;
                    if scan.spectral.0 == 0 {
                        self.decode_scan(&scan, at)?;
                    }
                    at = end_of_scan(self.bytes, at).ok_or(Irregular)?;
                }
                0xd9 => return Ok(()),
                _ => {}
            }
        }
    }

    /// A marker, its segment, and where the next begins.
    fn segment(&self, at: usize) -> Result<(u8, &'a [u8], usize), Irregular> {
        let (bytes, mut at) = (self.bytes, at);
        while let Some([0xff, 0xff]) = bytes.get(at..at + 2) {
            at += 1;
        }
        match bytes.get(at..at + 2) {
            Some([0xff, 0xd9]) => Ok((0xd9, &[], at + 2)),
            Some([0xff, marker]) => {
                let length = usize::from(u16_at(bytes, at + 2)?);
                let segment = bytes.get(at + 4..at + 2 + length).ok_or(Irregular)?;
                Ok((*marker, segment, at + 2 + length))
            }
            _ => Err(Irregular),
        }
    }

    fn read_frame(&mut self, segment: &[u8], is_progressive: bool) -> Result<(), Irregular> {
        let [8, h0, h1, w0, w1, count, rest @ ..] = segment else {
            return Err(Irregular);
        };
        if !self.components.is_empty() || rest.len() != usize::from(*count) * 3 {
            return Err(Irregular);
        }
        if !matches!(count, 1 | 3) || is_progressive && self.samples != 1 {
            return Err(Irregular);
        }
        self.is_progressive = is_progressive;
        let size = (u16::from_be_bytes([*w0, *w1]), u16::from_be_bytes([*h0, *h1]));
        if (usize::from(size.0), usize::from(size.1)) != (self.width, self.height) {
            return Err(Irregular);
        }
        let fields: Vec<(u8, usize, usize, usize)> = rest
            .chunks_exact(3)
            .map(|c| (c[0], usize::from(c[1] >> 4), usize::from(c[1] & 15), usize::from(c[2])))
            .collect();
        // A single component's factors mean nothing: its units are single blocks.
        let factor = |value: usize| if fields.len() == 1 { 1 } else { value };
        self.horizontal_max = fields.iter().map(|f| factor(f.1)).max().unwrap_or(1);
        self.vertical_max = fields.iter().map(|f| factor(f.2)).max().unwrap_or(1);
        let units_wide = self.width.div_ceil(8 * self.horizontal_max.max(1));
        let units_high = self.height.div_ceil(8 * self.vertical_max.max(1));
        for &(id, horizontal, vertical, quantisation) in &fields {
            let (horizontal, vertical) = (factor(horizontal), factor(vertical));
            let is_plain = |factor: usize, max: usize| factor != 0 && (max == factor || max == 2 * factor);
            if !is_plain(horizontal, self.horizontal_max) || !is_plain(vertical, self.vertical_max) || quantisation > 3
            {
                return Err(Irregular);
            }
            // A channel that is stored at half the size is reduced half as far, so that all planes fit each other.
            let across = self.samples * self.horizontal_max / horizontal;
            let down = self.samples * self.vertical_max / vertical;
            let (blocks_wide, blocks_high) = (units_wide * horizontal, units_high * vertical);
            let blocks = blocks_wide * blocks_high;
            self.components.push(Component {
                id,
                horizontal,
                vertical,
                quantisation,
                dc_table: 0,
                ac_table: 0,
                dc_before: 0,
                blocks_wide,
                blocks_high,
                transform: Transform::new(across, down),
                plane: vec![0; blocks * across * down],
                means: if is_progressive { vec![0; blocks] } else { Vec::new() },
                bits_to_come: None,
            });
        }
        // Three components called R, G and B hold just that.
        if fields.len() == 3 && fields.iter().map(|f| f.0).eq(*b"RGB") {
            return Err(Irregular);
        }
        Ok(())
    }

    fn read_quantisations(&mut self, mut segment: &[u8]) -> Result<(), Irregular> {
        while let [head, rest @ ..] = segment {
            let bytes = if head >> 4 == 0 { 1 } else { 2 };
            let values = rest.get(..64 * bytes).ok_or(Irregular)?;
            let mut table = [0; 64];
            for (place, value) in ZIGZAG.iter().zip(values.chunks_exact(bytes)) {
                table[usize::from(*place)] = value.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte));
            }
            *self.quantisations.get_mut(usize::from(head & 15)).ok_or(Irregular)? = Some(table);
            segment = &rest[64 * bytes..];
        }
        Ok(())
    }

    fn read_huffman_tables(&mut self, mut segment: &[u8]) -> Result<(), Irregular> {
        while let [head, rest @ ..] = segment {
            let counts: &[u8; 16] = rest.first_chunk().ok_or(Irregular)?;
            let symbols = counts.iter().map(|count| usize::from(*count)).sum::<usize>();
            let table = Huffman::new(counts, rest.get(16..16 + symbols).ok_or(Irregular)?)?;
            let tables = if head >> 4 == 0 {
                &mut self.dc_tables
            } else {
                &mut self.ac_tables
            };
            *tables.get_mut(usize::from(head & 15)).ok_or(Irregular)? = Some(table);
            segment = &rest[16 + symbols..];
        }
        Ok(())
    }

    fn read_scan(&mut self, segment: &[u8]) -> Result<Scan, Irregular> {
        let count = usize::from(*segment.first().ok_or(Irregular)?);
        let [first, last, approximation] = segment[1..].get(2 * count..).ok_or(Irregular)? else {
            return Err(Irregular);
        };
        let mut components = Vec::new();
        for selector in segment[1..1 + 2 * count].chunks_exact(2) {
            let index = self
                .components
                .iter()
                .position(|c| c.id == selector[0])
                .ok_or(Irregular)?;
            self.components[index].dc_table = usize::from(selector[1] >> 4);
            self.components[index].ac_table = usize::from(selector[1] & 15);
            components.push(index);
        }
        Ok(Scan {
            components,
            spectral: (*first, *last),
            high: approximation >> 4,
            low: approximation & 15,
        })
    }

    fn decode_scan(&mut self, scan: &Scan, at: usize) -> Result<(), Irregular> {
        let is_whole_block = scan.spectral == (0, 63) && (scan.high, scan.low) == (0, 0);
        let is_mean = scan.spectral == (0, 0) && scan.low < 14;
        if self.is_progressive && !is_mean || !self.is_progressive && !is_whole_block {
            return Err(Irregular);
        }
        let mut bits = Bits::new(self.bytes, at);
        let is_interleaved = scan.components.len() > 1;
        if is_interleaved && scan.components.len() != self.components.len() {
            return Err(Irregular);
        }
        for &index in &scan.components {
            self.components[index].dc_before = 0;
        }
        // A scan of one channel has its blocks one by one, and only those that the picture covers.
        let (units_wide, units_high) = if is_interleaved {
            let first = &self.components[0];
            (first.blocks_wide / first.horizontal, first.blocks_high / first.vertical)
        } else {
            let c = &self.components[*scan.components.first().ok_or(Irregular)?];
            let covered = |size: usize, factor: usize, max: usize| (size * factor).div_ceil(max).div_ceil(8);
            (
                covered(self.width, c.horizontal, self.horizontal_max),
                covered(self.height, c.vertical, self.vertical_max),
            )
        };
        let (mut until_restart, mut restarts) = (self.restart_interval, 0u8);
        for unit_y in 0..units_high {
            for unit_x in 0..units_wide {
                if self.restart_interval > 0 && until_restart == 0 {
                    bits.restart(restarts % 8)?;
                    restarts = restarts.wrapping_add(1);
                    until_restart = self.restart_interval;
                    for component in &mut self.components {
                        component.dc_before = 0;
                    }
                }
                until_restart = until_restart.wrapping_sub(1);
                for &index in &scan.components {
                    let c = &mut self.components[index];
                    let (wide, high) = if is_interleaved {
                        (c.horizontal, c.vertical)
                    } else {
                        (1, 1)
                    };
                    for y in unit_y * high..(unit_y + 1) * high {
                        for x in unit_x * wide..(unit_x + 1) * wide {
                            if self.is_progressive {
                                let dc = self.dc_tables.get(c.dc_table).and_then(Option::as_ref);
                                c.read_mean(&mut bits, dc, scan, x, y)?;
                            } else {
                                let dc = self
                                    .dc_tables
                                    .get(c.dc_table)
                                    .and_then(Option::as_ref)
                                    .ok_or(Irregular)?;
                                let ac = self
                                    .ac_tables
                                    .get(c.ac_table)
                                    .and_then(Option::as_ref)
                                    .ok_or(Irregular)?;
                                let steps = self.quantisations[c.quantisation].as_ref().ok_or(Irregular)?;
                                c.read_block(&mut bits, dc, ac, steps, x, y)?;
                            }
                        }
                    }
                }
            }
            if bits.is_overdrawn() {
                return Err(Irregular);
            }
        }
        for &index in &scan.components {
            self.components[index].bits_to_come = Some(scan.low);
        }
        Ok(())
    }

    /// The picture of the planes.
    fn picture(mut self) -> Option<RgbImage> {
        if self.components.is_empty() || self.components.iter().any(|c| c.bits_to_come != Some(0)) {
            return None;
        }
        if self.is_progressive {
            for c in &mut self.components {
                let step = self.quantisations[c.quantisation].as_ref()?[0];
                c.spread_means(step);
            }
        }
        let reduction = 8 / self.samples;
        let (width, height) = (self.width.div_ceil(reduction), self.height.div_ceil(reduction));
        let mut rgb = vec![0; width * height * 3];
        for (y, row) in rgb.chunks_exact_mut(width * 3).enumerate() {
            let line = |c: &Component| {
                let stride = c.blocks_wide * c.transform.width();
                y * stride..y * stride + width
            };
            match &self.components[..] {
                [grey] => {
                    for (to, value) in row.chunks_exact_mut(3).zip(&grey.plane[line(grey)]) {
                        to.fill(*value);
                    }
                }
                [luma, blue, red] => {
                    let (luma, blue, red) = (&luma.plane[line(luma)], &blue.plane[line(blue)], &red.plane[line(red)]);
                    for (((to, y), cb), cr) in row.chunks_exact_mut(3).zip(luma).zip(blue).zip(red) {
                        to.copy_from_slice(&to_rgb(*y, *cb, *cr));
                    }
                }
                _ => return None,
            }
        }
        RgbImage::from_raw(width as u32, height as u32, rgb)
    }
}

/// Where the marker lies that ends the scan which begins at `at`.
fn end_of_scan(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0xff)?;
        match bytes.get(at + 1)? {
            // A stuffed zero, a restart.
            0 | 0xd0..=0xd7 => at += 2,
            0xff => at += 1,
            _ => return Some(at),
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Irregular> {
    let pair = bytes.get(at..at + 2).ok_or(Irregular)?;
    Ok(u16::from_be_bytes([pair[0], pair[1]]))
}

/// ITU-R BT.601, full range, as JFIF has it; in 16 fractional bits.
#[inline]
fn to_rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (
        (i32::from(y) << 16) + (1 << 15),
        i32::from(cb) - 128,
        i32::from(cr) - 128,
    );
    let byte = |value: i32| (value >> 16).clamp(0, 255) as u8;
    [
        byte(y + 91_881 * cr),
        byte(y - 22_554 * cb - 46_802 * cr),
        byte(y + 116_130 * cb),
    ]
}
