//! The featurize stage: one vector per image, kept per partition. The features of a partition that did not
//! change are in the output already; of one that did, only what is new is computed.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use fruitjob_interface::{Stage, count, number};

use super::rejects;
use super::state::Run;
use super::worker::Worker;
use crate::artifacts::entry::Entry;
use crate::artifacts::features::{self, Reject, Row};
use crate::artifacts::manifest::Partition;
use crate::error::{Error, Result};
use crate::exec::{Batch, Done, Task};
use crate::image::decode::Refused;
use crate::model::Featurizer;
use crate::storage::Wanted;
use crate::storage::parquet::Span;

/// Computes what is not there yet, and counts.
pub(crate) fn run(run: &mut Run) -> Result<String> {
    let model = run.record_model()?;
    if model.backbone.is_slow() {
        run.warn(
            "--precision int8 is faster with AVX-512 VNNI, which this processor does not have; without it, \
             leave the flag out"
                .into(),
        );
    }
    if let Some(note) = &model.note {
        run.warn(format!("model {}: {note}", model.name));
    }
    if let Some(warning) = model.warning() {
        run.warn(warning);
    }
    let manifest = run.manifest()?;
    run.input()?;
    let total = manifest.images;
    run.begin(Stage::Featurize, Some(total), "images");
    let old = Old::find(run, &model.key())?;
    let task =
        |partition: usize| Task::Featurize { partition, reuse: old.overlapping(manifest.span(partition)) };
    let seconds =
        if run.wants_costs() { estimate(run, &old.kept)? } else { vec![0.0; manifest.partitions.len()] };
    let tasks = (0..manifest.partitions.len()).map(task).collect();
    let done = run.map(Batch { stage: Stage::Featurize, units: total, tasks, seconds })?;
    let sum = |count: fn(&Done) -> u64| done.iter().map(count).sum::<u64>();
    let images = &mut run.record.images;
    images.featurized = sum(|d| d.computed);
    images.cached = sum(|d| d.rows) - images.featurized;
    images.rejected = sum(|d| d.rejected);
    images.read_bytes = sum(|d| d.bytes);
    if sum(|d| d.rows) != total {
        return Err(Error::Bug(format!("{} of {total} images are accounted for", sum(|d| d.rows))));
    }
    let message = format!(
        "{} featurized, {} found in the cache, {} rejected",
        count(images.featurized, "image"),
        number(images.cached),
        number(images.rejected)
    );
    if images.rejected > 0 {
        rejects::collect(run, &done)?;
        rejects::check_limit(run, total)?;
    }
    Ok(message)
}

/// Features that earlier listings left: their keys, and the paths that they span.
struct Old {
    /// Keys of this listing's partitions that have features.
    kept: HashSet<String>,
    parts: Vec<(String, Option<Span>)>,
}

impl Old {
    /// Looks for parts that are of no partition of this listing, unless all of its own are there.
    fn find(run: &mut Run, model_key: &str) -> Result<Self> {
        let manifest = run.manifest()?;
        let wanted: HashSet<&str> = manifest.partitions.iter().map(|p| p.key.as_str()).collect();
        let keys = features::keys(&run.output, model_key)?;
        let (kept, others): (Vec<String>, Vec<String>) =
            keys.into_iter().partition(|key| wanted.contains(key.as_str()));
        let mut parts = Vec::new();
        if kept.len() < wanted.len() {
            for key in others {
                run.context.check()?;
                if let Some(span) = features::span(&run.output, model_key, &key)? {
                    parts.push((key, span));
                }
            }
        }
        Ok(Old { kept: kept.into_iter().collect(), parts })
    }

    /// Keys of the parts that may hold a path of these.
    fn overlapping(&self, paths: Option<Span>) -> Vec<String> {
        let apart = |part: &Option<Span>| {
            let (Some((min, max)), Some((first, last))) = (part, &paths) else { return false };
            max < first || last < min
        };
        self.parts.iter().filter(|(_, span)| !apart(span)).map(|(key, _)| key.clone()).collect()
    }
}

