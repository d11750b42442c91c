//! The nearest of many vectors: every one is compared.

/// Rows that stay in a core's cache while all vectors that are looked for go over them: 64 KB of 64 components.
const BLOCK: usize = 256;

/// Of each of `wanted`, the `k` nearest rows of `vectors` and their distances by L2, the nearest first, the first of equals.
/// `among` says, by the number in `wanted` and that of the row, whether a row is meant.
pub(super) fn nearest(
    wanted: &[&[f32]],
    vectors: &[f32],
    k: usize,
    among: impl Fn(usize, usize) -> bool,
) -> Vec<Vec<(usize, f32)>> {
    let mut nearest = vec![Nearest::new(k); wanted.len()];
    let d = wanted.first().map_or(1, |vector| vector.len());
    for (block, rows) in vectors.chunks(BLOCK * d).enumerate() {
        for (number, (vector, nearest)) in wanted.iter().zip(&mut nearest).enumerate() {
            for (i, row) in rows.chunks_exact(d).enumerate() {
                let squared = squared_distance(vector, row);
                let row = block * BLOCK + i;
                if squared < nearest.reach && among(number, row) {
                    nearest.add(row, squared);
                }
            }
        }
    }
    nearest.into_iter().map(Nearest::distances).collect()
}

/// The nearest of these rows of `vectors`, and its distance.
pub(crate) fn nearest_of(
    vector: &[f32],
    vectors: &[f32],
    rows: impl Iterator<Item = usize>,
) -> Option<(usize, f32)> {
    let d = vector.len();
    let mut nearest = Nearest::new(1);
    for row in rows {
        let squared = squared_distance(vector, &vectors[row * d..(row + 1) * d]);
        if squared < nearest.reach {
            nearest.add(row, squared);
        }
    }
    nearest.distances().pop()
}

/// The nearest so far.
#[derive(Clone)]
struct Nearest {
    /// Rows and squared distances, the nearest first.
    found: Vec<(usize, f32)>,
    k: usize,
    /// What is not nearer than this is none of them.
    reach: f32,
}

impl Nearest {
    fn new(k: usize) -> Self {
        let reach = if k == 0 { 0.0 } else { f32::INFINITY };
        Nearest { found: Vec::with_capacity(k.min(1024) + 1), k, reach }
    }

    fn add(&mut self, row: usize, squared: f32) {
        let at = self.found.partition_point(|(_, other)| *other <= squared);
        self.found.insert(at, (row, squared));
        self.found.truncate(self.k);
        if self.found.len() == self.k {
            self.reach = self.found[self.k - 1].1;
        }
    }

    fn distances(self) -> Vec<(usize, f32)> {
        self.found.into_iter().map(|(row, squared)| (row, squared.sqrt())).collect()
    }
}

/// `Σ (a - b)²`, in as many sums as the processor adds at once. By differences: what is almost the same would be lost in the
/// rounding of products.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            let apart = a[lane] - b[lane];
            sums[lane] += apart * apart;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    // By halves: a sum from left to right waits for itself.
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0] + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_are_in_order_whatever_the_number_of_components() {
        for d in [1, 15, 16, 40] {
            let n = BLOCK + 44;
            let vectors: Vec<f32> = (0..n * d).map(|i| ((i * 7919) % 101) as f32).collect();
            let wanted: Vec<Vec<f32>> =
                (0..3).map(|j| (0..d).map(|i| ((i + j) * 13 % 101) as f32).collect()).collect();
            let wanted: Vec<&[f32]> = wanted.iter().map(Vec::as_slice).collect();
            // Without the first row, for the second vector.
            let found = nearest(&wanted, &vectors, 7, |number, row| number != 1 || row != 0);
            for (number, (vector, found)) in wanted.iter().zip(&found).enumerate() {
                let mut want: Vec<(usize, f32)> = (0..n)
                    .filter(|row| number != 1 || *row != 0)
                    .map(|row| {
                        let squares =
                            vectors[row * d..(row + 1) * d].iter().zip(*vector).map(|(a, b)| (a - b).powi(2));
                        (row, squares.sum::<f32>().sqrt())
                    })
                    .collect();
                want.sort_by(|a, b| a.1.total_cmp(&b.1));
                for (got, want) in found.iter().zip(&want) {
                    assert!((got.1 - want.1).abs() < 1e-3 * (1.0 + want.1), "{d}: {found:?}");
                }
                assert_eq!(found.len(), 7);
                let one = nearest_of(vector, &vectors, (0..n).filter(|row| number != 1 || *row != 0));
                assert_eq!(one, Some(found[0]));
            }
        }
    }

    #[test]
    fn there_may_be_fewer_and_of_equals_the_first_is_meant() {
        assert_eq!(nearest(&[&[1.0]], &[], 3, |_, _| true), [[]]);
        assert_eq!(nearest(&[&[1.0]], &[3.0, -1.0], 3, |_, _| true), [[(0, 2.0), (1, 2.0)]]);
        assert_eq!(nearest(&[&[1.0]], &[3.0, -1.0], 1, |_, _| true), [[(0, 2.0)]]);
        assert_eq!(nearest(&[&[1.0]], &[3.0], 0, |_, _| true), [[]]);
        assert!(nearest(&[], &[3.0], 3, |_, _| true).is_empty());
        assert_eq!(nearest_of(&[1.0], &[3.0], std::iter::empty()), None);
    }
}
