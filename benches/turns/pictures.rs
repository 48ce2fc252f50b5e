//! Pictures drawn from a formula, for where no real ones are needed.

use curiod::sample::ImageTile;

/// Square pictures with slopes, edges and a little noise, as photos have.
pub(crate) fn pictures(count: usize, px: u16) -> Vec<ImageTile> {
    (0..count)
        .map(|number| {
            let mut rng = curiod::rng::for_step(number as u64, 0, 0);
            let mut wave = || [(); 4].map(|()| curiod::rng::unit(&mut rng) * 12.0);
            let waves = [wave(), wave(), wave()];
            let rgb = (0..usize::from(px) * usize::from(px) * 3).map(|index| {
                let (pixel, channel) = (index / 3, index % 3);
                let (x, y) = (pixel % usize::from(px), pixel / usize::from(px));
                let [x, y] = [x, y].map(|place| place as f64 / f64::from(px));
                let [a, b, c, d] = waves[channel];
                let edge = if x * a + y * b > 6.0 { 60.0 } else { 0.0 };
                (100.0 + 60.0 * (a * x + c).sin() * (b * y + d).cos() + edge + (index * 7919 % 13) as f64) as u8
            });
            ImageTile {
                width: px,
                height: px,
                rgb: rgb.collect(),
            }
        })
        .collect()
}
