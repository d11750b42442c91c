//! The fit stage: the principal components of all features, from their merged moments.

use fruitjob_interface::record::PcaRecord;
use fruitjob_interface::{Stage, layout};

use super::compare;
use super::state::Run;
use super::worker::Worker;
use crate::artifacts::{features, moments, pcas};
use crate::error::Result;
use crate::exec::{Batch, Done, Task};
use crate::model::fused::fuse;
use crate::model::usual;
use crate::pca::Pca;
use crate::pca::moments::{Moments, Sum};

/// Partitions under a leaf of the tree of moments: some four thousand images, so that what a leaf costs to keep and
/// to merge is little beside what it costs to add up.
const LEAF: usize = 16;
/// Nodes under a node, and so the most that are merged in one place.
const FAN: usize = 64;

/// Adds up moments, as a tree over the partitions' order that is the same wherever its nodes are worked out; fits,
/// and saves the model: PCA and fused graph.
pub(crate) fn run(run: &mut Run) -> Result<String> {
    let model = run.model()?;
    let manifest = run.manifest()?;
    let d = model.backbone.features();
    run.begin(Stage::Fit, Some(manifest.partitions.len() as u64), "partitions");
    let (mut level, mut nodes) = (0, manifest.partitions.len().div_ceil(LEAF));
    // Read, centre, multiply; a few ten thousand million operations a second.
    let leaf = LEAF as f64 * (0.05 + 256.0 * (d * d) as f64 / 3e10);
    run.map(Batch {
        stage: Stage::Fit,
        units: manifest.partitions.len() as u64,
        tasks: (0..nodes).map(|node| Task::Sum { node }).collect(),
        seconds: vec![leaf; nodes],
    })?;
    while nodes > FAN {
        let below = nodes;
        (level, nodes) = (level + 1, below.div_ceil(FAN));
        run.map(Batch {
            stage: Stage::Fit,
            units: 0,
            tasks: (0..nodes).map(|node| Task::Merge { level, node, below }).collect(),
            seconds: vec![FAN as f64 * (0.05 + (d * d) as f64 / 1e8); nodes],
        })?;
    }
    let moments = moments::merged(&run.output, level, 0..nodes, d)?;
    run.context.check()?;
    if let Some(warning) = usual::warning(&model, &moments) {
        run.warn(warning);
    }
    let pinned = run.pinned()?;
    let is_pinned = pinned.is_some();
    let pca = pinned.map_or_else(|| Pca::fit(&moments, run.job.components), Ok)?;
    run.context.check()?;
    pcas::write(&run.output, layout::STAGED_MODEL, &pca)?;
    run.output.put(&format!("{}/model.onnx", layout::STAGED_MODEL), fuse(&model, &pca))?;
    moments::clear(&run.output)?;
    if let (Some(_), Some(model)) = (&run.record.changes, &run.record.model) {
        let drift = compare::fitted(&run.output, model, &pca, &moments);
        let drift = run.or_warn(drift)?.flatten();
        run.record.changes.iter_mut().for_each(|changes| changes.pca = drift.clone());
    }
    let ratio = if is_pinned { pca.explains(&moments) } else { pca.explained_variance_ratio() };
    let explained: f64 = ratio.iter().sum();
    let (k, id) = (pca.components_len(), pca.id());
    let of = if is_pinned { format!(" of PCA {id}, fitted earlier,") } else { String::new() };
    run.record.pca = Some(PcaRecord {
        id,
        pinned: is_pinned,
        components: k,
        features: d,
        images: moments.count,
        explained_variance_ratio: ratio,
        total_variance: moments.total_variance(),
    });
    Ok(format!("{k} components{of} of {d} features explain {:.1} % of the variance", explained * 100.0))
}

/// Works out a leaf of the tree.
pub(crate) fn sum(worker: &Worker, node: usize) -> Result<Done> {
    let (model_key, d) = (worker.model.key(), worker.model.backbone.features());
    let partitions = &worker.manifest.partitions;
    let mut sum = Sum::new(d);
    for partition in &partitions[node * LEAF..partitions.len().min((node + 1) * LEAF)] {
        worker.context.check()?;
        sum.add(&features::load_vectors(&worker.output, &model_key, &partition.key)?);
        worker.counters.done(1);
    }
    save(worker, 0, node, &sum.finish())
}

/// Works out a node above the leaves.
pub(crate) fn merge(worker: &Worker, level: usize, node: usize, below: usize) -> Result<Done> {
    worker.context.check()?;
    let children = node * FAN..below.min((node + 1) * FAN);
    let d = worker.model.backbone.features();
    save(worker, level, node, &moments::merged(&worker.output, level - 1, children, d)?)
}

fn save(worker: &Worker, level: usize, node: usize, moments: &Moments) -> Result<Done> {
    moments::save(&worker.output, level, node, moments)?;
    Ok(Done { rows: moments.count, ..Default::default() })
}
