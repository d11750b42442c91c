//! From where on an image is unlike all that a gallery holds, worked out from the gallery itself. Two things tell.
//!
//! Its nearest picture is farther than that label's pictures are from each other, and farther than pictures of different
//! labels mostly are. And the projection leaves more out of its features than out of those that the PCA was fitted on: what
//! tells other things from fruit is not among the components of fruit. docs/howto/recognise.md has what both give on real
//! photographs.

use super::Gallery;
use super::search::{nearest, nearest_of};
use crate::error::Result;
use crate::exec::context::Context;
use crate::pca::NONE;

/// Pictures of a label whose distance to the nearest other one of it is looked at.
pub(crate) const PROBES: usize = 32;
/// Pictures that a label needs for a distance of its own.
pub(crate) const ENOUGH: usize = 5;
/// How many of a label's pictures are nearer than an image has to be, and by what margin.
pub(crate) const SAME: (f32, f32) = (0.95, 1.3);

/// Pictures whose distance to the nearest one of another label is looked at.
pub(crate) const OTHERS: usize = 2000;
/// Where there are millions, fewer, down to this: each is compared with all.
const LEAST: usize = 100;
/// Comparisons for that, about: a second of one core.
const COMPARISONS: usize = 100_000_000;
/// How many of them are nearer to one of another label than an image has to be to any.
pub(crate) const OTHER: f32 = 0.4;
/// Between two looks at whether somebody wants to stop.
const AT_ONCE: usize = 32;

/// How much longer than usual what the projection leaves out may be.
const LEFT_OUT: f64 = 1.5;
/// What is usual is known where the PCA was fitted on this many times as many images as it has components: fewer lie on them
/// because they made them.
const IMAGES_A_COMPONENT: u64 = 8;

/// By label, the distance beyond which an image is unlike its pictures; infinite where nothing tells.
pub(super) fn limits(gallery: &Gallery, context: &Context) -> Result<Vec<f32>> {
    let mut pictures: Vec<Vec<usize>> = vec![Vec::new(); gallery.labels.len()];
    for (picture, label) in gallery.label_of.iter().enumerate() {
        pictures[*label as usize].push(picture);
    }
    let mut apart = Vec::with_capacity(pictures.len());
    for of_label in &pictures {
        context.check()?;
        let step = of_label.len().div_ceil(PROBES).max(1);
        let others = |of: usize| of_label.iter().copied().filter(move |other| *other != of);
        let next = |of: &usize| nearest_of(gallery.vector(*of), &gallery.vectors, others(*of));
        let distances: Vec<f32> = of_label.iter().step_by(step).filter_map(next).map(|n| n.1).collect();
        apart.push(distances);
    }
    let all = quantile(apart.concat(), SAME.0);
    let other = quantile(to_others(gallery, context)?, OTHER);
    let limit = |(apart, pictures): (Vec<f32>, &Vec<usize>)| {
        let same = if pictures.len() < ENOUGH { all } else { quantile(apart, SAME.0) };
        same.map(|same| same * SAME.1).into_iter().chain(other).reduce(f32::max).unwrap_or(f32::INFINITY)
    };
    Ok(apart.into_iter().zip(&pictures).map(limit).collect())
}

/// Distances of evenly spaced pictures to the nearest one of another label.
fn to_others(gallery: &Gallery, context: &Context) -> Result<Vec<f32>> {
    if gallery.labels.len() < 2 {
        return Ok(Vec::new());
    }
    let n = gallery.len();
    let number = (COMPARISONS / n).clamp(LEAST, OTHERS).min(n);
    let probes: Vec<usize> = (0..number).map(|i| i * n / number).collect();
    let mut distances = Vec::with_capacity(number);
    for probes in probes.chunks(AT_ONCE) {
        context.check()?;
        let vectors: Vec<&[f32]> = probes.iter().map(|probe| gallery.vector(*probe)).collect();
        let is_other = |probe: usize, row: usize| gallery.label_of[probes[probe]] != gallery.label_of[row];
        let found = nearest(&vectors, &gallery.vectors, 1, is_other);
        distances.extend(found.iter().flatten().map(|(_, distance)| *distance));
    }
    Ok(distances)
}

/// The most that the projection may leave out of an image's features, as a length; `None` where the PCA does not tell.
pub(super) fn left_out_limit(gallery: &Gallery) -> Option<f32> {
    let fitted = gallery.record.pca.as_ref()?;
    let (k, n) = (gallery.components() as u64, fitted.images);
    let left: f64 = gallery.pca.spectrum[gallery.components()..].iter().sum();
    // A pinned PCA was fitted on other images, whose number is not recorded: where they were fewer than features, some
    // variances are none.
    let (is_known, freedom) = match fitted.pinned {
        true => (gallery.pca.spectrum.last().is_some_and(|last| *last > NONE * left), 1.0),
        false => (n >= IMAGES_A_COMPONENT * k, (n as f64 - 1.0) / (n as f64 - 1.0 - k as f64)),
    };
    (is_known && left > 0.0).then(|| (LEFT_OUT * (left * freedom).sqrt()) as f32)
}

/// What this share of numbers is at most; none where there are none.
pub(crate) fn quantile(mut numbers: Vec<f32>, share: f32) -> Option<f32> {
    numbers.sort_unstable_by(f32::total_cmp);
    let at = (numbers.len() as f32 * share).ceil() as usize;
    numbers.get(at.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_numbers() {
        let numbers = || (1..=20).rev().map(|i| i as f32).collect();
        assert_eq!(
            [0.0, 0.4, 0.95, 1.0].map(|share| quantile(numbers(), share)),
            [1.0, 8.0, 19.0, 20.0].map(Some)
        );
        assert_eq!((quantile(vec![3.0], 0.95), quantile(Vec::new(), 0.95)), (Some(3.0), None));
    }
}
