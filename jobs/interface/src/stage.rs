//! The stages of a job.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A stage of the job, in the order they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Find the images, label them, cut the listing into partitions.
    List,
    /// One vector of features per image.
    Featurize,
    /// The principal components of all features.
    Fit,
    /// Each image's coordinates on the components.
    Project,
    /// The picture of it all, and publication of the results.
    Report,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Stage; 5] = [Stage::List, Stage::Featurize, Stage::Fit, Stage::Project, Stage::Report];

    /// The stage's name as it is typed and printed.
    pub fn name(self) -> &'static str {
        match self {
            Stage::List => "list",
            Stage::Featurize => "featurize",
            Stage::Fit => "fit",
            Stage::Project => "project",
            Stage::Report => "report",
        }
    }
}
