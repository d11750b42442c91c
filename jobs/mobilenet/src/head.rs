//! What follows the global mean of a network: a classifier, a projection, a root. Little work, so it is done plainly.

/// One thing that is done to a vector.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The square root of each number.
    Root,
    /// A product with a matrix.
    Product {
        /// `[inputs][outputs]`
        weight: Vec<f32>,
        /// Length of the vector behind it.
        outputs: usize,
    },
    /// A factor and a summand, each one number or as many as the vector has.
    Affine {
        /// Comes first.
        factor: Vec<f32>,
        /// Is added.
        summand: Vec<f32>,
    },
    /// Into these bounds.
    Clamp([f32; 2]),
    /// `exp(x) / Σ exp(x)`
    Softmax,
}

impl Step {
    /// How long the vector is in the end, from so many means.
    ///
    /// # Errors
    /// A step takes another number.
    pub fn features(steps: &[Step], means: usize) -> Result<usize, String> {
        steps.iter().try_fold(means, |n, step| {
            let fits = |list: &[f32]| list.len() == 1 || list.len() == n;
            match step {
                Step::Product { weight, outputs } if n.checked_mul(*outputs) == Some(weight.len()) => {
                    Ok(*outputs)
                }
                Step::Affine { factor, summand } if fits(factor) && fits(summand) => Ok(n),
                Step::Product { .. } | Step::Affine { .. } => {
                    Err(format!("what follows the mean takes no {n} numbers"))
                }
                _ => Ok(n),
            }
        })
    }

    /// Does all of them.
    pub fn run(steps: &[Step], vector: &mut Vec<f32>) {
        for step in steps {
            match step {
                Step::Root => vector.iter_mut().for_each(|x| *x = x.sqrt()),
                Step::Product { weight, outputs } => {
                    let mut sums = vec![0.0; *outputs];
                    for (x, row) in vector.iter().zip(weight.chunks_exact(*outputs)) {
                        sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += x * w);
                    }
                    *vector = sums;
                }
                Step::Affine { factor, summand } => {
                    let of = |list: &[f32], i: usize| if list.len() == 1 { list[0] } else { list[i] };
                    vector.iter_mut().enumerate().for_each(|(i, x)| *x = *x * of(factor, i) + of(summand, i));
                }
                Step::Clamp([low, high]) => vector.iter_mut().for_each(|x| *x = x.max(*low).min(*high)),
                Step::Softmax => {
                    let most = vector.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    vector.iter_mut().for_each(|x| *x = (*x - most).exp());
                    let sum: f32 = vector.iter().sum();
                    vector.iter_mut().for_each(|x| *x /= sum);
                }
            }
        }
    }
}
