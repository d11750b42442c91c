//! The report stage: one HTML file that shows what came out.
//!
//! The page is `report.html` beside this file; it carries its data as JSON and needs nothing else, no network
//! and no server.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fast_image_resize::images::Image;
use fast_image_resize::{PixelType, Resizer};
use fruitjob_interface::model::{ExifOrientation, Fit, Resample};
use fruitjob_interface::record::{LabelRecord, RunRecord};
use fruitjob_interface::{Stage, layout};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::compare;
use super::state::Run;
use crate::artifacts::{partition, pcas, rejects, results};
use crate::error::Result;
use crate::image::{decode, encode, orientation, preprocess};
use crate::pca::NONE;
use crate::storage::Wanted;
use crate::util::now;

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
    /// Each axis's share of the variance, kept or not, as far as there is any.
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
pub(crate) fn run(run: &mut Run) -> Result<String> {
    if run.record.parts.is_empty() {
        return Err(run.output.missing(layout::STAGING, "project"));
    }
    let (found, sampled) = read_results(run)?;
    run.record.labels = found
        .iter()
        .map(|(label, found)| LabelRecord { label: label.clone(), images: found.count })
        .collect();
    if run.record.changes.is_some() {
        let labels = compare::labelled(&run.output, &run.record.labels);
        let labels = run.or_warn(labels)?.unwrap_or_default();
        run.record.changes.iter_mut().for_each(|changes| changes.labels = labels.clone());
    }
    let labels: Vec<&String> = found.keys().collect();
    let points = Points {
        x: sampled.iter().map(|p| p.x).collect(),
        y: sampled.iter().map(|p| p.y).collect(),
        label: sampled.iter().map(|p| labels.binary_search(&&p.label).unwrap_or_default()).collect(),
        path: sampled.into_iter().map(|p| p.path).collect(),
    };
    let mut thumbnails = thumbnails(run, &found)?;
    let label = |(name, found): (String, LabelFound)| Label {
        thumbnails: thumbnails.remove(&name).unwrap_or_default(),
        name,
        count: found.count,
    };
    let labels = found.into_iter().map(label).collect();
    let pca = pcas::load(&run.output, layout::STAGED_MODEL)?;
    let total: f64 = pca.spectrum.iter().sum();
    let spectrum = pca.spectrum.iter().take(MAX_AXES.max(pca.components_len())).map(|v| v / total);
    run.record.finished = Some(now());
    let page = Page {
        run: &run.record,
        seconds: run.record.seconds(),
        images_per_second: run.record.images_per_second(),
        spectrum: spectrum.take_while(|share| *share > NONE).collect(),
        labels,
        points,
        rejects: rejects::first(&run.output, MAX_REJECTS)?,
    };
    // `<` could end the script element that holds the data.
    let data = serde_json::to_string(&page).expect("plain data").replace('<', "\\u003c");
    let html = page_of(&data);
    run.output.put(&format!("{}/{}", layout::STAGING, layout::REPORT), html)?;
    Ok(run.output.path(layout::REPORT))
}

