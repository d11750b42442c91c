//! Features to coordinates on the components.

use super::Pca;

/// Rows that are projected at once.
const BLOCK: usize = 256;

/// `(features - mean) · componentsᵀ`, computed in f64: `k` elements a row.
pub(crate) fn project(pca: &Pca, rows: &[&[f32]]) -> Vec<f32> {
    let (d, k) = (pca.mean.len(), pca.components_len());
    let mut projected = Vec::with_capacity(rows.len() * k);
    for block in rows.chunks(BLOCK) {
        let centred: Vec<f64> =
            block.iter().flat_map(|row| row.iter().zip(&pca.mean).map(|(x, m)| f64::from(*x) - m)).collect();
        projected.extend(algebra::product(&centred, &pca.components, d).iter().map(|x| *x as f32));
    }
    projected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projection_follows_its_definition() {
        let pca = Pca {
            mean: vec![1.0, 2.0, 3.0],
            components: vec![1.0, 0.0, 0.0, 0.0, 0.6, 0.8],
            spectrum: vec![2.0, 1.0, 0.0],
        };
        let rows: [&[f32]; 2] = [&[2.0, 2.0, 3.0], &[1.0, 3.0, 4.0]];
        assert_eq!(project(&pca, &rows), [1.0, 0.0, 0.0, 1.4]);
        assert!(project(&pca, &[]).is_empty());
    }

    #[test]
    fn blocks_are_projected_as_their_rows_are() {
        let (d, n) = (5, 2 * BLOCK + 3);
        let pca = Pca {
            mean: (0..d).map(|i| i as f64 / 3.0).collect(),
            components: (0..2 * d).map(|i| ((i * 7) % 11) as f64 - 5.0).collect(),
            spectrum: vec![1.0; d],
        };
        let rows: Vec<Vec<f32>> =
            (0..n).map(|r| (0..d).map(|c| ((r * 31 + c * 17) % 97) as f32).collect()).collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let all = project(&pca, &rows);
        assert_eq!(all.len(), 2 * n);
        for (row, vector) in rows.iter().zip(all.chunks_exact(2)) {
            for (got, axis) in vector.iter().zip(pca.components.chunks_exact(d)) {
                let want: f64 =
                    axis.iter().zip(*row).zip(&pca.mean).map(|((a, x), m)| a * (f64::from(*x) - m)).sum();
                assert!((f64::from(*got) - want).abs() <= 1e-6 * (1.0 + want.abs()), "{got} {want}");
            }
        }
    }
}
