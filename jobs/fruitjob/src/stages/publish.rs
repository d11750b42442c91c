//! The end of the report stage: results take the place of those of the run before, and the files of that run which no
//! later run reads are deleted.

use std::collections::HashSet;

use super::state::Run;
use crate::artifacts::{features, pcas, published};
use crate::error::Result;

/// Keeps the PCA, and publishes everything; `record` is the run's, as JSON.
pub(crate) fn publish(run: &Run, record: Vec<u8>) -> Result<()> {
    run.context.check()?;
    pcas::save(&run.output, &run.record)?;
    published::replace(&run.output, record, &run.record.parts)
}

/// Deletes features that no partition of this listing uses.
pub(crate) fn collect_garbage(run: &mut Run) -> Result<()> {
    let (manifest, model_key) = (run.manifest()?, run.model()?.key());
    let used: HashSet<&str> = manifest.partitions.iter().map(|p| p.key.as_str()).collect();
    features::delete_unused(&run.output, &model_key, &used)
}
