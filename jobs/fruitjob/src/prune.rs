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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fruitjob_interface::event::JsonLines;
    use fruitjob_interface::layout;
    use fruitjob_interface::record::RunRecord;

    use super::*;
    use crate::error::Error;
    use crate::storage::testing::{Scratch, model_record};

    fn prune_all(scratch: &Scratch, trial: bool) -> Result<Vec<Garbage>> {
        let context = Context::new(scratch.runtime.handle().clone(), Arc::new(JsonLines));
        prune(scratch.output.location(), i64::MAX, trial, &context)
    }

    /// An output that keeps features of two models, and a lock file, which every look at it leaves.
    fn scratch() -> Scratch {
        let scratch = Scratch::new();
        for model in ["key", "old"] {
            scratch.output.put(&layout::features(model, "part"), "features").unwrap();
        }
        scratch
    }

    #[test]
    fn where_nothing_is_published_all_may_be_of_use() {
        let scratch = scratch();
        assert!(prune_all(&scratch, false).unwrap().is_empty());
        assert!(scratch.output.get(&layout::features("old", "part")).unwrap().is_some());
    }

    #[test]
    fn what_the_published_results_do_not_need_goes_unless_it_is_a_trial() {
        let scratch = scratch();
        let run = RunRecord { model: Some(model_record("one")), ..Default::default() };
        scratch.output.put(layout::PUBLISHED_RECORD, serde_json::to_vec(&run).unwrap()).unwrap();
        scratch.output.put(layout::SUCCESS, "").unwrap();
        let is_there = |model: &str| scratch.output.get(&layout::features(model, "part")).unwrap().is_some();
        for trial in [true, false] {
            assert_eq!(prune_all(&scratch, trial).unwrap()[0].objects, [layout::features("old", "part")]);
            assert_eq!((is_there("key"), is_there("old")), (true, trial));
        }
        assert!(prune_all(&scratch, false).unwrap().is_empty());
    }

    #[test]
    fn nothing_is_deleted_under_a_run() {
        let scratch = scratch();
        let _run = lock::lock(scratch.output.location()).unwrap();
        assert!(matches!(prune_all(&scratch, false), Err(Error::Locked(_))));
    }
}
