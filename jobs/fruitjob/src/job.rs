//! A job: what its options ask for, with every default filled in.

use std::num::{NonZeroU64, NonZeroUsize};

use fruitjob_interface::job::{self, JobOptions, MaxRejects, Sha256Hex};
use fruitjob_interface::location::Location;
use fruitjob_interface::model::{self, Precision, PreprocessingOptions};

use crate::error::{Error, Result};
use crate::model::Wanted;
use crate::pca::Components;

/// A job, with every default filled in.
#[derive(Debug, Clone)]
pub struct Job {
    /// Where the images are. Not needed by the stages fit and project.
    pub input: Option<Location>,
    /// Where the results go, and where features are kept between runs.
    pub output: Location,
    /// The table that labels the images: a path or a URI.
    pub labels: Option<Location>,
    /// The backbone: `builtin`, a path or a URI.
    pub model: String,
    /// The value of the backbone that the features are; `None` for its output.
    pub output_node: Option<String>,
    /// The SHA-256 that the backbone has to have.
    pub model_sha256: Option<Sha256Hex>,
    /// What the backbone computes with.
    pub precision: Precision,
    /// What the model's file does not say.
    pub preprocessing: PreprocessingOptions,
    /// How many components are fitted; without effect where `pin_pca` is set.
    pub components: Components,
    /// The PCA to project on, in place of one that is fitted.
    pub pin_pca: Option<String>,
    /// Worker threads: 1 to 1024.
    pub threads: usize,
    /// Images that may be rejected before the run fails.
    pub max_rejects: MaxRejects,
    /// The most pixels an image may have.
    pub max_pixels: u64,
}

impl Job {
    /// The backbone that it wants.
    pub fn backbone(&self) -> Wanted<'_> {
        Wanted {
            name: &self.model,
            output_node: self.output_node.as_deref(),
            sha256: self.model_sha256.as_ref().map(Sha256Hex::as_str),
            preprocessing: &self.preprocessing,
            precision: self.precision,
        }
    }

    /// Whether images or results are in a store, and so to be waited for.
    pub fn is_far(&self) -> bool {
        self.input.iter().chain([&self.output]).any(|place| matches!(place, Location::Remote(_)))
    }

    /// Fills in the defaults.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no output, or a place cannot be understood.
    pub fn new(options: JobOptions, preprocessing: PreprocessingOptions) -> Result<Self> {
        let output = options
            .output
            .ok_or_else(|| Error::Usage("no output; say where the results go with --output DIR".into()))?;
        let components = match (options.components, options.variance, &options.pin_pca) {
            (None, None, _) => Components::Default,
            (Some(k), None, None) => Components::Count(k.get()),
            (None, Some(share), None) => Components::Variance(share.into()),
            _ => {
                return Err(Error::Usage(
                    "more than one of components, variance and pin_pca is set; keep one of them".into(),
                ));
            }
        };
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Job {
            input: options.input.as_deref().map(Location::parse).transpose()?,
            output: Location::parse(&output)?,
            labels: options.labels.as_deref().map(Location::parse).transpose()?,
            model: options.model.unwrap_or_else(|| model::DEFAULT.into()),
            output_node: options.output_node,
            model_sha256: options.model_sha256,
            precision: options.precision.unwrap_or_default(),
            preprocessing,
            components,
            pin_pca: options.pin_pca,
            threads: options.threads.map_or_else(cores, NonZeroUsize::get).min(1024),
            max_rejects: options.max_rejects.unwrap_or(MaxRejects::Share(0.01)),
            max_pixels: options.max_pixels.map_or(job::DEFAULT_MAX_PIXELS, NonZeroU64::get),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_a_job() {
        let options = JobOptions {
            input: Some("a".into()),
            output: Some("o".into()),
            components: NonZeroUsize::new(8),
            ..Default::default()
        };
        let job = Job::new(options.clone(), Default::default()).unwrap();
        assert_eq!(job.components, Components::Count(8));
        assert!(job.input.is_some());
        let both = JobOptions { variance: Some(0.5.try_into().unwrap()), ..options };
        assert!(matches!(Job::new(both, Default::default()), Err(Error::Usage(_))));
    }

    #[test]
    fn defaults_are_filled_in() {
        let options =
            JobOptions { output: Some("o".into()), threads: NonZeroUsize::new(5000), ..Default::default() };
        let job = Job::new(options, Default::default()).unwrap();
        assert_eq!((job.model.as_str(), job.precision, job.threads), ("builtin", Precision::F32, 1024));
        assert_eq!((job.components, job.max_rejects), (Components::Default, MaxRejects::Share(0.01)));
        assert!(job.input.is_none() && job.pin_pca.is_none());
        let nowhere = Job::new(JobOptions::default(), Default::default());
        assert!(matches!(nowhere, Err(Error::Usage(text)) if text.contains("--output")));
    }
}