/// Images by which it is measured how long one takes.
const PROBE: usize = 32;

/// How long each partition will take on one thread of a machine like this one, in seconds: by what some of the first
/// images to be computed take, and by their sizes.
fn estimate(run: &mut Run, kept: &HashSet<String>) -> Result<Vec<f64>> {
    const FOUND: f64 = 0.05;
    let worker = run.worker()?;
    let partitions = &worker.manifest.partitions;
    let Some(first) = partitions.iter().position(|p| !kept.contains(&p.key)) else {
        return Ok(vec![FOUND; partitions.len()]);
    };
    let entries: Vec<Entry> =
        worker.manifest.entries(first)?.into_iter().filter(|e| e.problem.is_none()).take(PROBE).collect();
    let bytes: u64 = entries.iter().map(|e| e.size).sum();
    let input = worker.input.as_ref().ok_or_else(|| Error::Bug("featurize without an input".into()))?;
    let images = entries.iter().map(listed).collect();
    let mut featurizer = Featurizer::new(&worker.model, worker.max_pixels)?;
    let start = Instant::now();
    for image in input.read_ahead(images, bytes / entries.len().max(1) as u64, &worker.context.runtime) {
        worker.context.check()?;
        if let Ok(bytes) = image {
            let _ = featurizer.run(&bytes)?;
        }
    }
    let n = entries.len().max(1) as f64;
    let each = start.elapsed().as_secs_f64() / n;
    // Half of it is the model's, and the same for all; half is reading and decoding.
    let seconds = |p: &Partition| {
        let size = p.bytes as f64 / p.images.max(1) as f64 / (bytes as f64 / n).max(1.0);
        p.images as f64 * each * (0.5 + 0.5 * size)
    };
    Ok(partitions.iter().map(|p| if kept.contains(&p.key) { FOUND } else { seconds(p) }).collect())
}

/// Finds or computes one partition's features.
pub(crate) fn task(worker: &Worker, partition: usize, reuse: &[String]) -> Result<Done> {
    worker.context.check()?;
    let (output, counters) = (&worker.output, &worker.counters);
    let model_key = worker.model.key();
    let Partition { images, key, .. } = &worker.manifest.partitions[partition];
    let kept = features::summary(output, &model_key, key)?.filter(|s| s.rows == *images);
    if let Some(summary) = kept
        && summary.retry == 0
    {
        counters.rejected(summary.rejected);
        counters.cached(summary.rows);
        return Ok(Done { rows: summary.rows, rejected: summary.rejected, ..Default::default() });
    }

    let entries = worker.manifest.entries(partition)?;
    let own = kept.is_some().then_some(key);
    let mut outcomes = reused(worker, &entries, reuse.iter().chain(own));
    let found = outcomes.iter().flatten();
    counters.rejected(found.clone().filter(|o| o.is_err()).count() as u64);
    counters.cached(found.count() as u64);

    let mut done = Done { rows: entries.len() as u64, ..Default::default() };
    let mut todo = Vec::new();
    for (i, (entry, outcome)) in entries.iter().zip(&mut outcomes).enumerate() {
        match &entry.problem {
            _ if outcome.is_some() => continue,
            Some(reason) => *outcome = Some(Err(Reject { reason: reason.clone(), retry: false })),
            None => todo.push(i),
        }
        done.computed += 1;
    }
    let by_listing = done.computed - todo.len() as u64;
    counters.rejected(by_listing);
    counters.done(by_listing);
    done.bytes = compute(worker, &entries, todo, &mut outcomes)?;

    let row = |(entry, outcome): (&Entry, Option<_>)| {
        Some(Row { path: entry.path.clone(), tag: entry.tag.clone(), outcome: outcome? })
    };
    let rows: Vec<Row> = entries.iter().zip(outcomes).filter_map(row).collect();
    done.rejected = features::Summary::of(&rows).rejected;
    features::save(output, &model_key, key, &rows)?;
    Ok(done)
}

