//! How far a PCA has moved from another one, so that whoever keeps vectors knows whether old and new can be compared.

use fruitjob_interface::changes::Drift;

use super::Pca;
use super::moments::Moments;

/// How far `new` is from `old`, on images of these moments.
pub(crate) fn drift(old: &Pca, new: &Pca, moments: &Moments) -> Drift {
    let (d, k) = (new.mean.len(), new.components_len().min(old.components_len()));
    let common =
        algebra::product(&old.components, &new.components, d).iter().map(|x| x * x).sum::<f64>() / k as f64;
    let vectors_moved = (old.components_len() == new.components_len()).then(|| {
        // Where the mean image comes to lie, in each.
        let at = |pca: &Pca, row: &[f64]| -> f64 {
            row.iter().zip(&moments.mean).zip(&pca.mean).map(|((a, x), m)| a * (x - m)).sum()
        };
        let (mut moved, mut length) = (0.0, 0.0);
        for (old_row, new_row) in old.components.chunks_exact(d).zip(new.components.chunks_exact(d)) {
            let difference: Vec<f64> = new_row.iter().zip(old_row).map(|(n, o)| n - o).collect();
            moved += moments.variance_along(&difference) + (at(new, new_row) - at(old, old_row)).powi(2);
            length += moments.variance_along(new_row) + at(new, new_row).powi(2);
        }
        (moved / length).sqrt()
    });
    let vectors_moved = vectors_moved.filter(|moved| moved.is_finite());
    let same = old.mean == new.mean && old.components == new.components;
    // The same space is at a distance of some 1e-8 from itself.
    let distance = if same { 0.0 } else { (1.0 - common).max(0.0).sqrt() };
    Drift { same, subspace_distance: distance, vectors_moved: if same { Some(0.0) } else { vectors_moved } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pca::moments::Sum;

    fn pca(mean: [f64; 3], components: &[[f64; 3]]) -> Pca {
        Pca { mean: mean.into(), components: components.concat(), spectrum: vec![1.0; 3] }
    }

    /// Of (±2, ±1, 0).
    fn moments() -> Moments {
        let mut sum = Sum::new(3);
        sum.add(&[2.0, 1.0, 0.0, 2.0, -1.0, 0.0, -2.0, 1.0, 0.0, -2.0, -1.0, 0.0]);
        sum.finish()
    }

    const X: [f64; 3] = [1.0, 0.0, 0.0];
    const Y: [f64; 3] = [0.0, 1.0, 0.0];
    const Z: [f64; 3] = [0.0, 0.0, 1.0];

    #[test]
    fn a_pca_is_where_it_was() {
        let one = pca([0.0; 3], &[X, Y]);
        let still = Drift { same: true, subspace_distance: 0.0, vectors_moved: Some(0.0) };
        assert_eq!(drift(&one, &one, &moments()), still);
    }

    #[test]
    fn spaces_at_right_angles_are_far_apart() {
        let far = drift(&pca([0.0; 3], &[X]), &pca([0.0; 3], &[Y]), &moments());
        assert_eq!((far.same, far.subspace_distance), (false, 1.0));
        let half = drift(&pca([0.0; 3], &[X, Y]), &pca([0.0; 3], &[X, Z]), &moments());
        assert!((half.subspace_distance - 0.5f64.sqrt()).abs() < 1e-12, "{half:?}");
        // One holds the other; but vectors of two elements are not to be held against vectors of one.
        let more = drift(&pca([0.0; 3], &[X]), &pca([0.0; 3], &[X, Y]), &moments());
        assert_eq!((more.subspace_distance, more.vectors_moved), (0.0, None));
    }

    #[test]
    fn vectors_move_though_the_space_is_the_same() {
        let flipped = drift(&pca([0.0; 3], &[X]), &pca([0.0; 3], &[[-1.0, 0.0, 0.0]]), &moments());
        assert_eq!(flipped.subspace_distance, 0.0);
        assert!((flipped.vectors_moved.unwrap() - 2.0).abs() < 1e-12, "{flipped:?}");
        // Another mean moves all by as much: 1, where they are sqrt(16 / 3) long.
        let shifted = drift(&pca([1.0, 0.0, 0.0], &[X]), &pca([0.0; 3], &[X]), &moments());
        assert!((shifted.vectors_moved.unwrap() - (3.0f64 / 16.0).sqrt()).abs() < 1e-12, "{shifted:?}");
    }

    #[test]
    fn a_component_that_turns_is_as_far_as_the_sine_of_its_angle() {
        for angle in [1e-3f64, 0.5, 1.5] {
            let turned = pca([0.0; 3], &[[angle.cos(), angle.sin(), 0.0]]);
            let there = drift(&pca([0.0; 3], &[X]), &turned, &moments());
            assert!((there.subspace_distance - angle.sin()).abs() < 1e-9, "{angle}: {there:?}");
            let back = drift(&turned, &pca([0.0; 3], &[X]), &moments());
            assert!((there.subspace_distance - back.subspace_distance).abs() < 1e-12, "{there:?} {back:?}");
        }
    }

    #[test]
    fn components_that_change_places_move_vectors_within_the_same_space() {
        let swapped = drift(&pca([0.0; 3], &[X, Y]), &pca([0.0; 3], &[Y, X]), &moments());
        assert!(!swapped.same && swapped.subspace_distance < 1e-7, "{swapped:?}");
        // Each image's vector was (x, y) and is (y, x): the difference is |x - y| sqrt(2), x and y being independent.
        assert!((swapped.vectors_moved.unwrap() - 2f64.sqrt()).abs() < 1e-12, "{swapped:?}");
    }

    #[test]
    fn how_far_vectors_of_no_length_moved_is_not_told() {
        let still = Moments { count: 2, mean: vec![0.0; 3], cross: vec![0.0; 6] };
        let drift = drift(&pca([0.0; 3], &[X]), &pca([0.0; 3], &[Y]), &still);
        assert_eq!((drift.subspace_distance, drift.vectors_moved), (1.0, None));
    }
}
