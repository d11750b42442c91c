//! What changed since the results that are published now, as the record of a run tells it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The difference between a run and the one whose results it replaces.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// When those results were published, RFC 3339, UTC.
    pub finished: Option<String>,
    /// Images whose path was not listed then.
    pub new: u64,
    /// Images whose size, or time of modification or ETag, was another.
    pub changed: u64,
    /// Images that are listed no more.
    pub removed: u64,
    /// Images listed then.
    pub listed: u64,
    /// Images rejected then.
    pub rejected: u64,
    /// Share of the variance that the components explained then.
    pub explained_variance: Option<f64>,
    /// Labels with another number of results, in order.
    pub labels: Vec<LabelChange>,
    /// How far vectors moved; null when another model made them, for then they have nothing in common.
    pub pca: Option<Drift>,
}

/// A label that gained or lost results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabelChange {
    /// The label that changed.
    pub label: String,
    /// Results then.
    pub before: u64,
    /// Results now.
    pub now: u64,
}

/// How far a PCA is from another one on features of the same model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// It is the same one: vectors can be compared as they are.
    pub same: bool,
    /// `sqrt(1 - |A B^T|^2 / k)`, A and B being the components as rows, k the smaller number of them: 0 when one
    /// space holds the other, 1 when they are at right angles. It is the root mean square of the sines of the
    /// principal angles: the projection metric, normalised (Edelman, Arias, Smith, "The Geometry of Algorithms with
    /// Orthogonality Constraints", SIAM J. Matrix Anal. Appl. 20(2), 1998, section 4.3).
    pub subspace_distance: f64,
    /// How far this run's vectors are from what the other PCA would have made of the same images: the root mean
    /// square of the difference over that of the vectors. 0.01: vectors moved by a hundredth of their length. Null
    /// when the number of components is another.
    pub vectors_moved: Option<f64>,
}

#[cfg(test)]
mod tests {
    use crate::RunRecord;

    #[test]
    fn records_of_earlier_builds_are_read() {
        let mut record = serde_json::to_value(RunRecord::default()).unwrap();
        let changes = record.as_object_mut().unwrap().remove("changes").unwrap();
        assert!(changes.is_null());
        record["since"] = serde_json::json!({ "new": 3, "changed": 0, "removed": 0, "listed": 7, "rejected": 0, "labels": [] });
        let read: RunRecord = serde_json::from_value(record).unwrap();
        assert_eq!(read.changes.unwrap().new, 3);
    }
}
