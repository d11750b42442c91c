//! Principal components: the arithmetic alone. Features come as [moments], results go as numbers; no I/O.

pub(crate) mod drift;
pub mod moments;
pub(crate) mod npy;
pub(crate) mod project;

use moments::Moments;

use crate::error::{Error, Result};
use crate::util::hex_sha256;

/// Components that are kept where no number is given.
pub const DEFAULT_COMPONENTS: usize = 64;

/// A share of the variance that is a rounding error.
pub(crate) const NONE: f64 = 1e-12;

/// How many components a PCA keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Components {
    /// [`DEFAULT_COMPONENTS`], or as many as the images allow.
    Default,
    /// This many; an error when the images allow fewer.
    Count(usize),
    /// As few as explain more than this share of the variance, as in scikit-learn.
    Variance(f64),
}

/// A fitted PCA: where features of `d` elements are projected on `k` components.
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    /// Mean of the features: `d` elements.
    pub mean: Vec<f64>,
    /// `k x d`, row-major: a unit vector a row, by falling variance. Each one's largest element by magnitude
    /// is positive (scikit-learn's `svd_flip`), so that signs do not change from night to night.
    pub components: Vec<f64>,
    /// Variance along every axis, kept or not: `d` elements, falling, with `n - 1` degrees of freedom.
    pub spectrum: Vec<f64>,
}

impl Pca {
    /// The number of components, `k`.
    pub fn components_len(&self) -> usize {
        self.components.len() / self.mean.len()
    }

    /// Variance along each component: `k` elements.
    pub fn explained_variance(&self) -> &[f64] {
        &self.spectrum[..self.components_len()]
    }

    /// Each component's share of the total variance: `k` elements.
    pub fn explained_variance_ratio(&self) -> Vec<f64> {
        let total: f64 = self.spectrum.iter().sum();
        self.explained_variance().iter().map(|v| v / total).collect()
    }

    /// Exact PCA by the eigenvectors of the covariance matrix, in f64.
    ///
    /// # Errors
    /// [`Error::Failed`] when there are too few images, or all are the same.
    pub fn fit(moments: &Moments, wanted: Components) -> Result<Self> {
        let (n, d) = (moments.count as usize, moments.mean.len());
        if n < 2 {
            return Err(Error::Failed(format!(
                "PCA needs at least two images, and {} could be used",
                if n == 0 { "none" } else { "one" }
            )));
        }
        let most = d.min(n - 1);
        if let Components::Count(k) = wanted
            && k > most
        {
            return Err(Error::Failed(format!(
                "{k} components asked for, but {n} images with {d} features have at most {most}; \
                 ask for --components {most} or fewer, or for a share of the variance, --variance 0.95"
            )));
        }
        let total = moments.total_variance();
        // Below this, the variance is the rounding error of the features' own magnitude.
        let magnitude = moments.mean.iter().map(|m| m * m).sum::<f64>();
        if total <= 1e-14 * magnitude || total == 0.0 {
            return Err(Error::Failed(format!(
                "the features of all {n} images are the same, so there is nothing for PCA to find; \
                 check that the input holds different pictures"
            )));
        }
        let covariance: Vec<f64> = moments.cross.iter().map(|sum| sum / (n - 1) as f64).collect();
        let eigen = algebra::eigen(&covariance, d)
            .ok_or_else(|| Error::Failed("the eigenvalues did not converge".into()))?;
        // They rise.
        let spectrum: Vec<f64> = eigen.values.iter().rev().map(|value| value.max(0.0)).collect();
        let k = match wanted {
            // Beyond the last axis with any variance, directions are those of rounding errors.
            Components::Default => {
                let some = spectrum.iter().take_while(|v| **v > NONE * total).count();
                DEFAULT_COMPONENTS.min(most).min(some.max(1))
            }
            Components::Count(k) => k,
            Components::Variance(share) => {
                let total: f64 = spectrum.iter().sum();
                let mut sum = 0.0;
                let needed = spectrum.iter().position(|v| {
                    sum += v / total;
                    sum > share
                });
                needed.map_or(d, |last| last + 1).min(most)
            }
        };
        let mut components = Vec::with_capacity(k * d);
        for vector in eigen.vectors.chunks_exact(d).rev().take(k) {
            let largest = vector.iter().fold(0.0f64, |best, x| if x.abs() > best.abs() { *x } else { best });
            let sign = if largest < 0.0 { -1.0 } else { 1.0 };
            components.extend(vector.iter().map(|x| x * sign));
        }
        Ok(Pca { mean: moments.mean.clone(), components, spectrum })
    }

