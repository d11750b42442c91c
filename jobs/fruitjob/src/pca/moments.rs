//! Mean and covariance of many vectors, as sums that can be taken apart and put together.

use algebra::Cross;

use super::npy;

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

    /// Variance of the vectors' elements all together, with `n - 1` degrees of freedom.
    pub fn total_variance(&self) -> f64 {
        let (mut at, d) = (0, self.mean.len());
        let diagonal = (0..d).map(|j| {
            let element = self.cross[at];
            at += d - j;
            element
        });
        diagonal.sum::<f64>() / self.freedom()
    }

    /// `vᵀ C v`, C being the covariance with `n - 1` degrees of freedom: the variance along a direction of `d`
    /// elements, times its squared length.
    pub fn variance_along(&self, v: &[f64]) -> f64 {
        let mut rest = self.cross.as_slice();
        let mut sum = 0.0;
        for j in 0..v.len() {
            let (column, others) = rest.split_at(v.len() - j);
            let below: f64 = column[1..].iter().zip(&v[j + 1..]).map(|(c, x)| c * x).sum();
            sum += v[j] * (v[j] * column[0] + 2.0 * below);
            rest = others;
        }
        sum / self.freedom()
    }

    /// One vector varies from nothing.
    fn freedom(&self) -> f64 {
        self.count.saturating_sub(1).max(1) as f64
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

/// Adds up vectors of `d` elements, in f64 and in the order in which they come.
///
/// Each is taken relative to the mean of the first ones, so that what is added up is small, and the true mean is
/// put in at the end: "shifted data" (Chan, Golub, LeVeque, "Algorithms for Computing the Sample Variance", The
/// American Statistician 37(3), 1983).
pub struct Sum {
    count: u64,
    shift: Vec<f64>,
    /// `Σ (x - shift)`.
    sum: Vec<f64>,
    /// Lower triangle of `Σ (x - shift)(x - shift)ᵀ`.
    cross: Cross,
    shifted: Vec<f64>,
}

impl Sum {
    /// The sum of no vectors.
    pub fn new(d: usize) -> Self {
        Sum { count: 0, shift: vec![0.0; d], sum: vec![0.0; d], cross: Cross::new(d), shifted: Vec::new() }
    }

    /// Adds vectors that lie one after another.
    pub fn add(&mut self, vectors: &[f32]) {
        let d = self.shift.len();
        assert!(vectors.len().is_multiple_of(d));
        let n = vectors.len() / d;
        if self.count == 0 && n > 0 {
            for vector in vectors.chunks_exact(d) {
                self.shift.iter_mut().zip(vector).for_each(|(m, x)| *m += f64::from(*x));
            }
            self.shift.iter_mut().for_each(|m| *m /= n as f64);
        }
        self.count += n as u64;
        for block in vectors.chunks(BLOCK * d) {
            self.shifted.clear();
            for vector in block.chunks_exact(d) {
                self.shifted.extend(vector.iter().zip(&self.shift).map(|(x, m)| f64::from(*x) - m));
            }
            for vector in self.shifted.chunks_exact(d) {
                self.sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
            }
            self.cross.add(&self.shifted);
        }
    }

    /// The moments of all that was added.
    pub fn finish(self) -> Moments {
        let d = self.shift.len();
        if self.count == 0 {
            return Moments::empty(d);
        }
        let n = self.count as f64;
        let mut cross = Vec::with_capacity(d * (d + 1) / 2);
        for j in 0..d {
            let off = self.sum[j] / n;
            let column = self.cross.column(j).iter();
            cross.extend(column.zip(&self.sum[j..]).map(|(cross, sum)| cross - off * sum));
        }
        let mean = self.shift.iter().zip(&self.sum).map(|(m, sum)| m + sum / n).collect();
        Moments { count: self.count, mean, cross }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(n: usize, d: usize) -> Vec<f32> {
        (0..n * d).map(|i| ((i * 2_654_435_761) % 1000) as f32 / 100.0 + 3.0).collect()
    }

    fn of(features: &[f32], d: usize) -> Moments {
        let mut sum = Sum::new(d);
        sum.add(features);
        sum.finish()
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
    fn parts_added_or_merged_equal_the_whole() {
        let x = features(100, 5);
        let whole = naive(&x, 5);
        for parts in 1..=9 {
            let mut sum = Sum::new(5);
            sum.add(&[]);
            let mut merged = Moments::empty(5);
            for part in x.chunks(x.len().div_ceil(parts).next_multiple_of(5)) {
                sum.add(part);
                merged = merged.merge(&of(part, 5));
            }
            close(&sum.finish(), &whole);
            close(&merged.merge(&Moments::empty(5)), &whole);
        }
        assert_eq!(Sum::new(5).finish(), Moments::empty(5));
    }

    #[test]
    fn what_does_not_vary_has_no_variance() {
        let moments = of(&[0.1, 1e6, 0.1, 1e6, 0.1, 1e6], 2);
        assert!(moments.cross.iter().all(|c| c.abs() < 1e-25), "{:?}", moments.cross);
    }

    #[test]
    fn survive_a_file_bit_for_bit() {
        let moments = of(&features(20, 4), 4);
        assert_eq!(Moments::from_npy(&moments.to_npy(), 4).as_ref(), Some(&moments));
        assert_eq!(Moments::from_npy(&moments.to_npy(), 5), None);
        assert_eq!(Moments::from_npy(b"\x93NUMPY", 4), None);
    }
}
