//! The record of the run in progress: what its stages have done, for the stage that is run next.

use fruitjob_interface::layout;
use fruitjob_interface::record::RunRecord;

use crate::error::Result;
use crate::storage::Output;

/// Reads the record that an earlier stage left.
///
/// # Errors
/// [`Error::Usage`](crate::error::Error::Usage) when there is none, or it cannot be read.
pub(crate) fn load(output: &Output) -> Result<RunRecord> {
    output
        .get(layout::RECORD)?
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| output.missing(layout::RECORD, "list"))
}

/// Writes the record; returns its JSON.
pub(crate) fn save(output: &Output, record: &RunRecord) -> Result<Vec<u8>> {
    let json = serde_json::to_vec_pretty(record).expect("plain data");
    output.put(layout::RECORD, json.clone())?;
    Ok(json)
}
