//! Which photo is this crop from? Retrieval with the photo as the label that nobody showed the daemon.

/// Vectors of the same length, one a row, each with the number of its photo.
pub(super) struct Labelled {
    /// Row after row, `dim` numbers each.
    pub vectors: Vec<f32>,
    /// Numbers of a row.
    pub dim: usize,
    /// The photo of each row.
    pub photos: Vec<usize>,
}

impl Labelled {
    fn row(&self, index: usize) -> &[f32] {
        &self.vectors[index * self.dim..(index + 1) * self.dim]
    }
}

/// The share of queries whose nearest row of the gallery (by cosine) is from the same photo.
pub(super) fn recall_at_1(gallery: &Labelled, queries: &Labelled) -> f64 {
    let norm = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    let norms: Vec<f32> = (0..gallery.photos.len())
        .map(|index| norm(gallery.row(index)))
        .collect();
    let right = (0..queries.photos.len()).filter(|&query| {
        let similarity = |index: usize| {
            gallery
                .row(index)
                .iter()
                .zip(queries.row(query))
                .map(|(a, b)| a * b)
                .sum::<f32>()
                / norms[index]
        };
        let nearest = (0..norms.len()).max_by(|&a, &b| similarity(a).total_cmp(&similarity(b)));
        nearest.is_some_and(|nearest| gallery.photos[nearest] == queries.photos[query])
    });
    right.count() as f64 / queries.photos.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_right_when_its_nearest_neighbour_by_cosine_is_of_its_photo() {
        let gallery = Labelled {
            vectors: vec![9.0, 0.0, 0.0, 1.0],
            dim: 2,
            photos: vec![0, 1],
        };
        let queries = Labelled {
            vectors: vec![1.0, 0.1, 0.1, 1.0, 0.1, 1.0, 1.0, 0.9],
            dim: 2,
            photos: vec![0, 1, 0, 0],
        };
        assert_eq!(recall_at_1(&gallery, &queries), 0.75);
    }
}
