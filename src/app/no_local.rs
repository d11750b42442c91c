//! In the place of `local.rs`, where the feature `local` is off: what to do instead.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fruitjob_interface::location::Location;
use fruitjob_interface::model::{InsideFacts, PreprocessingOptions};
use fruitjob_interface::page::{PageOptions, PageRecord};
use fruitjob_interface::prune::Garbage;
use fruitjob_interface::recognition::Recognition;
use fruitjob_interface::{JobOptions, Observer, RunRecord};

use crate::error::{Error, Result};

const NEXT: &str = "set target = \"emr\" in fruitctl.toml, or build fruitctl with its default features";

fn absent() -> Error {
    Error::usage("this fruitctl was built without local runs")
}

/// Runs no job.
pub fn run(_: JobOptions, _: PreprocessingOptions, _: Arc<dyn Observer>) -> Result<(RunRecord, Location)> {
    Err(absent().help(NEXT))
}

/// Leaves it to the nodes.
pub fn check_model(_: &JobOptions, _: &PreprocessingOptions) -> Result<()> {
    Ok(())
}

/// Recognises nothing.
pub fn recognise(
    _: Option<&str>,
    _: Option<&str>,
    _: &[PathBuf],
    _: usize,
    _: &dyn Fn(usize, usize),
    _: &(dyn Fn() + Sync),
) -> Result<Vec<Recognition>> {
    Err(absent().help("build fruitctl with its default features"))
}

/// Nobody is there to borrow.
pub fn lend(_: Vec<(String, String)>) {}

/// Carries none.
pub fn models() -> Result<Vec<InsideFacts>> {
    Err(absent().help("build fruitctl with its default features"))
}

/// Writes no page.
pub fn page(_: Option<&str>, _: Option<&str>, _: &PageOptions, _: &[u8], _: &str) -> Result<PageRecord> {
    Err(absent().help("build fruitctl with its default features"))
}

/// Finds nothing.
pub fn prune(_: Option<&str>, _: i64, _: bool) -> Result<Vec<Garbage>> {
    Err(absent().help(NEXT))
}

/// Draws nothing.
pub fn draw(_: &Path, _: usize, _: usize, _: u64, _: bool, _: &(dyn Fn() + Sync)) -> Result<()> {
    Err(absent().help("build fruitctl with its default features"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn whoever_asks_for_a_run_here_is_told_what_to_do() {
        let error = prune(Some("out"), 0, true).unwrap_err();
        assert_eq!(error.kind, Kind::Usage);
        assert!(error.to_string().contains("without local runs") && error.to_string().contains("emr"));
    }
}
