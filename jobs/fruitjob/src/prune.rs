//! Deletes what an output keeps and no run will ask for again.

use fruitjob_interface::prune::{FOLDERS, Garbage, find};

use crate::artifacts::{lock, published};
use crate::error::Result;
use crate::exec::context::Context;
use crate::storage::{Location, Output};

/// Finds what no run will ask for again, and deletes it unless this is a trial. Where nothing is published, nothing is known
/// to be of no use, and nothing is found.
///
/// # Errors
/// [`Error::Locked`](crate::error::Error::Locked) when a run is writing there.
pub fn prune(location: &Location, since: i64, trial: bool, context: &Context) -> Result<Vec<Garbage>> {
    let _lock = lock::lock(location)?;
    let output = Output::open(location, context.runtime.clone())?;
    let Some(published) = published::record(&output)? else { return Ok(Vec::new()) };
    let mut stored = Vec::new();
    for folder in FOLDERS {
        stored.extend(output.stored(folder)?);
    }
    let garbage = find(&stored, &published, since);
    if !trial {
        for name in garbage.iter().flat_map(|garbage| &garbage.objects) {
            context.check()?;
            output.delete(name)?;
        }
    }
    Ok(garbage)
}
