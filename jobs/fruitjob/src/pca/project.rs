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
}
