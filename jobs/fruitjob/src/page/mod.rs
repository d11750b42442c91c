//! The page that recognises: a folder of files, made from the results of a run, that any static host serves.
//!
//! What it computes with is the crate `fruitapp`, as WebAssembly that the caller has. All but three files are in a folder that
//! is named after their content, so that a page that is being read never gets parts of two.

mod sample;
mod write;

use std::collections::BTreeMap;

use bytes::Bytes;
use fast_image_resize::images::Image;
use fast_image_resize::{PixelType, Resizer};
use fruitapp::Bundle;
use fruitapp::pixels;
use fruitjob_interface::job::DEFAULT_MAX_PIXELS;
use fruitjob_interface::model::{Color, ExifOrientation, Fit, Preprocessing, Resample};
use fruitjob_interface::page::{PageCheck, PageLabel, PageOptions, PageRecord};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::exec::context::Context;
use crate::gallery::Gallery;
use crate::image::{decode, encode, orientation, preprocess};
use crate::model::Model;
use crate::storage::{Input, Location, Wanted};

/// Width and height of a picture on the page, in pixels.
const SIDE: u16 = 64;
/// How good its JPEG is, 1 to 100.
const QUALITY: u8 = 72;
/// Labels that a page has, at most: they are numbers of 16 bits.
const MOST_LABELS: usize = 1 << 16;

/// What the page's script is told.
#[derive(Serialize)]
struct About<'a> {
    labels: &'a [PageLabel],
    check: Option<PageCheck>,
    /// The label of each picture.
    label_of: Vec<u32>,
    /// Where each picture's JPEG ends in the file of them.
    ends: Vec<usize>,
    /// When the run's results were published, RFC 3339.
    finished: Option<&'a str>,
    /// How long a vector is.
    components: usize,
}

/// A picture that the page shows.
struct Shown {
    picture: usize,
    jpeg: Vec<u8>,
    is_photograph: bool,
}

/// Writes a page of these results to a folder or below a URI.
///
/// # Errors
/// [`Error::Usage`] where there can be none of this run's, or the input's pictures cannot be read.
pub fn write(
    gallery: &Gallery,
    options: &PageOptions,
    wasm: &[u8],
    to: &Location,
    context: &Context,
) -> Result<PageRecord> {
    let labels = gallery.labels.len();
    if labels > MOST_LABELS {
        return Err(Error::Usage(format!(
            "{labels} labels are too many for a page, which has {MOST_LABELS}"
        )));
    }
    let mut bundle = bundle_of(&gallery.model)?;
    let sample = sample::draw(gallery, options);
    let shown = pictures(gallery, &sample.shown, context)?;
    let mut at = PageRecord {
        page: to.to_string(),
        labels: gallery
            .labels
            .iter()
            .zip(&sample.results)
            .map(|(label, results)| PageLabel {
                label: label.clone(),
                results: *results,
                ..Default::default()
            })
            .collect(),
        pinned: gallery.record.pca.as_ref().is_some_and(|pca| pca.pinned),
        ..Default::default()
    };
    for shown in &shown {
        let label = &mut at.labels[gallery.label_number(shown.picture)];
        label.pictures += 1;
        label.photographs += u64::from(shown.is_photograph);
    }
    let kept: Vec<usize> = shown.iter().map(|shown| shown.picture).collect();
    bundle.mean = gallery.pca.mean.iter().map(|x| *x as f32).collect();
    bundle.components = gallery.pca.components.iter().map(|x| *x as f32).collect();
    bundle.vectors = kept.iter().flat_map(|picture| gallery.vector(*picture)).copied().collect();
    bundle.label_of = kept.iter().map(|picture| gallery.label_number(*picture) as u16).collect();
    bundle.limits = sample::limits(gallery, &kept, &sample.aside);
    bundle.left_out_limit = gallery.left_out_limit().unwrap_or(f32::INFINITY);
    at.check = sample::check(gallery, &kept, &sample.aside, &bundle.limits);
    let mut jpegs = Vec::new();
    let mut ends = Vec::new();
    for shown in &shown {
        jpegs.extend_from_slice(&shown.jpeg);
        ends.push(jpegs.len());
    }
    let about = About {
        labels: &at.labels,
        check: at.check,
        label_of: kept.iter().map(|picture| gallery.label_number(*picture) as u32).collect(),
        ends,
        finished: gallery.record.finished.as_deref(),
        components: gallery.components(),
    };
    let data: BTreeMap<&str, Bytes> = BTreeMap::from([
        ("about.json", Bytes::from(serde_json::to_vec(&about).expect("plain data"))),
        ("bundle.bin", bundle.encode().into()),
        ("pictures.bin", jpegs.into()),
        ("fruitapp.wasm", Bytes::copy_from_slice(wasm)),
    ]);
    let files = write::Files::new(data);
    at.version = files.version.clone();
    at.bytes = files.bytes();
    files.write(to, context)?;
    Ok(at)
}

