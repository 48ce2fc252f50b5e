//! One colour channel of a JPEG that is decoded at a part of its size: coded blocks in, a plane of samples out.

use super::bits::{Bits, Huffman, Irregular};
use super::transform::Transform;

/// From the order in which coefficients are coded to their place in the block, row by row (T.81, figure A.6).
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// One colour channel.
pub(super) struct Component {
    pub(super) id: u8,
    pub(super) horizontal: usize,
    pub(super) vertical: usize,
    pub(super) quantisation: usize,
    pub(super) dc_table: usize,
    pub(super) ac_table: usize,
    pub(super) dc_before: i32,
    /// Blocks a row, whole minimum coded units.
    pub(super) blocks_wide: usize,
    pub(super) blocks_high: usize,
    pub(super) transform: Transform,
    /// Samples at the picture's reduced size, `blocks_wide * transform.width()` a row.
    pub(super) plane: Vec<u8>,
    /// Of a progressive picture: each block's mean, not yet scaled.
    pub(super) means: Vec<i16>,
    /// Of a progressive picture: bits of the means that are still to come; none yet: nothing has come.
    pub(super) bits_to_come: Option<u8>,
}

/// A scan's header.
pub(super) struct Scan {
    pub(super) components: Vec<usize>,
    pub(super) spectral: (u8, u8),
    pub(super) high: u8,
    pub(super) low: u8,
}

impl Component {
    /// One block of a baseline scan: the coefficients that are needed are kept, the others passed over.
    #[inline]
    pub(super) fn read_block(
        &mut self,
        bits: &mut Bits<'_>,
        dc: &Huffman,
        ac: &Huffman,
        steps: &[u16; 64],
        x: usize,
        y: usize,
    ) -> Result<(), Irregular> {
        let mut block = [0f32; 64];
        bits.refill();
        let size = u32::from(bits.symbol(dc)?);
        if size > 11 {
            return Err(Irregular);
        }
        self.dc_before = self.dc_before.wrapping_add(bits.number(size));
        block[0] = self.dc_before as f32 * f32::from(steps[0]);
        let last = self.transform.last_coefficient();
        let mut is_flat = true;
        let mut k = 1;
        while k < 64 {
            bits.refill();
            let symbol = bits.symbol(ac)?;
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 {
                if run < 15 {
                    break;
                }
                k += 16;
                continue;
            }
            k += run;
            if k <= last {
                let place = usize::from(ZIGZAG[k]);
                block[place] = bits.number(size) as f32 * f32::from(steps[place]);
                is_flat = false;
            } else if k < 64 {
                bits.skip(size);
            } else {
                return Err(Irregular);
            }
            k += 1;
        }
        let (across, down) = (self.transform.width(), self.transform.height());
        let stride = self.blocks_wide * across;
        let to = &mut self.plane[y * down * stride + x * across..];
        if is_flat {
            self.transform.fill(block[0], to, stride);
        } else {
            self.transform.invert(&block, to, stride);
        }
        Ok(())
    }

    /// One block of a scan of means (T.81, G.1.2.1).
    #[inline]
    pub(super) fn read_mean(
        &mut self,
        bits: &mut Bits<'_>,
        dc: Option<&Huffman>,
        scan: &Scan,
        x: usize,
        y: usize,
    ) -> Result<(), Irregular> {
        bits.refill();
        let mean = &mut self.means[y * self.blocks_wide + x];
        if scan.high == 0 {
            let size = u32::from(bits.symbol(dc.ok_or(Irregular)?)?);
            if size > 11 || self.bits_to_come.is_some() {
                return Err(Irregular);
            }
            self.dc_before = self.dc_before.wrapping_add(bits.number(size));
            // A mean of 11 bits and 13 below it at most fit only if the file is sane; others are cut, not refused.
            *mean = (self.dc_before << scan.low) as i16;
        } else {
            if self.bits_to_come != Some(scan.high) || scan.low + 1 != scan.high {
                return Err(Irregular);
            }
            *mean |= (bits.take(1) << scan.low) as i16;
        }
        Ok(())
    }

    pub(super) fn spread_means(&mut self, step: u16) {
        let (across, down) = (self.transform.width(), self.transform.height());
        let stride = self.blocks_wide * across;
        for (index, mean) in self.means.iter().enumerate() {
            let (x, y) = (index % self.blocks_wide, index / self.blocks_wide);
            let to = &mut self.plane[y * down * stride + x * across..];
            self.transform.fill(f32::from(*mean) * f32::from(step), to, stride);
        }
    }
}
