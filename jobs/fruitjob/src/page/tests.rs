use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use fruitapp::pixels::Rgba;
use fruitapp::{Bundle, Recogniser};
use fruitjob_interface::JobOptions;
use fruitjob_interface::event::{Event, Observer};

use super::*;
use crate::job::Job;
use crate::{pipeline, samples};

struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event) {}
}

fn image(width: u32, height: u32) -> decode::Rgb {
    let bytes: Vec<u8> =
        (0..width * height * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
    decode::decode(&png, &decode::Options::default()).unwrap()
}

fn rgba(image: &decode::Rgb) -> Vec<u8> {
    image.pixels.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect()
}

/// Byte by byte, for sizes larger and smaller, whole and broken.
#[test]
fn a_browser_resizes_as_the_job_does() {
    for (width, height) in
        [(100, 100), (640, 480), (33, 71), (128, 128), (128, 200), (1000, 300), (8, 8), (1, 5)]
    {
        let image = image(width, height);
        let pixels = rgba(&image);
        for (resample, fit) in [
            (Resample::Bilinear, Fit::Crop),
            (Resample::Bicubic, Fit::Crop),
            (Resample::Bilinear, Fit::Squash),
            (Resample::Bicubic, Fit::Squash),
        ] {
            for (size, resize) in [([128, 128], 128), ([96, 64], 80)] {
                let spec = pixels::Preprocessing {
                    size,
                    resize,
                    mean: [0.0; 3],
                    std: [1.0; 3],
                    bgr: false,
                    bicubic: resample == Resample::Bicubic,
                    squash: fit == Fit::Squash,
                    upright: true,
                };
                let got =
                    spec.resized(Rgba { width: width as usize, height: height as usize, pixels: &pixels });
                let mut want = Image::new(size[1], size[0], PixelType::U8x3);
                let share = f64::from(size[0].min(size[1])) / f64::from(resize);
                let how = preprocess::How { share, fit, resample };
                preprocess::resize(&mut Resizer::new(), &image, how, &mut want).unwrap();
                assert!(got == want.buffer(), "{width}x{height} {resample:?} {fit:?} {size:?}");
            }
        }
    }
}

/// A run over drawn pictures of four fruits, twelve of each.
fn run(folder: &Path) -> (tokio::runtime::Runtime, Context, Gallery) {
    let runtime = crate::util::runtime().unwrap();
    let context = Context::new(runtime.handle().clone(), Arc::new(Silent));
    samples::draw(&folder.join("in"), 4, 12, 1, false, &|| Ok(())).unwrap();
    let place = |name: &str| Some(folder.join(name).to_str().unwrap().to_owned());
    let options = JobOptions {
        input: place("in"),
        output: place("out"),
        components: NonZeroUsize::new(8),
        ..Default::default()
    };
    pipeline::run(Job::new(options, Default::default()).unwrap(), context.clone()).unwrap();
    let gallery = Gallery::open(&Location::parse(&place("out").unwrap()).unwrap(), None, &context).unwrap();
    (runtime, context, gallery)
}

fn read(page: &Path, name: &str) -> Vec<u8> {
    let folders = std::fs::read_dir(page).unwrap().map(|entry| entry.unwrap().path());
    let [assets] = &folders.filter(|path| path.is_dir()).collect::<Vec<_>>()[..] else {
        panic!("one version")
    };
    std::fs::read(assets.join(name)).unwrap()
}

#[test]
fn the_page_s_vectors_are_the_run_s_and_what_was_deleted_is_not_on_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (_runtime, context, gallery) = run(folder.path());
    let to = Location::parse(folder.path().join("page").to_str().unwrap()).unwrap();
    let options = PageOptions { per_label: 3, check: 0.25 };
    let page = folder.path().join("page");
    let record = write(&gallery, &options, b"wasm", &to, &context).unwrap();
    assert_eq!((record.labels.len(), record.pictures()), (4, 12));
    let check = record.check.unwrap();
    assert!(check.pictures > 0 && check.pictures == check.right + check.wrong + check.unlike);
    // The bundle, on the pixels that the job has.
    let mut recogniser = Recogniser::new(Bundle::decode(&read(&page, "bundle.bin")).unwrap()).unwrap();
    for picture in (0..gallery.len()).step_by(5) {
        let bytes = std::fs::read(folder.path().join("in").join(gallery.path(picture))).unwrap();
        let image = decode::decode(&bytes, &decode::Options::default()).unwrap();
        let pixels = rgba(&image);
        let (width, height) = (image.width as usize, image.height as usize);
        let answer = recogniser.answer(Rgba { width, height, pixels: &pixels }, 3).unwrap();
        for (got, want) in answer.vector.iter().zip(gallery.vector(picture)) {
            assert!((got - want).abs() < 1e-3, "{got} {want}");
        }
    }
    // One that is shown is deleted.
    let about =
        |page: &Path| -> serde_json::Value { serde_json::from_slice(&read(page, "about.json")).unwrap() };
    assert_eq!(about(&page)["ends"].as_array().unwrap().len(), 12);
    let shown = sample::draw(&gallery, &options).shown[0];
    std::fs::remove_file(folder.path().join("in").join(gallery.path(shown))).unwrap();
    std::fs::write(page.join("robots.txt"), "mine").unwrap();
    let next = write(&gallery, &options, b"wasm", &to, &context).unwrap();
    assert_ne!(next.version, record.version);
    assert_eq!(next.pictures(), 11);
    // `read` has seen that there is one version.
    assert_eq!(about(&page)["ends"].as_array().unwrap().len(), 11);
    assert!(page.join("robots.txt").exists() && page.join("index.html").exists());
}

#[test]
fn the_same_pictures_are_on_the_page_and_none_that_was_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (_runtime, _context, gallery) = run(folder.path());
    let draw = |per_label, check| sample::draw(&gallery, &PageOptions { per_label, check });
    let all = draw(100, 0.5);
    assert_eq!(all.shown.len() + all.aside.len(), gallery.len());
    assert!(all.aside.iter().all(|aside| !all.shown.contains(aside)));
    assert!(draw(2, 0.5).shown.iter().all(|picture| all.shown.contains(picture)));
    assert!(draw(100, 0.0).aside.is_empty());
}

#[test]
fn what_is_on_white_is_told_from_a_photograph() {
    let plain = |c: u8, border: u8| {
        let mut image = image(20, 30);
        for (i, pixel) in image.pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (x, y) = (i % 20, i / 20);
            *pixel = [if !(2..=17).contains(&x) && !(2..=27).contains(&y) { border } else { c }; 3];
        }
        image
    };
    assert!(is_on_white(&plain(90, 250)));
    assert!(!is_on_white(&plain(250, 90)));
}
