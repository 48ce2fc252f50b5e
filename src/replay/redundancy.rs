//! Redundancy: which samples of a set say the same, by their places in teacher space. Pure.
//! Invariant: the first pair is the closest of the whole set; no sample is in two pairs.

use super::types::{EMBEDDING_DIM, Embedding};

/// The dot product of an embedding with itself, about: its numbers are those of a unit vector times 127.
const UNIT: f32 = 127.0 * 127.0;

/// Two samples of a set, by their places in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) first: usize,
    pub(super) second: usize,
    /// The cosine of their embeddings, about.
    pub(super) similarity: f32,
}

/// Up to `most` pairs of samples that lie close together, the closest first.
///
/// The closest pair is exact. The ones after it are taken among each sample's nearest later neighbour, so that one pass
/// over all dot products, of which there are n^2 / 2, gives all of them.
pub(super) fn closest_pairs(embeddings: &[Embedding], most: usize) -> Vec<Pair> {
    // Two of 16 bits are multiplied and added to a sum of 32 in one instruction; of 8 bits there is none everywhere.
    let rows: Vec<Row> = embeddings.iter().map(|embedding| embedding.0.map(i16::from)).collect();
    let nearest = pulp::Arch::new().dispatch(Nearest { rows: &rows });
    let mut edges: Vec<(i32, u32, u32)> = (0u32..)
        .zip(nearest)
        .map(|(first, (dot, second))| (dot, first, second))
        .collect();
    edges.sort_unstable_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
    let mut taken = vec![false; rows.len()];
    let mut pairs = Vec::with_capacity(most);
    for (dot, first, second) in edges {
        let (first, second) = (first as usize, second as usize);
        if pairs.len() == most {
            break;
        }
        if !taken[first] && !taken[second] {
            (taken[first], taken[second]) = (true, true);
            let similarity = (dot as f32 / UNIT).clamp(-1.0, 1.0);
            pairs.push(Pair {
                first,
                second,
                similarity,
            });
        }
    }
    pairs
}

type Row = [i16; EMBEDDING_DIM];

/// For each row but the last: its largest dot product with a later row, and which that is.
struct Nearest<'a> {
    rows: &'a [Row],
}

impl pulp::WithSimd for Nearest<'_> {
    type Output = Vec<(i32, u32)>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Self::Output {
        let mut nearest = Vec::with_capacity(self.rows.len());
        for (at, row) in self.rows.iter().enumerate() {
            let mut best = (i32::MIN, 0u32);
            for (second, other) in (at as u32 + 1..).zip(&self.rows[at + 1..]) {
                let dot = dot(row, other);
                if dot > best.0 {
                    best = (dot, second);
                }
            }
            if best.0 > i32::MIN {
                nearest.push(best);
            }
        }
        nearest
    }
}

/// Inlined into a function that pulp compiles for wide vectors, so that it is made of them, too.
#[inline(always)]
fn dot(one: &Row, other: &Row) -> i32 {
    let mut sum = 0i32;
    for lane in 0..EMBEDDING_DIM {
        sum += i32::from(one[lane]) * i32::from(other[lane]);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{self, Rng};

    fn random(rng: &mut Rng) -> Embedding {
        Embedding(std::array::from_fn(|_| rng::below(rng, 61) as i8 - 30))
    }

    fn dot_of(one: &Embedding, other: &Embedding) -> i32 {
        let lanes = one.0.iter().zip(&other.0);
        lanes.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
    }

    #[test]
    fn the_first_pair_is_the_closest_of_all_and_no_sample_is_in_two() {
        for seed in 0..20 {
            let rng = &mut rng::for_step(seed, 0, 0);
            let set: Vec<_> = (0..150).map(|_| random(rng)).collect();
            let pairs = closest_pairs(&set, 16);
            let all = (0..150).flat_map(|a| (a + 1..150).map(move |b| (a, b)));
            let closest = all.map(|(a, b)| dot_of(&set[a], &set[b])).max().unwrap();
            assert_eq!(dot_of(&set[pairs[0].first], &set[pairs[0].second]), closest);
            assert!(pairs.is_sorted_by(|one, other| one.similarity >= other.similarity));
            let mut members: Vec<_> = pairs.iter().flat_map(|pair| [pair.first, pair.second]).collect();
            members.sort_unstable();
            members.dedup();
            assert_eq!((pairs.len(), members.len()), (16, 32));
        }
    }

    #[test]
    fn few_samples_give_few_pairs() {
        let rng = &mut rng::for_step(0, 0, 0);
        let set = [random(rng), random(rng), random(rng)];
        assert_eq!(closest_pairs(&set, 16).len(), 1);
        assert!(closest_pairs(&set[..1], 16).is_empty() && closest_pairs(&[], 16).is_empty());
    }

    #[test]
    fn the_same_place_has_a_similarity_of_one() {
        let mut place = [0; EMBEDDING_DIM];
        (place[3], place[7]) = (90, -90);
        let pairs = closest_pairs(&[Embedding(place); 2], 1);
        assert!((pairs[0].similarity - 1.0).abs() < 0.01, "{pairs:?}");
        let opposite = [Embedding(place), Embedding(place.map(|it| -it))];
        assert!((closest_pairs(&opposite, 1)[0].similarity + 1.0).abs() < 0.01);
    }
}
