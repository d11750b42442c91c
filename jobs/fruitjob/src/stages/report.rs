//! The report stage: one HTML file that shows what came out, and the publication of everything.
//!
//! The page is `report.html` beside this file; it carries its data as JSON and needs nothing else, no network
//! and no server.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fast_image_resize::images::Image;
use fast_image_resize::{PixelType, Resizer};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::event::Stage;
use crate::fit::Pca;
use crate::record::{LabelRecord, RunRecord};
use crate::session::{Session, now};
use crate::{decode, layout, parquet_io, partition, pin, preprocess, samples, since};

/// Points of the scatter plot, at most; of more results, evenly spaced ones are shown.
const MAX_POINTS: u64 = 25_000;
/// Thumbnails in all, at most, and of one label.
const MAX_THUMBNAILS: usize = 600;
const PER_LABEL: usize = 4;
/// Width and height of a thumbnail, in pixels.
const THUMBNAIL: u16 = 64;
/// Axes of the scree plot, at most.
const MAX_AXES: usize = 100;
/// Rejects that are named.
const MAX_REJECTS: usize = 100;

/// What the page shows.
#[derive(Serialize)]
struct Page<'a> {
    run: &'a RunRecord,
    seconds: f64,
    images_per_second: Option<f64>,
    /// Each axis's share of the variance, kept or not.
    spectrum: Vec<f64>,
    labels: Vec<Label>,
    points: Points,
    rejects: Vec<[String; 2]>,
}

#[derive(Serialize)]
struct Label {
    name: String,
    count: u64,
    /// JPEGs in base64.
    thumbnails: Vec<String>,
}

#[derive(Default, Serialize)]
struct Points {
    x: Vec<f32>,
    y: Vec<f32>,
    /// Indices of labels.
    label: Vec<usize>,
    path: Vec<String>,
}

/// Draws the report into the staging area.
pub(crate) fn stage(session: &mut Session) -> Result<String> {
    if session.record.parts.is_empty() {
        return Err(session.output.missing(layout::STAGING, "project"));
    }
    let (found, sampled) = read_results(session)?;
    session.record.labels = found
        .iter()
        .map(|(label, found)| LabelRecord { label: label.clone(), images: found.count })
        .collect();
    if session.record.since.is_some() {
        let labels = since::labelled(&session.output, &session.record.labels);
        let labels = session.if_told(labels)?.unwrap_or_default();
        session.record.since.iter_mut().for_each(|since| since.labels = labels.clone());
    }
    let labels: Vec<&String> = found.keys().collect();
    let points = Points {
        x: sampled.iter().map(|p| p.x).collect(),
        y: sampled.iter().map(|p| p.y).collect(),
        label: sampled.iter().map(|p| labels.binary_search(&&p.label).unwrap_or_default()).collect(),
        path: sampled.into_iter().map(|p| p.path).collect(),
    };
    let mut thumbnails = thumbnails(session, &found)?;
    let label = |(name, found): (String, LabelFound)| Label {
        thumbnails: thumbnails.remove(&name).unwrap_or_default(),
        name,
        count: found.count,
    };
    let labels = found.into_iter().map(label).collect();
    let pca = Pca::load(&session.output, layout::STAGED_MODEL)?;
    let total: f64 = pca.spectrum.iter().sum();
    session.record.finished = Some(now());
    let page = Page {
        run: &session.record,
        seconds: session.record.seconds(),
        images_per_second: session.record.images_per_second(),
        spectrum: pca.spectrum.iter().take(MAX_AXES.max(pca.components_len())).map(|v| v / total).collect(),
        labels,
        points,
        rejects: read_rejects(session)?,
    };
    // `<` could end the script element that holds the data.
    let data = serde_json::to_string(&page).expect("plain data").replace('<', "\\u003c");
    let html = include_str!("report.html").replacen("/*DATA*/", &data, 1);
    session.output.put(&format!("{}/{}", layout::STAGING, layout::REPORT), html)?;
    Ok(session.output.path(layout::REPORT))
}

/// One point of the scatter plot.
struct Point {
    path: String,
    label: String,
    x: f32,
    y: f32,
}

/// What the results hold of a label.
#[derive(Default)]
struct LabelFound {
    count: u64,
    /// Hashes and paths of the images that are shown: those with the lowest hashes, so that the same are shown night
    /// after night, and none but these is held in memory.
    shown: BTreeSet<(u64, String)>,
}

impl LabelFound {
    fn add(&mut self, path: &str) {
        self.count += 1;
        let hash = partition::hash(path);
        if self.shown.len() < PER_LABEL || self.shown.last().is_some_and(|(last, _)| hash < *last) {
            self.shown.insert((hash, path.to_owned()));
            if self.shown.len() > PER_LABEL {
                self.shown.pop_last();
            }
        }
    }
}

