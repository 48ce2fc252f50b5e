//! A sound -> the logarithms of its energy in bands of pitch, one step each 10 ms: what is heard in it changes over tens of
//! windows of raw samples.

use std::f64::consts::PI;

use super::SeriesLimits;
use super::wave::Sound;
use super::windows::Series;
use crate::sample::Rejection;

/// Bands of pitch.
pub(super) const BANDS: usize = 32;

/// The highest frequency that a band ends at.
const FREQUENCY_MAX: f64 = 8_000.0;

/// Fewer points leave the narrow bands below without any.
const POINTS_MIN: usize = 512;

/// Energy of silence, whose logarithm is finite.
const TINY: f64 = 1e-10;

/// The steps of a sound: frames of 25 ms each 10 ms. A sound shorter than a frame has none.
pub(super) fn series(sound: &Sound, limits: &SeriesLimits) -> Result<Series, Rejection> {
    let rate = f64::from(sound.rate);
    let (frame, hop) = ((rate / 40.0) as usize, (rate / 100.0) as usize);
    if sound.samples.len() / hop.max(1) * BANDS > limits.values_max {
        return Err(limits.too_many_values());
    }
    let points = frame.next_power_of_two().max(POINTS_MIN);
    let hann: Vec<f64> = (0..frame)
        .map(|i| 0.5 - 0.5 * (2.0 * PI * i as f64 / frame as f64).cos())
        .collect();
    let scale: f64 = hann.iter().map(|weight| weight * weight).sum();
    let filters = filters(points, rate);
    let turns = turns(points);
    let mut steps: Vec<[f64; BANDS]> = Vec::new();
    let (mut real, mut imaginary) = (vec![0.0; points], vec![0.0; points]);
    for samples in sound.samples.windows(frame).step_by(hop.max(1)) {
        real.fill(0.0);
        imaginary.fill(0.0);
        for (place, (sample, weight)) in real.iter_mut().zip(samples.iter().zip(&hann)) {
            *place = sample * weight;
        }
        transform(&mut real, &mut imaginary, &turns);
        let mut energies = [0.0; BANDS];
        for (energy, filter) in energies.iter_mut().zip(&filters) {
            let band = filter.iter().map(|(point, weight)| {
                let (re, im) = (real[*point], imaginary[*point]);
                weight * (re * re + im * im)
            });
            let logarithm = (band.sum::<f64>() / scale + TINY).ln();
            *energy = if logarithm.is_finite() { logarithm } else { f64::NAN };
        }
        steps.push(energies);
    }
    let band = |band: usize| steps.iter().map(move |energies| energies[band]);
    Ok(Series {
        channels: BANDS,
        values: (0..BANDS).flat_map(band).collect(),
        times: Vec::new(),
    })
}

/// For each band the points of a spectrum in it, and their weights: triangles that are evenly wide in pitch (mel).
fn filters(points: usize, rate: f64) -> Vec<Vec<(usize, f64)>> {
    let pitch = |frequency: f64| 2_595.0 * (1.0 + frequency / 700.0).log10();
    let frequency = |pitch: f64| 700.0 * (10_f64.powf(pitch / 2_595.0) - 1.0);
    let highest = pitch(FREQUENCY_MAX.min(rate / 2.0));
    let edge = |i: usize| frequency(highest * i as f64 / (BANDS + 1) as f64);
    (0..BANDS)
        .map(|band| {
            let (low, middle, high) = (edge(band), edge(band + 1), edge(band + 2));
            (0..=points / 2)
                .filter_map(|point| {
                    let at = point as f64 * rate / points as f64;
                    let weight = ((at - low) / (middle - low)).min((high - at) / (high - middle));
                    (weight > 0.0).then_some((point, weight))
                })
                .collect()
        })
        .collect()
}

/// The cosines and sines that a transform of so many points turns by.
fn turns(points: usize) -> Vec<(f64, f64)> {
    let turn = |i: usize| (-2.0 * PI * i as f64 / points as f64).sin_cos();
    (0..points / 2).map(turn).map(|(sine, cosine)| (cosine, sine)).collect()
}

/// The Fourier transform of a power of two of points, in place (Cooley and Tukey 1965).
fn transform(real: &mut [f64], imaginary: &mut [f64], turns: &[(f64, f64)]) {
    let points = real.len();
    let unused = usize::BITS - points.trailing_zeros();
    for i in 0..points {
        let j = i.reverse_bits() >> unused;
        if i < j {
            real.swap(i, j);
            imaginary.swap(i, j);
        }
    }
    let mut half = 1;
    while half < points {
        for start in (0..points).step_by(2 * half) {
            for i in 0..half {
                let (cosine, sine) = turns[i * (points / (2 * half))];
                let (even, odd) = (start + i, start + i + half);
                let re = real[odd] * cosine - imaginary[odd] * sine;
                let im = real[odd] * sine + imaginary[odd] * cosine;
                (real[odd], imaginary[odd]) = (real[even] - re, imaginary[even] - im);
                real[even] += re;
                imaginary[even] += im;
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transform_is_the_sum_that_defines_it() {
        let points = 32;
        let signal: Vec<f64> = (0..points).map(|i| ((i * i) % 17) as f64 - 8.0).collect();
        let (mut real, mut imaginary) = (signal.clone(), vec![0.0; points]);
        transform(&mut real, &mut imaginary, &turns(points));
        for k in 0..points {
            let angle = |i: usize| -2.0 * PI * (i * k) as f64 / points as f64;
            let re: f64 = signal.iter().enumerate().map(|(i, value)| value * angle(i).cos()).sum();
            let im: f64 = signal.iter().enumerate().map(|(i, value)| value * angle(i).sin()).sum();
            assert!(
                (re - real[k]).abs() < 1e-9 && (im - imaginary[k]).abs() < 1e-9,
                "point {k}"
            );
        }
    }

    #[test]
    fn a_tone_is_loudest_in_its_own_band_and_every_band_has_points() {
        for rate in [1_000, 8_000, 16_000, 44_100, 96_000] {
            assert!(
                filters(
                    ((rate / 40) as usize).next_power_of_two().max(POINTS_MIN),
                    f64::from(rate)
                )
                .iter()
                .all(|filter| !filter.is_empty())
            );
            let loudest = |frequency: f64| {
                let sample = |i: u32| (2.0 * PI * frequency * f64::from(i) / f64::from(rate)).sin();
                let sound = Sound {
                    rate,
                    samples: (0..rate / 5).map(sample).collect(),
                };
                let series = series(&sound, &SeriesLimits::default()).unwrap();
                let steps = series.values.len() / BANDS;
                assert_eq!(steps, 18, "frames of a fifth of a second");
                (0..BANDS)
                    .max_by(|a, b| series.values[a * steps].total_cmp(&series.values[b * steps]))
                    .unwrap()
            };
            let loudest = [100.0, 200.0, 400.0].map(loudest);
            assert!(loudest.is_sorted() && loudest[0] < loudest[2], "{rate}: {loudest:?}");
        }
    }
}
