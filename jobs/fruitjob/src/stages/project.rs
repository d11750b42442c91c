//! The project stage: each image's coordinates on the components, a part of the results per partition; and the
//! table of those that were rejected.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::{RecordBatch, StringArray};
use arrow_schema::Schema;

use crate::engine::{Batch, Done, Task};
use crate::error::{Error, Result};
use crate::event::Stage;
use crate::features;
use crate::fit::Pca;
use crate::record::PartRecord;
use crate::session::{Session, Worker};
use crate::{count, hex_sha256, layout, parquet_io};

/// Writes all parts to the staging area.
pub(crate) fn stage(session: &mut Session) -> Result<String> {
    let manifest = session.manifest()?;
    session.begin(Stage::Project, Some(manifest.partitions.len() as u64), "partitions");
    let n = manifest.partitions.len();
    let done = session.map(Batch {
        stage: Stage::Project,
        units: n as u64,
        tasks: (0..n).map(|partition| Task::Project { partition }).collect(),
        seconds: vec![0.2; n],
    })?;
    session.record.parts = done
        .iter()
        .enumerate()
        .map(|(i, d)| PartRecord { name: layout::part(i), rows: d.rows, sha256: d.sha256.clone() })
        .collect();
    let images = &mut session.record.images;
    images.results = done.iter().map(|d| d.rows).sum();
    images.rejected = done.iter().map(|d| d.rejected).sum();
    if images.results + images.rejected != images.listed {
        return Err(Error::Bug(format!(
            "{} results and {} rejects of {} images listed",
            images.results, images.rejected, images.listed
        )));
    }
    let message = format!("{} in {}", count(images.results, "row"), count(done.len() as u64, "part"));
    collect_rejects(session, &done)?;
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
    let k = pca.components_len();
    let mut column = ListBuilder::new(Float32Builder::new()).with_field(parquet_io::element());
    for vector in vectors.chunks_exact(k) {
        column.values().append_slice(vector);
        column.append(true);
    }
    let schema = Arc::new(Schema::new(vec![
        parquet_io::text("path", false),
        parquet_io::text("label", false),
        parquet_io::floats("pca", false),
    ]));
    let batch = RecordBatch::try_new(
        schema.clone(),
        vec![
            Arc::new(StringArray::from_iter_values(usable.iter().map(|(e, _)| &e.path))),
            Arc::new(StringArray::from_iter_values(usable.iter().map(|(e, _)| &*e.label))),
            Arc::new(column.finish()),
        ],
    );
    let bytes = parquet_io::write(&schema, batch).map_err(|e| Error::Bug(e.to_string()))?;
    let sha256 = hex_sha256(&bytes);
    worker
        .output
        .put(&format!("{}/{}/{}", layout::STAGING, layout::RESULTS, layout::part(partition)), bytes)?;
    worker.counters.done(1);
    let rejected = (rows.len() - usable.len()) as u64;
    Ok(Done { rows: usable.len() as u64, rejected, sha256, ..Default::default() })
}

/// Rows that are projected at once.
const BLOCK: usize = 256;

/// `(features - mean) · componentsᵀ`, computed in f64: `k` elements a row.
fn project(pca: &Pca, rows: &[&[f32]]) -> Vec<f32> {
    let (d, k) = (pca.mean.len(), pca.components_len());
    let mut projected = Vec::with_capacity(rows.len() * k);
    for block in rows.chunks(BLOCK) {
        let centred: Vec<f64> =
            block.iter().flat_map(|row| row.iter().zip(&pca.mean).map(|(x, m)| f64::from(*x) - m)).collect();
        projected.extend(algebra::product(&centred, &pca.components, d).iter().map(|x| *x as f32));
    }
    projected
}

/// Writes `rejects.parquet` to the staging area, and counts the reasons. `done` is what the tasks, one a partition,
/// had to say.
pub(crate) fn collect_rejects(session: &mut Session, done: &[Done]) -> Result<()> {
    let (manifest, model_key) = (session.manifest()?, session.model()?.key());
    let (mut paths, mut reasons) = (Vec::new(), Vec::new());
    for (partition, _) in manifest.partitions.iter().zip(done).filter(|(_, done)| done.rejected > 0) {
        session.context.check()?;
        for row in features::load(&session.output, &model_key, &partition.key)? {
            if let Err(reject) = row.outcome {
                paths.push(row.path);
                reasons.push(reject.reason);
            }
        }
    }
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for reason in &reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut counts: Vec<(String, u64)> =
        counts.into_iter().map(|(reason, n)| (reason.to_owned(), n)).collect();
    counts.sort_by(|(ra, na), (rb, nb)| nb.cmp(na).then(ra.cmp(rb)));
    let schema =
        Arc::new(Schema::new(vec![parquet_io::text("path", false), parquet_io::text("reason", false)]));
    let column = |texts: &[String]| Arc::new(StringArray::from_iter_values(texts));
    let batch = RecordBatch::try_new(schema.clone(), vec![column(&paths), column(&reasons)]);
    let bytes = parquet_io::write(&schema, batch).map_err(|e| Error::Bug(e.to_string()))?;
    session.record.rejects = counts;
    session.output.put(layout::STAGED_REJECTS, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projection_follows_its_definition() {
        let pca = Pca {
            mean: vec![1.0, 2.0, 3.0],
            components: vec![1.0, 0.0, 0.0, 0.0, 0.6, 0.8],
            spectrum: vec![2.0, 1.0, 0.0],
        };
        let rows: [&[f32]; 2] = [&[2.0, 2.0, 3.0], &[1.0, 3.0, 4.0]];
        assert_eq!(project(&pca, &rows), [1.0, 0.0, 0.0, 1.4]);
        assert!(project(&pca, &[]).is_empty());
    }
}