/// Looks at the results by label, and takes evenly spaced ones as points, reading one part at a time.
fn read_results(session: &mut Session) -> Result<(BTreeMap<String, LabelFound>, Vec<Point>)> {
    let results = session.record.images.results;
    session.begin(Stage::Report, Some(results), "rows");
    let mut found = BTreeMap::<String, LabelFound>::new();
    let mut points = Vec::new();
    let mut at = 0;
    for part in &session.record.parts {
        session.context.check()?;
        let name = format!("{}/{}/{}", layout::STAGING, layout::RESULTS, part.name);
        let bytes = session.output.get(&name)?.ok_or_else(|| session.output.missing(&name, "project"))?;
        let batches = parquet_io::read(bytes)
            .and_then(Iterator::collect::<parquet::errors::Result<Vec<_>>>)
            .map_err(|e| Error::Failed(format!("{} is damaged: {e}", session.output.path(&name))))?;
        for batch in batches {
            let (path, label) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
            let pca = batch.column(2).as_list::<i32>();
            for row in 0..batch.num_rows() {
                match found.get_mut(label.value(row)) {
                    Some(label) => label.add(path.value(row)),
                    None => found.entry(label.value(row).to_owned()).or_default().add(path.value(row)),
                }
                // The row where the running share of points steps up.
                if (at + 1) * MAX_POINTS / results.max(MAX_POINTS) > at * MAX_POINTS / results.max(MAX_POINTS)
                {
                    let vector = pca.value(row);
                    let vector = vector.as_primitive::<Float32Type>().values();
                    points.push(Point {
                        path: path.value(row).into(),
                        label: label.value(row).into(),
                        x: vector[0],
                        y: vector.get(1).copied().unwrap_or(0.0),
                    });
                }
                at += 1;
            }
        }
        session.counters.at(at);
    }
    Ok((found, points))
}

/// A few pictures of each label, as small JPEGs in base64. One that cannot be shown is left out.
fn thumbnails(
    session: &mut Session,
    found: &BTreeMap<String, LabelFound>,
) -> Result<BTreeMap<String, Vec<String>>> {
    let input = session.input()?;
    let per_label = (MAX_THUMBNAILS / found.len().max(1)).clamp(1, PER_LABEL);
    let chosen: Vec<(&str, &str)> = found
        .iter()
        .take(MAX_THUMBNAILS)
        .flat_map(|(label, found)| {
            found.shown.iter().take(per_label).map(|(_, path)| (label.as_str(), path.as_str()))
        })
        .collect();
    let size = session.record.images.listed_bytes / session.record.images.listed.max(1);
    let paths = chosen.iter().map(|(_, path)| (*path).to_owned()).collect();
    let mut images = input.read_ahead(paths, size, &session.context.runtime);
    let side = u32::from(THUMBNAIL);
    let (mut resizer, mut small) = (Resizer::new(), Image::new(side, side, PixelType::U8x3));
    let mut thumbnails: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (label, _) in chosen {
        session.context.check()?;
        let Some(Ok(bytes)) = images.next() else { continue };
        let Ok(image) = decode::decode(&bytes) else { continue };
        if preprocess::resize(&mut resizer, &image, 1.0, &mut small).is_err() {
            continue;
        }
        let jpeg = samples::encode_jpeg(small.buffer(), THUMBNAIL, THUMBNAIL, 80)?;
        thumbnails.entry(label.to_owned()).or_default().push(BASE64_STANDARD.encode(jpeg));
    }
    Ok(thumbnails)
}

fn read_rejects(session: &Session) -> Result<Vec<[String; 2]>> {
    let Some(bytes) = session.output.get(layout::STAGED_REJECTS)? else { return Ok(Vec::new()) };
    let batches =
        parquet_io::read(bytes).and_then(Iterator::collect::<parquet::errors::Result<Vec<_>>>).map_err(
            |e| Error::Failed(format!("{} is damaged: {e}", session.output.path(layout::STAGED_REJECTS))),
        )?;
    let rows = batches.iter().flat_map(|batch| {
        let (path, reason) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        (0..path.len()).map(|row| [path.value(row).to_owned(), reason.value(row).to_owned()])
    });
    Ok(rows.take(MAX_REJECTS).collect())
}

/// Moves everything from the staging area to its place. Until here nothing published has changed; between the
/// removal of `_SUCCESS` and its return, what is there may be of two runs.
pub(crate) fn publish(session: &Session, record: Vec<u8>) -> Result<()> {
    let output = &session.output;
    session.context.check()?;
    pin::keep(session)?;
    output.copy(layout::MANIFEST, layout::STAGED_MANIFEST)?;
    output.put(&format!("{}/{}", layout::STAGING, layout::PUBLISHED_RECORD), record)?;
    output.delete(layout::SUCCESS)?;
    let published = output.list(layout::RESULTS)?;
    let staging = format!("{}/", layout::STAGING);
    for name in output.list(layout::STAGING)? {
        output.rename(&name, name.strip_prefix(&staging).expect("listed below it"))?;
    }
    let parts: HashSet<&str> = session.record.parts.iter().map(|p| p.name.as_str()).collect();
    for name in published {
        let file = name.strip_prefix("results/").expect("listed below it");
        let ours = file.starts_with("part-") && file.ends_with(".parquet");
        if ours && !parts.contains(file) {
            output.delete(&name)?;
        }
    }
    // A write that is cut off leaves a file beside its own: not among the results.
    output.put(layout::STAGED_SUCCESS, "")?;
    output.rename(layout::STAGED_SUCCESS, layout::SUCCESS)
}

/// Deletes features that no partition of this listing uses: a later listing would not find them of use.
pub(crate) fn collect_garbage(session: &mut Session) -> Result<()> {
    let (manifest, model_key) = (session.manifest()?, session.model()?.key());
    let used: HashSet<&str> = manifest.partitions.iter().map(|p| p.key.as_str()).collect();
    for name in session.output.list(&layout::features_dir(&model_key))? {
        let key = name.rsplit('/').next().and_then(|file| file.split('.').next()).unwrap_or_default();
        if !used.contains(key) {
            session.output.delete(&name)?;
        }
    }
    Ok(())
}
