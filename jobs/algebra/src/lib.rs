//! The linear algebra of a PCA, in f64 on one core: cross-products, products and eigenvectors, by faer.
//!
//! A crate of its own because faer is generic: whatever calls it compiles it. Here that happens once, optimised in every
//! profile, and not each time that the job changes.

use faer::linalg::matmul::triangular::{BlockStructure, matmul};
use faer::{Accum, Mat, MatRef, Par, Side};

/// The lower triangle of a sum of `x xᵀ`, over vectors of `d` elements.
pub struct Cross(Mat<f64>);

impl Cross {
    /// The sum over no vectors.
    pub fn new(d: usize) -> Self {
        Cross(Mat::zeros(d, d))
    }

    /// Adds vectors that lie one after another: `rows` has a multiple of `d` elements.
    pub fn add(&mut self, rows: &[f64]) {
        let d = self.0.ncols();
        let x = MatRef::from_row_major_slice(rows, rows.len() / d.max(1), d);
        matmul(
            self.0.as_mut(),
            BlockStructure::TriangularLower,
            Accum::Add,
            x.transpose(),
            BlockStructure::Rectangular,
            x,
            BlockStructure::Rectangular,
            1.0,
            Par::Seq,
        );
    }

    /// Column `j` from the diagonal down: `d - j` elements.
    pub fn column(&self, j: usize) -> &[f64] {
        &self.0.col_as_slice(j)[j..]
    }
}

/// `a · bᵀ`, for rows of `d` elements: row-major, a row for each of `a`, a column for each of `b`.
pub fn product(a: &[f64], b: &[f64], d: usize) -> Vec<f64> {
    let rows = |x| MatRef::from_row_major_slice(x, <[f64]>::len(x) / d, d);
    let (a, b) = (rows(a), rows(b));
    let product = a * b.transpose();
    (0..a.nrows()).flat_map(|i| (0..b.nrows()).map(move |j| (i, j))).map(|(i, j)| product[(i, j)]).collect()
}

/// Eigenvalues, rising, and the eigenvector of each.
pub struct Eigen {
    /// `d` values.
    pub values: Vec<f64>,
    /// One vector of `d` elements after another, of length 1; signs are the algorithm's.
    pub vectors: Vec<f64>,
}

/// Eigenvectors of a symmetric matrix, given as the columns of its lower triangle, each from the diagonal down:
/// `d * (d + 1) / 2` elements. `None` where they do not converge.
pub fn eigen(lower: &[f64], d: usize) -> Option<Eigen> {
    assert_eq!(lower.len(), d * (d + 1) / 2);
    let mut matrix = Mat::zeros(d, d);
    let mut rest = lower;
    for j in 0..d {
        let (column, others) = rest.split_at(d - j);
        matrix.col_as_slice_mut(j)[j..].copy_from_slice(column);
        rest = others;
    }
    let eigen = matrix.self_adjoint_eigen(Side::Lower).ok()?;
    Some(Eigen {
        values: (0..d).map(|i| eigen.S()[i]).collect(),
        vectors: (0..d).flat_map(|i| eigen.U().col(i).iter().copied()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_row_by_row() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(product(&a, &b, 2), [1.0, 2.0, 3.0, 3.0, 4.0, 7.0]);
    }

    #[test]
    fn cross_products_add_up() {
        let mut cross = Cross::new(2);
        cross.add(&[1.0, 2.0, 3.0, 4.0]);
        cross.add(&[1.0, 1.0]);
        assert_eq!((cross.column(0), cross.column(1)), (&[11.0, 15.0][..], &[21.0][..]));
    }

    #[test]
    fn eigenvectors_solve_their_equation() {
        // [2 1; 1 2]: 1 and 3.
        let found = eigen(&[2.0, 1.0, 2.0], 2).unwrap();
        for (value, vector) in found.values.iter().zip(found.vectors.chunks(2)) {
            assert!((2.0 * vector[0] + vector[1] - value * vector[0]).abs() < 1e-12);
        }
        assert!((found.values[0] - 1.0).abs() < 1e-12 && (found.values[1] - 3.0).abs() < 1e-12);
    }
}
