//! The results that others read: which they are, and how new ones take their place.

use std::collections::HashSet;

use fruitjob_interface::layout;
use fruitjob_interface::record::{PartRecord, RunRecord};

use crate::error::Result;
use crate::storage::Output;

/// The record of the results that are published, if all of them are.
pub(crate) fn record(output: &Output) -> Result<Option<RunRecord>> {
    if output.get(layout::SUCCESS)?.is_none() {
        return Ok(None);
    }
    Ok(output.get(layout::PUBLISHED_RECORD)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Moves everything from the staging area to its place: the listing, the `record` as JSON, and results of which `parts` are
/// all. Until here nothing published has changed; between the removal of `_SUCCESS` and its return, what is there may be of two
/// runs.
pub(crate) fn replace(output: &Output, record: Vec<u8>, parts: &[PartRecord]) -> Result<()> {
    output.copy(layout::MANIFEST, layout::STAGED_MANIFEST)?;
    output.put(&format!("{}/{}", layout::STAGING, layout::PUBLISHED_RECORD), record)?;
    output.delete(layout::SUCCESS)?;
    let published = output.list(layout::RESULTS)?;
    let staging = format!("{}/", layout::STAGING);
    for name in output.list(layout::STAGING)? {
        output.rename(&name, name.strip_prefix(&staging).expect("listed below it"))?;
    }
    let parts: HashSet<&str> = parts.iter().map(|p| p.name.as_str()).collect();
    for name in published {
        let file = name.strip_prefix("results/").expect("listed below it");
        let ours = file.starts_with("part-") && file.ends_with(".parquet");
        if ours && !parts.contains(file) {
            output.delete(&name)?;
        }
    }
    // A write that is cut off leaves a file beside its own: not among the results.
    output.put(layout::STAGED_SUCCESS, "")?;
    output.rename(layout::STAGED_SUCCESS, layout::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::Scratch;

    fn part(name: &str) -> PartRecord {
        PartRecord { name: name.into(), rows: 1, sha256: String::new() }
    }

    #[test]
    fn without_its_mark_nothing_is_published() {
        let scratch = Scratch::new();
        let run = RunRecord { input: "s3://fruits".into(), ..Default::default() };
        scratch.output.put(layout::PUBLISHED_RECORD, serde_json::to_vec(&run).unwrap()).unwrap();
        assert!(record(&scratch.output).unwrap().is_none());
        scratch.output.put(layout::SUCCESS, "").unwrap();
        assert_eq!(record(&scratch.output).unwrap().unwrap().input, "s3://fruits");
        scratch.output.put(layout::PUBLISHED_RECORD, "of another time").unwrap();
        assert!(record(&scratch.output).unwrap().is_none());
    }

    #[test]
    fn new_results_take_the_place_of_old_ones_and_foreign_files_stay() {
        let scratch = Scratch::new();
        let put = |name: &str, text: &'static str| scratch.output.put(name, text).unwrap();
        for old in [
            "part-00000.parquet",
            "part-00001.parquet",
            "part-00002.parquet",
            "notes.txt",
            "part-x.csv",
            "_SUCCESS",
        ] {
            put(&format!("results/{old}"), "old");
        }
        put("run.json", "old");
        put(layout::MANIFEST, "listing");
        put(".fruitjob/staging/results/part-00000.parquet", "new");
        put(".fruitjob/staging/model/mean.npy", "new");
        replace(&scratch.output, b"record".into(), &[part("part-00000.parquet")]).unwrap();
        assert_eq!(
            scratch.names(),
            [
                ".fruitjob/manifest.parquet",
                "manifest.parquet",
                "model/mean.npy",
                "results/_SUCCESS",
                "results/notes.txt",
                "results/part-00000.parquet",
                "results/part-x.csv",
                "run.json",
            ]
        );
        let text = |name: &str| scratch.output.get(name).unwrap().unwrap();
        assert_eq!(text("results/part-00000.parquet"), "new");
        assert_eq!(
            (text("run.json"), text("manifest.parquet"), text("results/_SUCCESS")),
            ("record".into(), "listing".into(), "".into())
        );
    }

    #[test]
    fn a_part_that_is_staged_nowhere_but_recorded_is_left() {
        let scratch = Scratch::new();
        scratch.output.put(layout::MANIFEST, "listing").unwrap();
        scratch.output.put("results/part-00000.parquet", "moved before the last run was killed").unwrap();
        replace(&scratch.output, b"record".into(), &[part("part-00000.parquet")]).unwrap();
        assert!(scratch.names().contains(&"results/part-00000.parquet".to_owned()));
    }
}
