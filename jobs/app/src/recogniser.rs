//! A bundle at work: a picture to its vector, and to the pictures nearest to it.

use mobilenet::{Isa, Network, Precision, Scratch, Step};

use crate::Bundle;
use crate::pixels::Rgba;

/// A bundle, ready to run.
pub struct Recogniser {
    bundle: Bundle,
    network: Network,
    scratch: Scratch,
}

/// What is said of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// `k` numbers.
    pub vector: Vec<f32>,
    /// The nearest pictures and their distances by L2, the nearest first.
    pub nearest: Vec<(usize, f32)>,
    /// The label of the first of them.
    pub label: u16,
    /// How many of them have that label, as a share.
    pub share: f32,
    /// How far the first might be.
    pub limit: f32,
    /// Whether the projection leaves more out than of any like those that it was fitted on.
    pub is_off: bool,
}

impl Answer {
    /// Whether it is unlike all pictures.
    pub fn is_unlike(&self) -> bool {
        self.is_off || self.nearest.first().is_none_or(|(_, distance)| *distance > self.limit)
    }
}

impl Recogniser {
    /// Packs the weights for this processor.
    ///
    /// # Errors
    /// What the parts do not fit in.
    pub fn new(bundle: Bundle) -> Result<Self, String> {
        let size = bundle.preprocessing.size.map(|side| side as usize);
        let network = Network::new(&bundle.layers, size, Isa::best(), Precision::F32)?;
        let features = Step::features(&bundle.head, network.features())?;
        if features != bundle.mean.len() {
            return Err(format!("a PCA of {} on {features} features", bundle.mean.len()));
        }
        let scratch = network.scratch();
        Ok(Recogniser { bundle, network, scratch })
    }

    /// The picture's vector.
    pub fn vector(&mut self, image: Rgba) -> Vec<f32> {
        self.project(image).0
    }

    /// The picture's vector, and the length of what is left out of it.
    fn project(&mut self, image: Rgba) -> (Vec<f32>, f32) {
        let mut tensor = self.bundle.preprocessing.tensor(image);
        if let Some([factor, summand]) = &self.bundle.entry {
            for pixel in tensor.as_chunks_mut::<3>().0 {
                *pixel = std::array::from_fn(|c| pixel[c] * factor[c] + summand[c]);
            }
        }
        let mut features = vec![0.0; self.network.features()];
        self.network.forward(&tensor, &mut self.scratch, &mut features);
        Step::run(&self.bundle.head, &mut features);
        let d = features.len();
        let centred: Vec<f64> = features
            .iter()
            .zip(&self.bundle.mean)
            .map(|(x, mean)| f64::from(*x) - f64::from(*mean))
            .collect();
        let along =
            |axis: &[f32]| axis.iter().zip(&centred).map(|(a, x)| f64::from(*a) * x).sum::<f64>() as f32;
        let vector: Vec<f32> = self.bundle.components.chunks_exact(d).map(along).collect();
        let kept: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
        let left_out = (centred.iter().map(|x| x * x).sum::<f64>() - kept).max(0.0).sqrt() as f32;
        (vector, left_out)
    }

    /// What the picture is, by so many of the nearest; `None` where there is no picture to compare it with.
    pub fn answer(&mut self, image: Rgba, neighbours: usize) -> Option<Answer> {
        let (vector, left_out) = self.project(image);
        let is_off = left_out > self.bundle.left_out_limit;
        let mut all: Vec<(usize, f32)> = self
            .bundle
            .vectors
            .chunks_exact(vector.len())
            .map(|other| vector.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum::<f32>())
            .map(f32::sqrt)
            .enumerate()
            .collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        all.truncate(neighbours.max(1));
        let label = self.bundle.label_of[all.first()?.0];
        let same = all.iter().filter(|(picture, _)| self.bundle.label_of[*picture] == label).count();
        let (share, limit) = (same as f32 / all.len() as f32, self.bundle.limits[usize::from(label)]);
        Some(Answer { vector, nearest: all, label, share, limit, is_off })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::tests::some;

    #[test]
    fn a_picture_of_the_bundle_is_itself() {
        let mut bundle = some();
        let pixels: Vec<u8> = (0..9 * 12 * 4).map(|i| (i * 31 % 251) as u8 | 3).collect();
        let image = Rgba { width: 12, height: 9, pixels: &pixels };
        let vector = Recogniser::new(bundle.clone()).unwrap().vector(image);
        assert_eq!(vector.len(), 2);
        bundle.vectors[2..4].copy_from_slice(&vector);
        let answer = Recogniser::new(bundle.clone()).unwrap().answer(image, 2).unwrap();
        assert_eq!((answer.nearest[0], answer.label, answer.nearest.len()), ((1, 0.0), 0, 2));
        assert!(!answer.is_unlike());
        bundle.vectors[2] += 1.0;
        bundle.limits[0] = 1e-6;
        assert!(Recogniser::new(bundle.clone()).unwrap().answer(image, 2).unwrap().is_unlike());
        bundle.limits[0] = f32::INFINITY;
        assert!(!Recogniser::new(bundle.clone()).unwrap().answer(image, 2).unwrap().is_unlike());
        bundle.left_out_limit = 1e-6;
        assert!(Recogniser::new(bundle.clone()).unwrap().answer(image, 2).unwrap().is_unlike());
        bundle.vectors.clear();
        bundle.label_of.clear();
        assert_eq!(Recogniser::new(bundle).unwrap().answer(image, 2), None);
    }

    #[test]
    fn a_pca_of_other_features_is_refused() {
        let mut bundle = some();
        bundle.head.clear();
        let why = Recogniser::new(bundle).err().unwrap();
        assert_eq!(why, "a PCA of 4 on 16 features");
    }
}
