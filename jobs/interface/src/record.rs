//! `run.json`: what a run did, enough to check its results and to run it again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::changes::Changes;
use crate::model::Preprocessing;
use crate::stage::Stage;

/// A run. Stages fill it in; the report stage publishes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct RunRecord {
    /// Version of this format.
    pub format: u32,
    /// Version of fruitjob.
    pub version: String,
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// When its results were published, RFC 3339, UTC.
    pub finished: Option<String>,
    /// Where the images were.
    pub input: String,
    /// Where the results are.
    pub output: String,
    /// Worker threads, here or on executors.
    pub threads: usize,
    /// How it was spread, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spark: Option<SparkRecord>,
    /// The backbone; null before it is loaded.
    pub model: Option<ModelRecord>,
    /// The PCA; null before it is fitted.
    pub pca: Option<PcaRecord>,
    /// Numbers of images.
    pub images: Counts,
    /// The labels of the results, in order.
    #[serde(default)]
    pub labels: Vec<LabelRecord>,
    /// What changed since the results that these replace; none, where there were none.
    #[serde(default, alias = "since")]
    pub changes: Option<Changes>,
    /// The parts of the results, in order.
    pub parts: Vec<PartRecord>,
    /// Files of the input that were passed over: a kind (an ending such as `.heic`, `without extension`, `hidden`) and how
    /// many, most frequent first. `hidden` counts those alone that would be images.
    #[serde(default)]
    pub passed_over: Vec<(String, u64)>,
    /// The table that the labels are from; null where they are the folders' names.
    #[serde(default)]
    pub labels_from: Option<String>,
    /// Why images were rejected: reason and count, most frequent first.
    pub rejects: Vec<(String, u64)>,
    /// Stages and their wall time.
    pub stages: Vec<StageRecord>,
    /// Warnings, as they were printed.
    pub warnings: Vec<String>,
}

impl RunRecord {
    /// Images that were featurized in this run, per second of the featurize stage.
    pub fn images_per_second(&self) -> Option<f64> {
        let stage = self.stages.iter().find(|s| s.stage == Stage::Featurize)?;
        (self.images.featurized > 0).then(|| self.images.featurized as f64 / stage.seconds.max(1e-3))
    }

    /// Wall time of all stages, in seconds.
    pub fn seconds(&self) -> f64 {
        self.stages.iter().map(|s| s.seconds).sum()
    }
}

/// What Spark had to do with it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SparkRecord {
    /// From the job's submission to its first line of work, in seconds; no stage counts it.
    pub start_seconds: f64,
    /// Tasks that could run at once, at the start.
    pub slots: usize,
    /// Tasks that Spark ran.
    pub tasks: u64,
    /// Attempts at them that failed.
    pub failed_attempts: u64,
}

/// A backbone, as it ran.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ModelRecord {
    /// As the user named it.
    pub name: String,
    /// SHA-256 of the ONNX file.
    pub sha256: String,
    /// The value that the features are, where it is not the output of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_node: Option<String>,
    /// Number of features.
    pub features: usize,
    /// The engine that ran it.
    pub engine: String,
    /// From pixels to its input.
    pub preprocessing: Preprocessing,
    /// Of decoding and resizing: another number, and pixels come out a little different. 0 before it was written.
    #[serde(default)]
    pub pixels_version: u32,
    /// Key of its features in the cache.
    pub key: String,
}

impl ModelRecord {
    /// Whether it gives the same features as another, but for the last bits: an engine adds up in its own order.
    pub fn same_features_as(&self, other: &ModelRecord) -> bool {
        (&self.sha256, &self.output_node, self.features, &self.preprocessing, self.pixels_version)
            == (&other.sha256, &other.output_node, other.features, &other.preprocessing, other.pixels_version)
    }
}

/// The PCA that the vectors are made with.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PcaRecord {
    /// What it is called: a hash of its numbers. `--pin-pca` takes it.
    #[serde(default)]
    pub id: String,
    /// It was fitted by an earlier run (`--pin-pca`).
    #[serde(default)]
    pub pinned: bool,
    /// Components kept.
    pub components: usize,
    /// Features it was fitted on.
    pub features: usize,
    /// Images of this run, on whose features it was fitted, unless it is pinned.
    pub images: u64,
    /// Each component's share of the variance of these images.
    pub explained_variance_ratio: Vec<f64>,
    /// Variance of these images in all.
    pub total_variance: f64,
}

/// Numbers of images. `listed = results + rejected`, and `results + rejected = featurized + cached` once all
/// stages have run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Found in the input.
    pub listed: u64,
    /// Different labels among them.
    pub labels: u64,
    /// Bytes of all that was listed.
    pub listed_bytes: u64,
    /// Read and run through the backbone, or rejected, in this run.
    pub featurized: u64,
    /// Taken from an earlier run's features.
    pub cached: u64,
    /// Bytes read in this run.
    pub read_bytes: u64,
    /// Images that could not be used: without features, and no row of the results.
    pub rejected: u64,
    /// Rows of the results.
    pub results: u64,
}

/// A label of the results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabelRecord {
    /// The name of the folder that holds the images.
    pub label: String,
    /// Rows of the results that have this label.
    pub images: u64,
}

/// One part of the results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PartRecord {
    /// File name below `results/`.
    pub name: String,
    /// Rows of the file.
    pub rows: u64,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// One stage's wall time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageRecord {
    /// The stage.
    pub stage: Stage,
    /// Its wall time in seconds.
    pub seconds: f64,
}