/// The network and its preprocessing, and nothing of a run.
///
/// # Errors
/// [`Error::Usage`] where the page cannot compute it.
fn bundle_of(model: &Model) -> Result<Bundle> {
    let refused = |why: &str| {
        Error::Usage(format!(
            "a page cannot run model {}: {why}; a run by one of the models inside, or by another in MobileNet's manner, can have one \
             (fruitctl models)",
            model.name
        ))
    };
    if let Some(why) = &model.why_general {
        return Err(refused(why));
    }
    if model.backbone.engine().ends_with("-int8") {
        return Err(refused("the run computed in int8, and a browser would compute other numbers"));
    }
    let network = model.recognised().map_err(|why| refused(&why))?;
    Ok(Bundle {
        preprocessing: preprocessing(&model.preprocessing),
        entry: network.entry,
        layers: network.layers,
        head: network.head.steps().to_vec(),
        mean: Vec::new(),
        components: Vec::new(),
        vectors: Vec::new(),
        label_of: Vec::new(),
        limits: Vec::new(),
        left_out_limit: f32::INFINITY,
    })
}

fn preprocessing(of: &Preprocessing) -> pixels::Preprocessing {
    pixels::Preprocessing {
        size: of.size,
        resize: of.resize,
        mean: of.mean,
        std: of.std,
        bgr: of.color == Color::Bgr,
        bicubic: of.resample == Resample::Bicubic,
        squash: of.fit == Fit::Squash,
        upright: of.exif_orientation == ExifOrientation::Apply,
    }
}

/// These pictures as the page shows them, those that the input still has.
///
/// # Errors
/// [`Error::Usage`] where it has none of them.
fn pictures(gallery: &Gallery, wanted: &[usize], context: &Context) -> Result<Vec<Shown>> {
    let place = &gallery.record.input;
    let input = Input::open(&Location::parse(place)?)?;
    let images = &gallery.record.images;
    let size = images.listed_bytes / images.listed.max(1);
    let ask =
        |picture: &usize| Wanted { path: gallery.path(*picture).to_owned(), size: None, tag: String::new() };
    let mut read = input.read_ahead(wanted.iter().map(ask).collect(), size, &context.runtime);
    let side = u32::from(SIDE);
    let options = decode::Options { max_pixels: DEFAULT_MAX_PIXELS, target: Some([side; 2]) };
    let (mut resizer, mut small) = (Resizer::new(), Image::new(side, side, PixelType::U8x3));
    let how = preprocess::How { share: 1.0, fit: Fit::Crop, resample: Resample::Bilinear };
    let applies = gallery.model.preprocessing.exif_orientation == ExifOrientation::Apply;
    let mut shown = Vec::new();
    for &picture in wanted {
        context.check()?;
        // Deleted since the run, or damaged: it is on no page.
        let Some(Ok(bytes)) = read.next() else { continue };
        let Ok(mut image) = decode::decode(&bytes, &options) else { continue };
        let is_photograph = !is_on_white(&image);
        if applies {
            image = orientation::upright(image, &bytes);
        }
        if preprocess::resize(&mut resizer, &image, how, &mut small).is_err() {
            continue;
        }
        let jpeg = encode::encode_jpeg(small.buffer(), SIDE, SIDE, QUALITY)?;
        shown.push(Shown { picture, jpeg, is_photograph });
    }
    if shown.is_empty() {
        return Err(Error::Usage(format!(
            "none of the pictures is in the run's input {place} any more, or it cannot be read from here; the page shows them: run \
             again, or run this where the input is"
        )));
    }
    Ok(shown)
}

/// Whether a picture's four corners are white, as of things on a turntable and in a catalogue: an estimate. What lies on such
/// a ground may touch the sides.
fn is_on_white(image: &decode::Rgb) -> bool {
    const WHITE: u8 = 235;
    let (w, h) = (image.width as usize, image.height as usize);
    let (across, down) = (w.div_ceil(16), h.div_ceil(16));
    let is_white = |x: usize, y: usize| image.pixels[3 * (y * w + x)..][..3].iter().all(|c| *c >= WHITE);
    [(0, 0), (w - across, 0), (0, h - down), (w - across, h - down)].iter().all(|(left, top)| {
        let corner = (*top..top + down).flat_map(|y| (*left..left + across).map(move |x| (x, y)));
        10 * corner.filter(|&(x, y)| is_white(x, y)).count() >= 9 * across * down
    })
}

#[cfg(test)]
mod tests;
