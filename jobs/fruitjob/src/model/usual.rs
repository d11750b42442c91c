//! Whether a run's pictures are of the sort that its model was trained on. Pictures of that sort lie near the first components
//! that the model's features of its own training pictures have; what lies off them is longer for others. Of a run's features,
//! their moments tell the mean of it.
//!
//! `models/NAME.usual` holds the components, by `jobs/fruitjob/training/usual.py`, which also prints what each data set has;
//! docs/howto/models.md has the table.

use fruitjob_interface::model::{Inside, PreprocessingOptions};

use super::{Model, inside, options};
use crate::pca::moments::Moments;

/// How many times longer than usual what lies off the components is, in the root of the mean square, from where on a run is told.
const UNUSUAL: f64 = 1.25;
/// Images below which the mean says little.
const ENOUGH: u64 = 50;
/// Components that are kept.
const COMPONENTS: usize = 64;

/// A model's features of its training pictures.
struct Usual {
    /// Height and width of the input that they are of, in pixels.
    size: u32,
    /// Root of the mean square of what lies off the components.
    off: f64,
    /// `d` elements.
    mean: Vec<f64>,
    /// `COMPONENTS x d`.
    components: Vec<f64>,
}

impl Usual {
    fn of(inside: Inside) -> Option<Self> {
        match inside {
            Inside::Builtin => Self::read(include_bytes!("../../models/builtin.usual")),
            Inside::Builtin1 => Self::read(include_bytes!("../../models/builtin-1.usual")),
            // Of all sorts.
            Inside::MobilenetV2 => None,
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<4>() else { return None };
        let numbers: Vec<f64> = numbers.iter().map(|b| f32::from_le_bytes(*b).into()).collect();
        let [size, off, rest @ ..] = &*numbers else { return None };
        let (mean, components) = rest.split_at_checked(rest.len() / (COMPONENTS + 1))?;
        let is_whole = !mean.is_empty() && components.len() == COMPONENTS * mean.len();
        is_whole.then(|| Usual {
            size: *size as u32,
            off: *off,
            mean: mean.to_vec(),
            components: components.to_vec(),
        })
    }

    /// How many times the usual lies off the components of features with these moments.
    fn times(&self, moments: &Moments) -> f64 {
        let moved: Vec<f64> = moments.mean.iter().zip(&self.mean).map(|(x, mean)| x - mean).collect();
        let all = moments.total_variance() + moved.iter().map(|x| x * x).sum::<f64>();
        let along = |axis: &[f64]| {
            let mean: f64 = axis.iter().zip(&moved).map(|(a, x)| a * x).sum();
            moments.variance_along(axis) + mean * mean
        };
        let near: f64 = self.components.chunks_exact(self.mean.len()).map(along).sum();
        (all - near).max(0.0).sqrt() / self.off
    }
}

/// What a person should know, where features of these moments are of pictures that the model was not trained for.
pub(crate) fn warning(model: &Model, moments: &Moments) -> Option<String> {
    let inside = inside::of_sha256(&model.sha256)?;
    let usual = Usual::of(inside)?;
    // The components are of the model's own preprocessing.
    let (own, _) = options::resolve(&model.proto, &PreprocessingOptions::default()).ok()?;
    let is_same =
        model.preprocessing == own && own.size == [usual.size; 2] && moments.mean.len() == usual.mean.len();
    if !is_same || model.output_node.is_some() || moments.count < ENOUGH {
        return None;
    }
    let times = usual.times(moments);
    let others = match inside {
        Inside::Builtin1 => {
            "--model builtin (fruit on photographs too) or --model mobilenet_v2 (all sorts of pictures)"
        }
        _ => "--model mobilenet_v2 (all sorts of pictures)",
    };
    (times > UNUSUAL).then(|| {
        format!(
            "these pictures are unlike those that model {} was trained on: their features lie {times:.1} times as far off theirs \
             as usual; see in the report how well it tells them apart, or try {others}",
            inside.name()
        )
    })
}

#[cfg(test)]
mod tests {
    use fruitjob_interface::model::{Precision, PreprocessingOptions};

    use super::*;
    use crate::model::Wanted;
    use crate::pca::moments::Sum;

    fn builtin() -> Model {
        let runtime = crate::util::runtime().unwrap();
        let preprocessing = PreprocessingOptions::default();
        let wanted = Wanted {
            name: "builtin",
            output_node: None,
            sha256: None,
            preprocessing: &preprocessing,
            precision: Precision::F32,
        };
        Model::load(&wanted, runtime.handle()).unwrap()
    }

    /// Of 60 pictures: each as the mean, and by so much along a component and off them all.
    fn moments(usual: &Usual, along: f64, off: f64) -> Moments {
        let d = usual.mean.len();
        let mut direction: Vec<f64> = (0..d).map(|i| (i % 5) as f64 - 2.0).collect();
        for axis in usual.components.chunks_exact(d) {
            let along: f64 = direction.iter().zip(axis).map(|(a, b)| a * b).sum();
            direction.iter_mut().zip(axis).for_each(|(a, b)| *a -= along * b);
        }
        let length = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
        let rows: Vec<f32> = (0..60)
            .flat_map(|i| {
                let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
                let at = |j: usize| {
                    usual.mean[j] + along * usual.components[j] + sign * off * direction[j] / length
                };
                (0..d).map(|j| at(j) as f32).collect::<Vec<_>>()
            })
            .collect();
        let mut sum = Sum::new(d);
        sum.add(&rows);
        sum.finish()
    }

    #[test]
    fn what_lies_off_the_components_of_the_training_pictures_is_told() {
        let (model, usual) = (builtin(), Usual::of(Inside::Builtin).unwrap());
        let near = moments(&usual, 40.0, usual.off);
        // With n - 1 degrees of freedom.
        assert!((usual.times(&near) - (60f64 / 59.0).sqrt()).abs() < 1e-3, "{}", usual.times(&near));
        assert_eq!(warning(&model, &near), None);
        let far = moments(&usual, 0.0, 2.0 * usual.off);
        let said = warning(&model, &far).unwrap();
        assert!(said.contains("2.0 times") && said.contains("--model mobilenet_v2"), "{said}");
        assert_eq!(warning(&model, &Moments { count: 49, ..far }), None);
    }

    #[test]
    fn every_small_model_inside_has_what_is_usual() {
        for (inside, size) in [(Inside::Builtin, 128), (Inside::Builtin1, 96)] {
            let usual = Usual::of(inside).unwrap();
            assert_eq!((usual.size, usual.mean.len()), (size, 256));
            assert!(usual.off > 0.1 && usual.off < 100.0);
        }
        assert!(Usual::of(Inside::MobilenetV2).is_none());
        assert!(Usual::read(&[0; 7]).is_none() && Usual::read(&[0; 12]).is_none());
    }
}
