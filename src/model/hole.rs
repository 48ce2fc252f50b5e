//! A part of a picture that is hidden from the network.

/// A rectangle of pixels, inside the picture that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Pixels left of it.
    pub left: u32,
    /// Pixels above it.
    pub top: u32,
    /// Pixels from side to side.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

impl Hole {
    /// The block in the middle of a square picture, half as wide and a quarter of the area (Pathak et al. 2016, section 3.3).
    pub fn central(px: u32) -> Self {
        Self {
            left: px / 4,
            top: px / 4,
            width: px / 2,
            height: px / 2,
        }
    }

    /// Marks its pixels with 1 in the rows of a mask of `px` x `px`.
    pub fn mark(&self, mask: &mut [f32], px: u32) {
        for row in mask
            .chunks_exact_mut(px as usize)
            .skip(self.top as usize)
            .take(self.height as usize)
        {
            row[self.left as usize..(self.left + self.width) as usize].fill(1.0);
        }
    }
}
