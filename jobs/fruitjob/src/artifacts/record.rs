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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::storage::testing::Scratch;

    #[test]
    fn a_stage_finds_what_the_one_before_left() {
        let scratch = Scratch::new();
        let record = RunRecord { input: "s3://fruits".into(), threads: 3, ..Default::default() };
        let json = save(&scratch.output, &record).unwrap();
        assert_eq!(scratch.output.get(layout::RECORD).unwrap().unwrap(), json);
        let loaded = load(&scratch.output).unwrap();
        assert_eq!((loaded.input.as_str(), loaded.threads), ("s3://fruits", 3));
    }

    #[test]
    fn without_a_record_the_list_stage_is_to_be_run() {
        let scratch = Scratch::new();
        for damaged in [false, true] {
            if damaged {
                scratch.output.put(layout::RECORD, "{").unwrap();
            }
            let error = load(&scratch.output).unwrap_err();
            assert!(
                matches!(error, Error::Usage(_)) && error.to_string().contains("'fruitjob list'"),
                "{error}"
            );
        }
    }
}
