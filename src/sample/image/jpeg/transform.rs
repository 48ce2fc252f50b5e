//! The inverse cosine transform of a block's low frequencies to fewer samples than the block has.

/// Makes `width` x `height` samples of a block, each 1, 2 or 4, by the inverse transform of that size. A cosine
/// transform of 8 samples, cut to its first `n` coefficients and scaled by `n / 8`, is nearly that of the samples
/// averaged `8 / n` by `8 / n`.
#[derive(Clone, Debug)]
pub(super) struct Transform {
    across: Basis,
    down: Basis,
    last_coefficient: usize,
}

/// `values[x][u]`: what coefficient `u` adds to sample `x`.
#[derive(Clone, Debug)]
struct Basis {
    n: usize,
    values: [[f32; 4]; 4],
}

impl Basis {
    fn new(n: usize) -> Self {
        let mut values = [[0.0; 4]; 4];
        for (x, row) in values.iter_mut().enumerate().take(n) {
            for (u, value) in row.iter_mut().enumerate().take(n) {
                // The orthonormal transform of n samples, for coefficients of the orthonormal one of 8.
                let norm = if u == 0 { 1.0 } else { std::f64::consts::SQRT_2 };
                let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / (2 * n) as f64;
                *value = (norm * angle.cos() / 8f64.sqrt()) as f32;
            }
        }
        Self { n, values }
    }
}

impl Transform {
    /// For these numbers of samples, each 1, 2 or 4.
    pub(super) fn new(width: usize, height: usize) -> Self {
        // The last coefficient, in coding order, of those with fewer than n periods each way: (n-1, n-1), or a corner.
        let last_coefficient = match width.max(height) {
            1 => 0,
            2 => 4,
            _ => 24,
        };
        Self {
            across: Basis::new(width),
            down: Basis::new(height),
            last_coefficient,
        }
    }

    pub(super) fn width(&self) -> usize {
        self.across.n
    }

    pub(super) fn height(&self) -> usize {
        self.down.n
    }

    /// The last coefficient, in coding order, that can matter.
    pub(super) fn last_coefficient(&self) -> usize {
        self.last_coefficient
    }

    /// A block that is all one value: its first coefficient.
    #[inline]
    pub(super) fn fill(&self, mean: f32, to: &mut [u8], stride: usize) {
        let value = to_sample(mean / 8.0);
        for row in to.chunks_mut(stride).take(self.down.n) {
            row[..self.across.n].fill(value);
        }
    }

    /// The samples of a block of coefficients, row by row.
    #[inline]
    pub(super) fn invert(&self, block: &[f32; 64], to: &mut [u8], stride: usize) {
        match (self.across.n, self.down.n) {
            (1, 1) => self.fill(block[0], to, stride),
            (2, 2) => self.invert_as::<2, 2>(block, to, stride),
            (4, 4) => self.invert_as::<4, 4>(block, to, stride),
            (2, 1) => self.invert_as::<2, 1>(block, to, stride),
            (1, 2) => self.invert_as::<1, 2>(block, to, stride),
            (4, 2) => self.invert_as::<4, 2>(block, to, stride),
            _ => self.invert_as::<2, 4>(block, to, stride),
        }
    }

    fn invert_as<const W: usize, const H: usize>(&self, block: &[f32; 64], to: &mut [u8], stride: usize) {
        // Down each column first: [H coefficients, W] -> [H samples, W].
        let mut columns = [[0f32; W]; H];
        for (y, row) in columns.iter_mut().enumerate() {
            for v in 0..H {
                let weight = self.down.values[y][v];
                for u in 0..W {
                    row[u] += weight * block[8 * v + u];
                }
            }
        }
        for (row, to) in columns.iter().zip(to.chunks_mut(stride)) {
            for (x, to) in to[..W].iter_mut().enumerate() {
                let basis = &self.across.values[x];
                let sum: f32 = (0..W).map(|u| basis[u] * row[u]).sum();
                *to = to_sample(sum);
            }
        }
    }
}

/// Samples are coded around zero; the cast of a float saturates.
#[inline]
fn to_sample(value: f32) -> u8 {
    (value + 128.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_block_stays_constant_at_every_size() {
        for (width, height) in [(1, 1), (2, 2), (4, 4), (2, 1), (1, 2), (4, 2), (2, 4)] {
            let transform = Transform::new(width, height);
            let (mut filled, mut inverted) = ([0; 32], [0; 32]);
            let mut block = [0.0; 64];
            block[0] = 8.0 * 50.0;
            transform.fill(block[0], &mut filled, 8);
            transform.invert(&block, &mut inverted, 8);
            assert_eq!(filled, inverted);
            assert_eq!(filled[0], 178);
        }
    }

    #[test]
    fn a_slope_reduced_is_the_mean_of_its_neighbours() {
        // The first horizontal coefficient in four samples, averaged by two, against two samples.
        let mut block = [0.0; 64];
        block[1] = 400.0;
        let (mut four, mut two) = ([0; 32], [0; 32]);
        Transform::new(4, 4).invert(&block, &mut four, 8);
        Transform::new(2, 2).invert(&block, &mut two, 8);
        for x in 0..2 {
            let mean = (f32::from(four[2 * x]) + f32::from(four[2 * x + 1])) / 2.0;
            assert!((mean - f32::from(two[x])).abs() < 6.0, "{mean} {}", two[x]);
        }
        assert!(four[0] > four[1] && four[1] > four[2] && two[0] > two[1]);
    }
}
