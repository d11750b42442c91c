//! Images without features: the table of them, and when there are too many to go on.

use std::collections::HashMap;

use fruitjob_interface::job::MaxRejects;
use fruitjob_interface::{count, layout, number};

use super::state::Run;
use super::worker::Worker;
use crate::artifacts::{features, rejects};
use crate::error::{Error, Result};
use crate::exec::Done;
use crate::util::shown;

/// Writes `rejects.parquet` to the staging area, and counts the reasons. `done` is what the tasks, one a partition,
/// had to say.
pub(crate) fn collect(run: &mut Run, done: &[Done]) -> Result<()> {
    let (manifest, model_key) = (run.manifest()?, run.model()?.key());
    let (mut paths, mut reasons) = (Vec::new(), Vec::new());
    for (partition, _) in manifest.partitions.iter().zip(done).filter(|(_, done)| done.rejected > 0) {
        run.context.check()?;
        for row in features::load(&run.output, &model_key, &partition.key)? {
            if let Err(reject) = row.outcome {
                paths.push(row.path);
                reasons.push(reject.reason);
            }
        }
    }
    run.record.rejects = by_frequency(&reasons);
    rejects::save(&run.output, &paths, &reasons)
}

/// Each reason and how often it occurs, most frequent first; those that are as frequent in the order of their texts.
fn by_frequency(reasons: &[String]) -> Vec<(String, u64)> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut counts: Vec<(String, u64)> =
        counts.into_iter().map(|(reason, n)| (reason.to_owned(), n)).collect();
    counts.sort_by(|(ra, na), (rb, nb)| nb.cmp(na).then(ra.cmp(rb)));
    counts
}

/// # Errors
/// [`Error::Failed`] when more of all `listed` images were rejected than may be.
pub(crate) fn check_limit(run: &Run, listed: u64) -> Result<()> {
    let (rejected, limit) = (run.record.images.rejected, run.job.max_rejects);
    if !limit.exceeded(rejected, listed) {
        return Ok(());
    }
    let first = rejects::first(&run.output, 3)?.into_iter().map(|[path, _]| shown(&path)).collect::<Vec<_>>();
    let table = run.output.path(layout::STAGED_REJECTS);
    Err(too_many(limit, rejected, listed, &run.record.rejects, &first, &table))
}

/// The error for too many rejects; `reasons` are the most frequent first, `first` some of the images, `table` is where
/// each is listed.
fn too_many(
    limit: MaxRejects,
    rejected: u64,
    listed: u64,
    reasons: &[(String, u64)],
    first: &[String],
    table: &str,
) -> Error {
    let reasons: Vec<String> = reasons.iter().take(3).map(|(reason, n)| format!("{n} x {reason}")).collect();
    let more = if rejected > first.len() as u64 { ", …" } else { "" };
    Error::Failed(format!(
        "{rejected} of {listed} images were rejected, more than the {limit} allowed: {}; they are {}{more}; \
         each is listed in {table}; fix or remove them, or raise --max-rejects; features are kept",
        reasons.join(", "),
        first.join(", "),
    ))
}

/// Ends the job when more images cannot be read than may be rejected: the store is gone, or closed to us, and
/// asking for the rest would take hours to say the same. To be called after each that cannot be read.
///
/// # Errors
/// [`Error::Denied`] when the last one was denied, [`Error::Failed`] otherwise.
pub(crate) fn give_up(worker: &Worker, path: &str, error: &Error) -> Result<()> {
    let last = format!("{}/{}", worker.manifest.input, shown(path));
    let (unreadable, listed) = (worker.counters.unreadable(), worker.manifest.images);
    hopeless(worker.max_rejects, unreadable, listed, &last, error).map_or(Ok(()), Err)
}

/// The error for so many images that cannot be read, if they are too many; the `last` one failed with `error`.
fn hopeless(limit: MaxRejects, unreadable: u64, listed: u64, last: &str, error: &Error) -> Option<Error> {
    if !limit.exceeded(unreadable, listed) {
        return None;
    }
    let message = format!(
        "{} of {} so far, the last one {last}; {error}; more than the {limit} allowed by --max-rejects; \
         what was done is kept",
        count(unreadable, "unreadable image"),
        number(listed),
    );
    Some(match error {
        Error::Denied(_) => Error::Denied(message),
        _ => Error::Failed(message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_most_frequent_first() {
        let reasons = ["b", "c", "a", "c", "b", "d"].map(str::to_owned);
        let want = [("b", 2), ("c", 2), ("a", 1), ("d", 1)].map(|(reason, n)| (reason.to_owned(), n));
        assert_eq!(by_frequency(&reasons), want);
        assert!(by_frequency(&[]).is_empty());
    }

    #[test]
    fn too_many_rejects_are_an_error_that_names_the_three_most_frequent_reasons() {
        let reasons = [("a", 5), ("b", 3), ("c", 2), ("d", 1)].map(|(reason, n)| (reason.to_owned(), n));
        let first = ["x/1.jpg", "x/2.jpg"].map(str::to_owned);
        let at = |rejected| {
            too_many(MaxRejects::Share(0.1), rejected, 100, &reasons, &first, "out/rejects.parquet")
                .to_string()
        };
        let message = at(11);
        assert!(
            message.starts_with(
                "11 of 100 images were rejected, more than the 10% allowed: 5 x a, 3 x b, 2 x c; they are x/1.jpg, x/2.jpg, …; "
            ),
            "{message}"
        );
        assert!(message.contains("out/rejects.parquet") && message.contains("--max-rejects"), "{message}");
        assert!(!message.contains("1 x d"), "{message}");
        assert!(at(2).contains("they are x/1.jpg, x/2.jpg; "));
    }

    #[test]
    fn a_store_that_denies_is_denied_and_one_that_fails_has_failed() {
        let limit = MaxRejects::Share(0.01);
        let give_up = |n, error: Error| hopeless(limit, n, 2000, "s3://fruits/a.jpg", &error);
        assert!(give_up(20, Error::Denied("permission denied".into())).is_none());
        let Some(Error::Denied(message)) = give_up(21, Error::Denied("permission denied".into())) else {
            panic!()
        };
        assert!(
            message.starts_with(
                "21 unreadable images of 2,000 so far, the last one s3://fruits/a.jpg; permission denied; "
            ),
            "{message}"
        );
        assert!(message.contains("the 1% allowed by --max-rejects"), "{message}");
        assert!(matches!(give_up(21, Error::Failed("not found".into())), Some(Error::Failed(_))));
    }
}
