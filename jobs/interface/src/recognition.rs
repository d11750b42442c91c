//! What `fruitctl recognise` says of an image.

use schemars::JsonSchema;
use serde::Serialize;

/// What is said of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Recognition {
    /// The file, as it was named.
    pub image: String,
    /// The nearest pictures, the nearest first; none where `error` says why.
    pub nearest: Vec<Neighbour>,
    /// The label of the nearest picture; null where there is none, and where `unlike`.
    pub label: Option<String>,
    /// Share of the nearest pictures that have the label of the nearest one, 0 to 1.
    pub share: f32,
    /// Nothing here is like this image: the nearest picture is farther than `limit`, or `left_out` more than its limit.
    pub unlike: bool,
    /// The distance beyond which an image is unlike the pictures of the nearest one's label; null where that is not known.
    pub limit: Option<f32>,
    /// Length of what the PCA leaves out of the image's features.
    pub left_out: f32,
    /// The most that it leaves out of an image that is like those here; null where too few images tell.
    pub left_out_limit: Option<f32>,
    /// Why the image could not be used.
    pub error: Option<String>,
}

/// A picture of the results.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Neighbour {
    /// Where it lies below the run's input.
    pub path: String,
    /// Its label.
    pub label: String,
    /// Between its vector and the image's, by L2.
    pub distance: f32,
}