/// An image's features, or why it has none.
type Outcome = Result<Vec<f32>, Reject>;

/// What is kept of these images under some keys: an outcome each, or none where the image is new, has changed or is worth
/// another try. A later key overrules an earlier one.
fn reused<'a>(
    worker: &Worker,
    entries: &[Entry],
    keys: impl Iterator<Item = &'a String>,
) -> Vec<Option<Outcome>> {
    let wanted: HashMap<&str, usize> =
        entries.iter().enumerate().map(|(i, e)| (e.path.as_str(), i)).collect();
    let model_key = worker.model.key();
    let mut outcomes: Vec<Option<Outcome>> = vec![None; entries.len()];
    for key in keys {
        // A part that cannot be read is not worth an error: its images are computed again.
        for row in features::load(&worker.output, &model_key, key).unwrap_or_default() {
            if let Some(&i) = wanted.get(row.path.as_str())
                && row.tag == entries[i].tag
                && !matches!(row.outcome, Err(Reject { retry: true, .. }))
            {
                outcomes[i] = Some(row.outcome);
            }
        }
    }
    outcomes
}

/// Computes the outcomes of the images at the indices `todo`; returns how many bytes were read.
fn compute(
    worker: &Worker,
    entries: &[Entry],
    todo: Vec<usize>,
    outcomes: &mut [Option<Outcome>],
) -> Result<u64> {
    let counters = &worker.counters;
    let input = worker.input.as_ref().ok_or_else(|| Error::Bug("featurize without an input".into()))?;
    let wanted = todo.iter().map(|&i| listed(&entries[i])).collect();
    let size = todo.iter().map(|&i| entries[i].size).sum::<u64>() / todo.len().max(1) as u64;
    let mut images = input.read_ahead(wanted, size, &worker.context.runtime);
    let mut featurizer = Featurizer::new(&worker.model, worker.max_pixels)?;
    let mut read = 0;
    for i in todo {
        worker.context.check()?;
        let outcome = match images.next().ok_or_else(|| Error::Bug("the reader went away".into()))? {
            Ok(bytes) => {
                read += bytes.len() as u64;
                counters.read(bytes.len() as u64);
                // One that is too large is worth another try, for the limit may be another then.
                let reject = |refused: Refused| Reject { reason: refused.reason, retry: refused.too_large };
                featurizer.run(&bytes)?.map_err(reject)
            }
            Err(error) => {
                rejects::give_up(worker, &entries[i].path, &error)?;
                Err(Reject { reason: error.to_string(), retry: true })
            }
        };
        counters.rejected(u64::from(outcome.is_err()));
        counters.done(1);
        outcomes[i] = Some(outcome);
    }
    Ok(read)
}

fn listed(entry: &Entry) -> Wanted {
    Wanted { path: entry.path.clone(), size: Some(entry.size), tag: entry.tag.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_of_earlier_listings_are_looked_for_where_paths_overlap() {
        let span = |first: &str, last: &str| Some((first.into(), last.into()));
        let parts = [("abc", span("a", "c")), ("def", span("d", "f")), ("unknown", None)];
        let parts = parts.map(|(key, span)| (key.to_owned(), span)).into();
        let old = Old { kept: HashSet::new(), parts };
        assert_eq!(old.overlapping(span("b", "b")), ["abc", "unknown"]);
        assert_eq!(old.overlapping(span("c", "d")), ["abc", "def", "unknown"]);
        assert_eq!(old.overlapping(span("g", "z")), ["unknown"]);
        assert_eq!(old.overlapping(span("A", "Z")), ["unknown"]);
        assert_eq!(old.overlapping(None), ["abc", "def", "unknown"]);
    }
}