    /// Each component's share of the variance of images that it need not have been fitted on.
    pub(crate) fn explains(&self, moments: &Moments) -> Vec<f64> {
        let total = moments.total_variance().max(f64::MIN_POSITIVE);
        self.components.chunks_exact(self.mean.len()).map(|row| moments.variance_along(row) / total).collect()
    }

    /// What this PCA is called: 12 hexadecimal digits, a hash of its numbers.
    pub(crate) fn id(&self) -> String {
        let numbers = [&self.mean, &self.components, &self.spectrum].into_iter().flatten();
        hex_sha256(&numbers.flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())[..12].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::moments::Sum;
    use super::*;

    fn moments(rows: &[[f32; 3]]) -> Moments {
        let mut sum = Sum::new(3);
        sum.add(rows.as_flattened());
        sum.finish()
    }

    /// Points along (3, 4) / 5 with a little spread along (4, -3) / 5, in the plane z = 7.
    fn plane() -> Moments {
        let rows: Vec<[f32; 3]> = (0..40)
            .map(|i| {
                let (t, s) = (i as f32 - 19.5, if i % 2 == 0 { 0.5 } else { -0.5 });
                [3.0 * t + 4.0 * s, 4.0 * t - 3.0 * s, 7.0]
            })
            .collect();
        moments(&rows)
    }

    #[test]
    fn finds_the_axes_of_a_plane() {
        let pca = Pca::fit(&plane(), Components::Count(2)).unwrap();
        // The largest element of (4, -3) / 5 is its first: signs are fixed by it.
        for (got, want) in pca.components.iter().zip([0.6, 0.8, 0.0, 0.8, -0.6, 0.0]) {
            assert!((got - want).abs() < 2e-2, "{:?}", pca.components);
        }
        assert!((pca.mean[2] - 7.0).abs() < 1e-12);
        assert!(pca.spectrum[0] > 3000.0 && pca.spectrum[2] < 1e-9, "{:?}", pca.spectrum);
        assert!((pca.explained_variance_ratio().iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn share_of_variance_keeps_as_few_as_exceed_it() {
        assert_eq!(Pca::fit(&plane(), Components::Variance(0.95)).unwrap().components_len(), 1);
        assert_eq!(Pca::fit(&plane(), Components::Variance(0.99999)).unwrap().components_len(), 2);
        assert_eq!(Pca::fit(&plane(), Components::Default).unwrap().components_len(), 2);
    }

    #[test]
    fn too_few_or_equal_images_are_explained() {
        let message = |m: &Moments, keep| Pca::fit(m, keep).unwrap_err().to_string();
        assert!(message(&Moments::empty(3), Components::Default).contains("none"));
        assert!(message(&moments(&[[1.0, 2.0, 3.0]]), Components::Default).contains("at least two"));
        let two = moments(&[[1.0, 2.0, 3.0], [2.0, 2.0, 3.0]]);
        assert!(message(&two, Components::Count(2)).contains("--components 1"));
        let same = moments(&[[0.1, 0.2, 0.3]; 33]);
        assert!(message(&same, Components::Default).contains("the same"));
    }

    #[test]
    fn components_are_unit_vectors_at_right_angles_with_fixed_signs() {
        let pca = Pca::fit(&plane(), Components::Count(3)).unwrap();
        let rows: Vec<&[f64]> = pca.components.chunks_exact(3).collect();
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate() {
                let dot: f64 = a.iter().zip(*b).map(|(x, y)| x * y).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12, "{i} {j}: {dot}");
            }
            let largest = a.iter().copied().max_by(|x, y| x.abs().total_cmp(&y.abs())).unwrap();
            assert!(largest > 0.0, "{a:?}");
        }
    }

    #[test]
    fn a_pca_explains_the_images_that_it_was_fitted_on_as_its_spectrum_says() {
        let (moments, pca) = (plane(), Pca::fit(&plane(), Components::Count(2)).unwrap());
        for (a, b) in pca.explains(&moments).iter().zip(pca.explained_variance_ratio()) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
        // Of images that vary along z alone, it explains nothing.
        let other = self::moments(&[[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]);
        assert!(pca.explains(&other).iter().all(|share| share.abs() < 1e-12));
    }

    #[test]
    fn an_id_names_every_number() {
        let pca = Pca { mean: vec![0.0, 1.0], components: vec![1.0, 0.0], spectrum: vec![2.0, 1.0] };
        let id = pca.id();
        assert!(id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert_eq!(id, pca.clone().id());
        let changed = |change: fn(&mut Pca)| {
            let mut other = pca.clone();
            change(&mut other);
            other.id() != id
        };
        assert!(
            changed(|p| p.mean[0] = -0.0)
                && changed(|p| p.components[1] = 1e-300)
                && changed(|p| p.spectrum[1] = 0.5)
        );
    }
}
