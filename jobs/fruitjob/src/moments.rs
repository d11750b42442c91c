//! Mean and covariance of many vectors, as sums that can be taken apart and put together: one set of moments
//! per partition, merged in a fixed tree order, so that the result does not depend on who computed what when.

use faer::linalg::matmul::triangular::{BlockStructure, matmul};
use faer::{Accum, Mat, MatRef, Par};

use crate::npy;

/// Count, mean and centred cross-products of vectors of `d` elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Number of vectors.
    pub count: u64,
    /// `d` means.
    pub mean: Vec<f64>,
    /// Lower triangle of `Σ (x - mean)(x - mean)ᵀ`, column after column, each from the diagonal down, as it lies in
    /// a matrix: `d * (d + 1) / 2` elements.
    pub cross: Vec<f64>,
}

/// Rows that are centred and multiplied at once: small enough for the cache, large enough for the GEMM.
const BLOCK: usize = 256;

impl Moments {
    /// Moments of no vectors.
    pub fn empty(d: usize) -> Self {
        Moments { count: 0, mean: vec![0.0; d], cross: vec![0.0; d * (d + 1) / 2] }
    }

    /// Moments of `rows` of `d` elements each. Sums run in f64 in the order of the rows.
    pub fn of(rows: &[&[f32]], d: usize) -> Self {
        let n = rows.len();
        if n == 0 {
            return Moments::empty(d);
        }
        let mut mean = vec![0.0; d];
        for row in rows {
            mean.iter_mut().zip(*row).for_each(|(m, x)| *m += f64::from(*x));
        }
        mean.iter_mut().for_each(|m| *m /= n as f64);

        let mut cross = Mat::<f64>::zeros(d, d);
        let mut centred = Vec::with_capacity(BLOCK.min(n) * d);
        for block in rows.chunks(BLOCK) {
            centred.clear();
            for row in block {
                assert_eq!(row.len(), d);
                centred.extend(row.iter().zip(&mean).map(|(x, m)| f64::from(*x) - m));
            }
            let x = MatRef::from_row_major_slice(&centred, block.len(), d);
            matmul(
                cross.as_mut(),
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
        let mut packed = Vec::with_capacity(d * (d + 1) / 2);
        for j in 0..d {
            packed.extend_from_slice(&cross.col_as_slice(j)[j..]);
        }
        Moments { count: n as u64, mean, cross: packed }
    }

    /// Moments of both sets of vectors together.
    ///
    /// Source: Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    /// Variances", Stanford STAN-CS-79-773, 1979, equation 2.1.
    pub fn merge(mut self, other: &Moments) -> Self {
        if other.count == 0 {
            return self;
        }
        if self.count == 0 {
            return other.clone();
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let n = a + b;
        let delta: Vec<f64> = other.mean.iter().zip(&self.mean).map(|(y, x)| y - x).collect();
        let mut columns = self.cross.iter_mut().zip(&other.cross);
        for (j, dj) in delta.iter().enumerate() {
            let scaled = dj * (a * b / n);
            for (di, (sum, other)) in delta[j..].iter().zip(&mut columns) {
                *sum += other + scaled * di;
            }
        }
        self.mean.iter_mut().zip(&delta).for_each(|(m, d)| *m += d * (b / n));
        self.count += other.count;
        self
    }

    /// As one NumPy array of f64: count, mean, cross-products.
    pub fn to_npy(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(1 + self.mean.len() + self.cross.len());
        all.push(self.count as f64);
        all.extend_from_slice(&self.mean);
        all.extend_from_slice(&self.cross);
        npy::write(&all, &[all.len()])
    }

    /// The inverse of [`Moments::to_npy`]; `None` when the bytes are something else.
    pub fn from_npy(bytes: &[u8], d: usize) -> Option<Self> {
        let (all, _) = npy::read(bytes)?;
        let [count, rest @ ..] = all.as_slice() else { return None };
        (rest.len() == d + d * (d + 1) / 2).then(|| Moments {
            count: *count as u64,
            mean: rest[..d].to_vec(),
            cross: rest[d..].to_vec(),
        })
    }
}

/// Children of a node of the merge tree.
const FAN: u32 = 64;

/// Merges moments pushed one by one, as a tree over their order: each node folds up to [`FAN`] children, left to
/// right. Holds one set of moments a level, and there are hardly ever more than two levels.
#[derive(Default)]
pub struct Tree {
    /// From the leaves up: children folded so far, and their moments.
    levels: Vec<(u32, Moments)>,
}

impl Tree {
    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Moments) {
        let mut child = leaf;
        for level in &mut self.levels {
            if level.0 == 0 {
                *level = (1, child);
                return;
            }
            let (children, node) = std::mem::replace(level, (0, Moments::empty(0)));
            let node = node.merge(&child);
            if children + 1 < FAN {
                *level = (children + 1, node);
                return;
            }
            child = node;
        }
        self.levels.push((1, child));
    }

    /// All leaves together; `None` when there was none.
    pub fn finish(self) -> Option<Moments> {
        // Higher levels hold earlier leaves.
        let nodes = self.levels.into_iter().rev().filter(|(children, _)| *children > 0).map(|(_, node)| node);
        nodes.reduce(|all, node| all.merge(&node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(n: usize, d: usize) -> Vec<f32> {
        (0..n * d).map(|i| ((i * 2_654_435_761) % 1000) as f32 / 100.0 + 3.0).collect()
    }

    fn of(features: &[f32], d: usize) -> Moments {
        Moments::of(&features.chunks_exact(d).collect::<Vec<_>>(), d)
    }

    /// Two passes, no library.
    fn naive(features: &[f32], d: usize) -> Moments {
        let n = features.len() / d;
        let at = |r: usize, c: usize| f64::from(features[r * d + c]);
        let mean: Vec<f64> = (0..d).map(|c| (0..n).map(|r| at(r, c)).sum::<f64>() / n as f64).collect();
        let cross = (0..d)
            .flat_map(|j| (j..d).map(move |i| (i, j)))
            .map(|(i, j)| (0..n).map(|r| (at(r, i) - mean[i]) * (at(r, j) - mean[j])).sum())
            .collect();
        Moments { count: n as u64, mean, cross }
    }

    fn close(a: &Moments, b: &Moments) {
        assert_eq!(a.count, b.count);
        for (x, y) in a.mean.iter().zip(&b.mean).chain(a.cross.iter().zip(&b.cross)) {
            assert!((x - y).abs() <= 1e-9 * (1.0 + y.abs()), "{x} {y}");
        }
    }

    #[test]
    fn agree_with_the_definition_also_across_blocks() {
        for n in [1, 2, 255, 256, 600] {
            let x = features(n, 7);
            close(&of(&x, 7), &naive(&x, 7));
        }
    }

    #[test]
    fn merging_parts_equals_the_whole() {
        let x = features(100, 5);
        let whole = naive(&x, 5);
        for parts in 1..=9 {
            let mut tree = Tree::default();
            for part in x.chunks(x.len().div_ceil(parts).next_multiple_of(5)) {
                tree.push(of(part, 5));
            }
            tree.push(Moments::empty(5));
            close(&tree.finish().unwrap(), &whole);
        }
        assert!(Tree::default().finish().is_none());
    }

    #[test]
    fn trees_of_several_levels_miss_nothing() {
        for leaves in [1, 63, 64, 65, 128, 4095, 4096, 4097, 5000] {
            let x = features(leaves, 3);
            let mut tree = Tree::default();
            for row in x.chunks(3) {
                tree.push(of(row, 3));
            }
            assert!(tree.levels.len() <= 3);
            close(&tree.finish().unwrap(), &naive(&x, 3));
        }
    }

    #[test]
    fn survive_a_file_bit_for_bit() {
        let moments = of(&features(20, 4), 4);
        assert_eq!(Moments::from_npy(&moments.to_npy(), 4).as_ref(), Some(&moments));
        assert_eq!(Moments::from_npy(&moments.to_npy(), 5), None);
        assert_eq!(Moments::from_npy(b"\x93NUMPY", 4), None);
    }
}
