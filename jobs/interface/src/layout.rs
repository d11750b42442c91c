//! Names of everything below an output. What is published lies at its top; work in progress and what is kept
//! between runs lies below `.fruitjob/`, so that nothing published changes until all of it can.

/// The listing: one row group a partition.
pub const MANIFEST: &str = ".fruitjob/manifest.parquet";
/// The record of the run in progress.
pub const RECORD: &str = ".fruitjob/run.json";
/// Held while a run writes to a directory.
pub const LOCK: &str = ".fruitjob/lock";
/// Everything kept or in progress.
pub const WORK: &str = ".fruitjob";

/// Results that are not published yet, laid out as they will be.
pub const STAGING: &str = ".fruitjob/staging";
/// The fitted PCA and the fused graph, not published yet.
pub const STAGED_MODEL: &str = ".fruitjob/staging/model";
/// The rejects, not published yet.
pub const STAGED_REJECTS: &str = ".fruitjob/staging/rejects.parquet";

/// The listing, not published yet.
pub const STAGED_MANIFEST: &str = ".fruitjob/staging/manifest.parquet";

/// The tree of the fit stage; gone when that ends.
pub const MOMENTS: &str = ".fruitjob/moments";

/// Published parts of the results.
pub const RESULTS: &str = "results";
/// Published last: whoever finds it finds everything.
pub const SUCCESS: &str = "results/_SUCCESS";
/// That mark, on its way.
pub const STAGED_SUCCESS: &str = ".fruitjob/_SUCCESS";
/// Published beside the results: the run's record.
pub const PUBLISHED_RECORD: &str = "run.json";
/// Published beside the results: the listing that they are of, as [`MANIFEST`].
pub const PUBLISHED_MANIFEST: &str = "manifest.parquet";
/// Published beside the results: the PCA, and the fused graph.
pub const PUBLISHED_MODEL: &str = "model";
/// Published beside the results: the page.
pub const REPORT: &str = "report.html";

/// Where features are kept.
pub const FEATURES: &str = ".fruitjob/features";

/// Folder of the features that one model and preprocessing gave.
pub fn features_dir(model_key: &str) -> String {
    format!("{FEATURES}/{model_key}")
}

/// Features of one partition.
pub fn features(model_key: &str, partition_key: &str) -> String {
    format!("{FEATURES}/{model_key}/{partition_key}.parquet")
}

/// Moments of features, on their way through the fit stage: a node of its tree.
pub fn moments(level: usize, node: usize) -> String {
    format!("{MOMENTS}/{level}-{node}.npy")
}

/// Where PCAs are kept, so that later runs can be projected on them: one folder each.
pub const PCAS: &str = ".fruitjob/pca";

/// A PCA that is kept, by its id.
pub fn pca(id: &str) -> String {
    format!("{PCAS}/{id}")
}

/// Beside a PCA's arrays: the model on whose features it was fitted. Written last and deleted first: where it is, all is.
pub const ORIGIN: &str = "origin.json";

/// Name of a part of the results.
pub fn part(index: usize) -> String {
    format!("part-{index:05}.parquet")
}
