//! The project stage: each image's coordinates on the components, a part of the results per partition.

use fruitjob_interface::record::PartRecord;
use fruitjob_interface::{Stage, count, layout};

use super::rejects;
use super::state::Run;
use super::worker::Worker;
use crate::artifacts::{features, results};
use crate::error::{Error, Result};
use crate::exec::{Batch, Done, Task};
use crate::pca::project::project;

/// Writes all parts to the staging area.
pub(crate) fn run(run: &mut Run) -> Result<String> {
    let manifest = run.manifest()?;
    run.begin(Stage::Project, Some(manifest.partitions.len() as u64), "partitions");
    let n = manifest.partitions.len();
    let done = run.map(Batch {
        stage: Stage::Project,
        units: n as u64,
        tasks: (0..n).map(|partition| Task::Project { partition }).collect(),
        seconds: vec![0.2; n],
    })?;
    run.record.parts = done
        .iter()
        .enumerate()
        .map(|(i, d)| PartRecord { name: layout::part(i), rows: d.rows, sha256: d.sha256.clone() })
        .collect();
    let images = &mut run.record.images;
    images.results = done.iter().map(|d| d.rows).sum();
    images.rejected = done.iter().map(|d| d.rejected).sum();
    if images.results + images.rejected != images.listed {
        return Err(Error::Bug(format!(
            "{} results and {} rejects of {} images listed",
            images.results, images.rejected, images.listed
        )));
    }
    let message = format!("{} in {}", count(images.results, "row"), count(done.len() as u64, "part"));
    rejects::collect(run, &done)?;
    Ok(message)
}

/// Writes one part.
pub(crate) fn task(worker: &Worker, partition: usize) -> Result<Done> {
    worker.context.check()?;
    let pca = worker.pca()?;
    let entries = worker.manifest.entries(partition)?;
    let rows =
        features::load(&worker.output, &worker.model.key(), &worker.manifest.partitions[partition].key)?;
    if !rows.iter().map(|r| &r.path).eq(entries.iter().map(|e| &e.path)) {
        return Err(Error::Usage(
            "the features are of another listing; run 'fruitjob featurize' first".into(),
        ));
    }
    let usable: Vec<_> =
        rows.iter().zip(&entries).filter_map(|(r, e)| Some((e, r.outcome.as_deref().ok()?))).collect();
    if usable.iter().any(|(_, features)| features.len() != pca.mean.len()) {
        return Err(Error::Usage(
            "the PCA was fitted on another model's features; run 'fruitjob fit' first".into(),
        ));
    }
    let vectors = project(&pca, &usable.iter().map(|(_, features)| *features).collect::<Vec<_>>());
    let images: Vec<_> = usable.iter().map(|(image, _)| *image).collect();
    let sha256 = results::save(&worker.output, partition, &images, &vectors, pca.components_len())?;
    worker.counters.done(1);
    let rejected = (rows.len() - usable.len()) as u64;
    Ok(Done { rows: usable.len() as u64, rejected, sha256, ..Default::default() })
}