/// The page, which runs its own script and no other, and reaches nothing: names of files and labels are in it.
/// Source: <https://www.w3.org/TR/CSP3/#grammardef-hash-source>.
fn page_of(data: &str) -> String {
    const PAGE: &str = include_str!("report.html");
    let script = PAGE.rsplit_once("<script>").and_then(|(_, rest)| rest.split_once("</script>"));
    let hash = BASE64_STANDARD.encode(Sha256::digest(script.map_or("", |(script, _)| script)));
    PAGE.replacen("/*SCRIPT*/", &format!("sha256-{hash}"), 1).replacen("/*DATA*/", data, 1)
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
fn read_results(run: &mut Run) -> Result<(BTreeMap<String, LabelFound>, Vec<Point>)> {
    let results = run.record.images.results;
    run.begin(Stage::Report, Some(results), "rows");
    let mut found = BTreeMap::<String, LabelFound>::new();
    let mut points = Vec::new();
    let mut at = 0;
    for part in &run.record.parts {
        run.context.check()?;
        results::read(&run.output, &part.name, |path, label, vector| {
            match found.get_mut(label) {
                Some(label) => label.add(path),
                None => found.entry(label.to_owned()).or_default().add(path),
            }
            if is_point(at, results) {
                points.push(Point {
                    path: path.into(),
                    label: label.into(),
                    x: vector[0],
                    y: vector.get(1).copied().unwrap_or(0.0),
                });
            }
            at += 1;
        })?;
        run.counters.at(at);
    }
    Ok((found, points))
}

/// Whether a row of so many is a point of the scatter plot: where the running share of points steps up.
fn is_point(row: u64, rows: u64) -> bool {
    let share = |row: u64| row * MAX_POINTS / rows.max(MAX_POINTS);
    share(row + 1) > share(row)
}

/// A few pictures of each label, as small JPEGs in base64. One that cannot be shown is left out.
fn thumbnails(run: &mut Run, found: &BTreeMap<String, LabelFound>) -> Result<BTreeMap<String, Vec<String>>> {
    let input = run.input()?;
    let per_label = (MAX_THUMBNAILS / found.len().max(1)).clamp(1, PER_LABEL);
    let chosen: Vec<(&str, &str)> = found
        .iter()
        .take(MAX_THUMBNAILS)
        .flat_map(|(label, found)| {
            found.shown.iter().take(per_label).map(|(_, path)| (label.as_str(), path.as_str()))
        })
        .collect();
    let size = run.record.images.listed_bytes / run.record.images.listed.max(1);
    // Pictures beside the figures: whatever is there now.
    let wanted = |path: &str| Wanted { path: path.to_owned(), size: None, tag: String::new() };
    let wanted = chosen.iter().map(|(_, path)| wanted(path)).collect();
    let mut images = input.read_ahead(wanted, size, &run.context.runtime);
    let side = u32::from(THUMBNAIL);
    let options = decode::Options { max_pixels: run.job.max_pixels, target: Some([side; 2]) };
    let (mut resizer, mut small) = (Resizer::new(), Image::new(side, side, PixelType::U8x3));
    let how = preprocess::How { share: 1.0, fit: Fit::Crop, resample: Resample::Bilinear };
    let applies = run.model()?.preprocessing.exif_orientation == ExifOrientation::Apply;
    let mut thumbnails: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (label, _) in chosen {
        run.context.check()?;
        let Some(Ok(bytes)) = images.next() else { continue };
        let Ok(mut image) = decode::decode(&bytes, &options) else { continue };
        if applies {
            image = orientation::upright(image, &bytes);
        }
        if preprocess::resize(&mut resizer, &image, how, &mut small).is_err() {
            continue;
        }
        let jpeg = encode::encode_jpeg(small.buffer(), THUMBNAIL, THUMBNAIL, 80)?;
        thumbnails.entry(label.to_owned()).or_default().push(BASE64_STANDARD.encode(jpeg));
    }
    Ok(thumbnails)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_runs_its_own_script_alone() {
        let page = page_of("{}");
        let (_, rest) = page.split_once("script-src 'sha256-").unwrap();
        let (hash, rest) = rest.split_once('\'').unwrap();
        let script = rest.rsplit_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
        assert!(script.contains("JSON.parse"));
        assert_eq!(hash, BASE64_STANDARD.encode(Sha256::digest(script)));
        assert!(page.contains("default-src 'none'") && page.contains(">{}</script>"));
    }

    #[test]
    fn points_are_spaced_evenly_and_no_more_than_the_page_takes() {
        let points = |rows: u64| -> Vec<u64> { (0..rows).filter(|row| is_point(*row, rows)).collect() };
        assert_eq!(points(0).len(), 0);
        assert_eq!(points(1000), (0..1000).collect::<Vec<_>>());
        assert_eq!(points(MAX_POINTS).len() as u64, MAX_POINTS);
        let rows = 10 * MAX_POINTS + 7;
        let some = points(rows);
        assert_eq!(some.len() as u64, MAX_POINTS);
        assert!(some.windows(2).all(|pair| (10..=11).contains(&(pair[1] - pair[0]))));
    }

    #[test]
    fn the_same_images_of_a_label_are_shown_whatever_the_order() {
        let paths: Vec<String> = (0..50).map(|i| format!("Apple/{i}.jpg")).collect();
        let shown = |paths: &mut dyn Iterator<Item = &String>| {
            let mut found = LabelFound::default();
            paths.for_each(|path| found.add(path));
            assert_eq!(found.count, 50);
            found.shown.into_iter().map(|(_, path)| path).collect::<Vec<_>>()
        };
        let forwards = shown(&mut paths.iter());
        assert_eq!(forwards, shown(&mut paths.iter().rev()));
        assert_eq!(forwards.len(), PER_LABEL);
        let mut by_hash = paths.clone();
        by_hash.sort_by_key(|path| partition::hash(path));
        assert_eq!(forwards, by_hash[..PER_LABEL]);
    }
}
