//! Redundancy: which samples of a set say the same, by their places in teacher space. Pure.
//! Invariant: each pair is the closest of the set without the samples of the pairs before it.

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

/// The closest pairs of a set.
pub(super) struct Closest {
    /// The closest first.
    pub(super) pairs: Vec<Pair>,
    /// How similar the nearest of those after it is to a sample: the median.
    pub(super) usual: f32,
}

/// Neighbours that are remembered of each sample. One in the middle of a cluster is the nearest of all others in it, and
/// is in one pair only: then the next nearest is what counts.
const NEIGHBOURS: usize = 8;

/// Pairs of samples that lie close together, the closest first: `most` of them, fewer where the next could not be told
/// without another pass; at least one if there are two samples.
///
/// One pass over all dot products, of which there are n^2 / 2, gives each sample's nearest later neighbours. Whoever runs
/// out of them, all being taken, may have one that is nearer than what would come next, so that no pair comes after it.
pub(super) fn closest_pairs(embeddings: &[Embedding], most: usize) -> Closest {
    // Two of 16 bits are multiplied and added to a sum of 32 in one instruction; of 8 bits there is none everywhere.
    let rows: Vec<Row> = embeddings.iter().map(|embedding| embedding.0.map(i16::from)).collect();
    let nearest = pulp::Arch::new().dispatch(Nearest { rows: &rows });
    let mut dots: Vec<i32> = nearest.iter().filter_map(Near::first).collect();
    let middle = dots.len() / 2;
    let usual = match dots.is_empty() {
        true => 1.0,
        false => cosine(*dots.select_nth_unstable(middle).1),
    };
    let mut edges: Vec<Edge> = (0u32..)
        .zip(nearest)
        .flat_map(|(first, near)| near.edges(first))
        .collect();
    edges.sort_unstable_by_key(|edge| (std::cmp::Reverse(edge.dot), edge.first, edge.second));
    let mut taken = vec![false; rows.len()];
    let mut pairs = Vec::with_capacity(most);
    for Edge {
        dot,
        first,
        second,
        is_last,
    } in edges
    {
        let (first, second) = (first as usize, second as usize);
        if pairs.len() == most || (is_last && !taken[first] && taken[second]) {
            break;
        }
        if !taken[first] && !taken[second] {
            (taken[first], taken[second]) = (true, true);
            let similarity = cosine(dot);
            pairs.push(Pair {
                first,
                second,
                similarity,
            });
        }
    }
    Closest { pairs, usual }
}

/// The cosine of two embeddings with this dot product, about.
fn cosine(dot: i32) -> f32 {
    (dot as f32 / UNIT).clamp(-1.0, 1.0)
}

type Row = [i16; EMBEDDING_DIM];

/// Two rows and their dot product.
struct Edge {
    dot: i32,
    first: u32,
    second: u32,
    /// Whether the first may have more neighbours, of which nothing is known.
    is_last: bool,
}

/// The nearest later rows of a row, the nearest first.
struct Near([(i32, u32); NEIGHBOURS]);

impl Near {
    const NONE: (i32, u32) = (i32::MIN, 0);

    /// One that is nearer than the last of them.
    #[cold]
    fn insert(&mut self, dot: i32, second: u32) {
        let at = self.0.partition_point(|near| near.0 >= dot);
        self.0[at..].rotate_right(1);
        self.0[at] = (dot, second);
    }

    /// The dot product with the nearest, if there is one.
    fn first(&self) -> Option<i32> {
        (self.0[0] != Self::NONE).then_some(self.0[0].0)
    }

    fn edges(self, first: u32) -> impl Iterator<Item = Edge> {
        let known = self.0.into_iter().take_while(|near| *near != Self::NONE);
        known.enumerate().map(move |(rank, (dot, second))| Edge {
            dot,
            first,
            second,
            is_last: rank + 1 == NEIGHBOURS,
        })
    }
}

/// For each row: its nearest later rows.
struct Nearest<'a> {
    rows: &'a [Row],
}

impl pulp::WithSimd for Nearest<'_> {
    type Output = Vec<Near>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Self::Output {
        let mut nearest = Vec::with_capacity(self.rows.len());
        for (at, row) in self.rows.iter().enumerate() {
            let mut near = Near([Near::NONE; NEIGHBOURS]);
            for (second, other) in (at as u32 + 1..).zip(&self.rows[at + 1..]) {
                let dot = dot(row, other);
                if dot > near.0[NEIGHBOURS - 1].0 {
                    near.insert(dot, second);
                }
            }
            nearest.push(near);
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

    /// A place near another.
    fn near(centre: &Embedding, rng: &mut Rng) -> Embedding {
        Embedding(centre.0.map(|lane| lane + rng::below(rng, 5) as i8 - 2))
    }

    #[test]
    fn each_pair_is_the_closest_of_those_that_are_left() {
        for seed in 0..30 {
            let rng = &mut rng::for_step(seed, 0, 0);
            let centre = random(rng);
            // Far apart, then in one cluster, whose middle is everybody's nearest.
            let apart = (0..100).map(|_| random(rng)).collect::<Vec<_>>();
            let clustered = (0..50 * (seed % 2)).map(|_| near(&centre, rng)).collect::<Vec<_>>();
            let mut set = [apart, clustered].concat();
            let pairs = closest_pairs(&set, 16).pairs;
            assert!(!pairs.is_empty() && pairs.len() <= 16);
            assert!(
                seed % 2 == 1 || pairs.len() == 16,
                "{} pairs of samples far apart",
                pairs.len()
            );
            let mut left: Vec<usize> = (0..set.len()).collect();
            for pair in pairs {
                let all = left
                    .iter()
                    .flat_map(|a| left.iter().map(move |b| (*a, *b)))
                    .filter(|(a, b)| a < b);
                let closest = all.map(|(a, b)| dot_of(&set[a], &set[b])).max().unwrap();
                assert_eq!(dot_of(&set[pair.first], &set[pair.second]), closest);
                left.retain(|at| *at != pair.first && *at != pair.second);
            }
            set.truncate(1);
            assert!(closest_pairs(&set, 16).pairs.is_empty());
        }
    }

    #[test]
    fn few_samples_give_few_pairs() {
        let rng = &mut rng::for_step(0, 0, 0);
        let set = [random(rng), random(rng), random(rng)];
        assert_eq!(closest_pairs(&set, 16).pairs.len(), 1);
        assert!(closest_pairs(&set[..1], 16).pairs.is_empty() && closest_pairs(&[], 16).pairs.is_empty());
    }

    #[test]
    fn the_same_place_has_a_similarity_of_one() {
        let mut place = [0; EMBEDDING_DIM];
        (place[3], place[7]) = (90, -90);
        let pairs = closest_pairs(&[Embedding(place); 2], 1).pairs;
        assert!((pairs[0].similarity - 1.0).abs() < 0.01, "{pairs:?}");
        let opposite = [Embedding(place), Embedding(place.map(|it| -it))];
        assert!((closest_pairs(&opposite, 1).pairs[0].similarity + 1.0).abs() < 0.01);
    }
}
