//! What an output keeps for later runs and no run will ask for again: features of other models than the one whose
//! results are published, and PCAs of long ago.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::layout;
use crate::record::RunRecord;

/// An object of an output.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Its name, relative to the output.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written, in seconds since 1970.
    pub modified: i64,
}

/// Objects that can go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Garbage {
    /// What they are, for people: `features of model 3fa2`.
    pub what: String,
    /// Their names, relative to the output.
    pub objects: Vec<String>,
    /// Their sizes together.
    pub bytes: u64,
}

/// The folders to look at.
pub const FOLDERS: [&str; 2] = [layout::FEATURES, layout::PCAS];

/// Finds it among what lies below [`FOLDERS`]. PCAs are kept that were written after `since` (seconds since 1970), and
/// the one of the published results is kept in any case.
pub fn find(stored: &[Stored], published: &RunRecord, since: i64) -> Vec<Garbage> {
    let (model, pca) = (published.model.as_ref(), published.pca.as_ref());
    let mut groups: BTreeMap<String, Garbage> = BTreeMap::new();
    for object in stored {
        let part = |folder: &str| object.name.strip_prefix(folder)?.strip_prefix('/')?.split_once('/');
        let what = if let Some((key, _)) = part(layout::FEATURES) {
            (model.is_some_and(|model| model.key != key)).then(|| format!("features of model {key}"))
        } else if let Some((id, _)) = part(layout::PCAS) {
            (pca.is_some_and(|pca| pca.id != id) && object.modified < since).then(|| format!("PCA {id}"))
        } else {
            None
        };
        if let Some(what) = what {
            let group = groups.entry(what.clone()).or_insert_with(|| Garbage { what, ..Garbage::default() });
            group.objects.push(object.name.clone());
            group.bytes += object.bytes;
        }
    }
    // A PCA whose deletion is cut short must not pass for a whole one.
    groups.values_mut().for_each(|group| group.objects.sort_by_key(|name| !name.ends_with(layout::ORIGIN)));
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_and_what_is_young_stays() {
        let stored: Vec<Stored> = [
            (".fruitjob/features/now/1.parquet", 5),
            (".fruitjob/features/then/1.parquet", 9),
            (".fruitjob/features/then/2.parquet", 9),
            (".fruitjob/pca/mine/mean.npy", 1),
            (".fruitjob/pca/old/mean.npy", 1),
            (".fruitjob/pca/old/origin.json", 1),
            (".fruitjob/pca/young/mean.npy", 9),
            (".fruitjob/run.json", 1),
        ]
        .map(|(name, modified)| Stored { name: name.into(), bytes: 10, modified })
        .into();
        let published: RunRecord = serde_json::from_value(serde_json::json!({
            "format": 1, "version": "", "started": "", "finished": null, "input": "", "output": "", "threads": 1,
            "model": {"name": "", "sha256": "", "features": 1, "engine": "", "key": "now", "preprocessing":
                {"size": [1, 1], "resize": 1, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "color": "rgb", "layout": "nchw"}},
            "pca": {"id": "mine", "components": 1, "features": 1, "images": 1, "explained_variance_ratio": [], "total_variance": 1.0},
            "images": {"listed": 0, "labels": 0, "listed_bytes": 0, "featurized": 0, "cached": 0, "read_bytes": 0, "rejected": 0, "results": 0},
            "parts": [], "rejects": [], "stages": [], "warnings": []
        }))
        .unwrap();
        let found = find(&stored, &published, 5);
        assert_eq!(found[0].objects[0], ".fruitjob/pca/old/origin.json");
        let found: Vec<_> = found.iter().map(|g| (g.what.as_str(), g.objects.len(), g.bytes)).collect();
        assert_eq!(found, [("PCA old", 2, 20), ("features of model then", 2, 20)]);
        assert!(find(&stored, &RunRecord::default(), 5).is_empty());
    }
}
