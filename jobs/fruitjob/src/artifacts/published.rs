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
