//! The results of a run as a gallery: images are held against its pictures, by that run's model and PCA.
//!
//! The search is exact: every picture's vector is compared. A vector of 64 components takes 256 bytes, its path some 50 more,
//! and all of them are in memory (docs/howto/recognise.md says up to where that is enough).

pub(crate) mod known;
pub(crate) mod search;

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fruitjob_interface::IMAGES;
use fruitjob_interface::error::explain_io;
use fruitjob_interface::job::DEFAULT_MAX_PIXELS;
use fruitjob_interface::layout;
use fruitjob_interface::model::{Precision, Preprocessing, PreprocessingOptions};
use fruitjob_interface::recognition::{Neighbour, Recognition};
use fruitjob_interface::record::{PartRecord, RunRecord};

use crate::artifacts::{pcas, published, results};
use crate::error::{Error, Result};
use crate::exec::context::Context;
use crate::image::PIXELS_VERSION;
use crate::image::decode;
use crate::model::{Featurizer, Model, Reader, Wanted, inside, sha256, source};
use crate::pca::Pca;
use crate::pca::project::project;
use crate::storage::{Location, Output};
use crate::util::shown;

/// Images that are held against all pictures at once, while a part of these is in the processor's cache.
const AT_ONCE: usize = 16;
/// Parts of the results that are asked for at once where they are in a store, and held until they are put together.
const READS: usize = 32;
const HELD: usize = 1024;
/// The largest file that is read as an image, in bytes; every core reads one.
const MAX_FILE: u64 = 256 << 20;

/// The results of a run.
pub struct Gallery {
    /// What the run did.
    pub record: RunRecord,
    /// The model that made them.
    pub model: Model,
    /// The PCA that they were projected on.
    pub pca: Pca,
    /// The labels, in order.
    pub labels: Vec<String>,
    /// A path a picture, one after another, ...
    paths: String,
    /// ... and where each ends.
    ends: Vec<usize>,
    /// The label of each picture, an index into `labels`.
    label_of: Vec<u32>,
    /// `n x k`, row-major.
    vectors: Vec<f32>,
    /// By label: the distance beyond which an image is unlike its pictures.
    limits: Vec<f32>,
    /// The most that the projection may leave out of an image that is like these.
    left_out_limit: Option<f32>,
}

/// An image, as the run would have had it.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Its coordinates on the components.
    pub vector: Vec<f32>,
    /// The length of what the projection leaves out of its features.
    pub left_out: f32,
}

/// A part of the results, as it was read.
#[derive(Default)]
struct Part {
    paths: String,
    ends: Vec<usize>,
    /// Its labels, and which of them each picture has.
    labels: Vec<String>,
    label_of: Vec<u32>,
    vectors: Vec<f32>,
}

impl Gallery {
    /// Opens the results in an output. `model` is where the run's model is now, in place of where it was.
    ///
    /// # Errors
    /// [`Error::Usage`] where there are no complete results, or the model is not there any more; [`Error::Failed`] where one of
    /// them is damaged, or the model is another.
    pub fn open(location: &Location, model: Option<&str>, context: &Context) -> Result<Self> {
        // Opening it would make it.
        if matches!(location, Location::Local(dir) if !dir.is_dir()) {
            return Err(Error::Usage(format!(
                "there is no output {location}; fruitctl run --output makes one"
            )));
        }
        let output = Output::open(location, context.runtime.clone())?;
        let record = published::record(&output)?.ok_or_else(|| {
            Error::Usage(format!(
                "there are no complete results in {location}: no run has ended there, one is publishing, or run.json is damaged; name \
                 the output of a run, or run again"
            ))
        })?;
        let pca = pcas::load(&output, layout::PUBLISHED_MODEL).map_err(|e| match e {
            Error::Usage(_) => Error::Failed(format!(
                "{} is not whole: a run is publishing, or it was changed; try again, or run again",
                output.path(layout::PUBLISHED_MODEL)
            )),
            other => other,
        })?;
        let model = load_model(&record, model, context)?;
        if pca.mean.len() != model.backbone.features() || record.pca.as_ref().is_none_or(|r| r.id != pca.id())
        {
            return Err(Error::Failed(format!(
                "the PCA in {} is not the one of its run.json: a run is publishing, or it was changed; try again, or run again",
                output.path(layout::PUBLISHED_MODEL)
            )));
        }
        let mut gallery = Gallery {
            record: RunRecord::default(),
            model,
            pca,
            labels: Vec::new(),
            paths: String::new(),
            ends: Vec::new(),
            label_of: Vec::new(),
            vectors: Vec::new(),
            limits: Vec::new(),
            left_out_limit: None,
        };
        gallery.read(&record, &output, context)?;
        gallery.record = record;
        gallery.limits = known::limits(&gallery, context)?;
        gallery.left_out_limit = known::left_out_limit(&gallery);
        Ok(gallery)
    }

    fn read(&mut self, record: &RunRecord, output: &Output, context: &Context) -> Result<()> {
        let mut numbers: HashMap<String, u32> = HashMap::new();
        for records in record.parts.chunks(HELD) {
            for part in read_parts(output, records, self.components(), context)? {
                let start = self.paths.len();
                self.paths.push_str(&part.paths);
                self.ends.extend(part.ends.iter().map(|end| start + end));
                self.vectors.extend_from_slice(&part.vectors);
                let own: Vec<u32> = part
                    .labels
                    .into_iter()
                    .map(|label| {
                        let next = numbers.len() as u32;
                        *numbers.entry(label).or_insert(next)
                    })
                    .collect();
                self.label_of.extend(part.label_of.iter().map(|label| own[*label as usize]));
            }
        }
        // In order of their names, whatever the parts' is.
        let mut names: Vec<(String, u32)> = numbers.into_iter().collect();
        names.sort();
        let mut place = vec![0; names.len()];
        for (new, (_, old)) in names.iter().enumerate() {
            place[*old as usize] = new as u32;
        }
        self.label_of.iter_mut().for_each(|label| *label = place[*label as usize]);
        self.labels = names.into_iter().map(|(name, _)| name).collect();
        Ok(())
    }

    /// Pictures.
    pub fn len(&self) -> usize {
        self.label_of.len()
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.label_of.is_empty()
    }

    /// Numbers a vector, `k`.
    pub fn components(&self) -> usize {
        self.pca.components_len()
    }

    /// Where a picture lies below the run's input.
    pub fn path(&self, picture: usize) -> &str {
        let start = picture.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.paths[start..self.ends[picture]]
    }

    /// The label of a picture.
    pub fn label(&self, picture: usize) -> &str {
        &self.labels[self.label_of[picture] as usize]
    }

    /// The index of a picture's label in [`Gallery::labels`].
    pub fn label_number(&self, picture: usize) -> usize {
        self.label_of[picture] as usize
    }

    /// The vector of a picture: `k` elements.
    pub fn vector(&self, picture: usize) -> &[f32] {
        let k = self.components();
        &self.vectors[picture * k..(picture + 1) * k]
    }

    /// The vectors of all pictures, one after another.
    pub(crate) fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// The distance beyond which an image is unlike the pictures of a label, by its index.
    pub fn limit(&self, label: usize) -> f32 {
        self.limits[label]
    }

    /// The most that the projection may leave out of the features of an image that is like these; `None` where that is not
    /// known.
    pub fn left_out_limit(&self) -> Option<f32> {
        self.left_out_limit
    }

    /// The `k` nearest pictures and their distances by L2, the nearest first; the first of equals.
    pub fn nearest(&self, vector: &[f32], k: usize) -> Vec<(usize, f32)> {
        search::nearest(&[vector], &self.vectors, k, |_, _| true).pop().unwrap_or_default()
    }

    /// An image's features, projected.
    pub fn picture(&self, features: &[f32]) -> Picture {
        let vector = project(&self.pca, &[features]);
        let squares = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>();
        let all = squares(&mut features.iter().zip(&self.pca.mean).map(|(x, mean)| f64::from(*x) - mean));
        let kept = squares(&mut vector.iter().map(|x| f64::from(*x)));
        Picture { vector, left_out: (all - kept).max(0.0).sqrt() as f32 }
    }

    /// Says what the images in these files are, on so many threads; `done` is told of each.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after a signal. What is wrong with an image is said of it.
    pub fn recognise(
        &self,
        files: &[PathBuf],
        neighbours: usize,
        threads: usize,
        context: &Context,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Recognition>> {
        let at_once = files.len().div_ceil(threads.max(1)).clamp(1, AT_ONCE);
        let (next, said) = (AtomicUsize::new(0), Mutex::new(vec![None; files.len()]));
        let work = || -> Result<()> {
            let mut featurizer = Featurizer::new(&self.model, DEFAULT_MAX_PIXELS)?;
            loop {
                let start = next.fetch_add(at_once, Ordering::Relaxed);
                let Some(files) =
                    files.get(start..files.len().min(start + at_once)).filter(|f| !f.is_empty())
                else {
                    return Ok(());
                };
                let mut pictures = Vec::with_capacity(files.len());
                for file in files {
                    context.check()?;
                    pictures.push(self.picture_of(file, &mut featurizer)?);
                    done();
                }
                let vectors: Vec<&[f32]> =
                    pictures.iter().flatten().map(|picture| &*picture.vector).collect();
                let mut found =
                    search::nearest(&vectors, &self.vectors, neighbours.max(1), |_, _| true).into_iter();
                for (i, (file, picture)) in files.iter().zip(&pictures).enumerate() {
                    let nearest = if picture.is_ok() { found.next().unwrap_or_default() } else { Vec::new() };
                    let recognition = self.say(file, picture.as_ref(), &nearest);
                    said.lock().expect("no panic holds it")[start + i] = Some(recognition);
                }
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads.min(files.len()).max(1)).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
        })?;
        Ok(said.into_inner().expect("no panic holds it").into_iter().flatten().collect())
    }

    /// The image in a file, or why there is none.
    fn picture_of(&self, file: &Path, featurizer: &mut Featurizer<'_>) -> Result<Result<Picture, String>> {
        let read = || {
            // What is no file may never end, or wait for somebody for ever.
            if !std::fs::metadata(file).map_err(|e| explain_io(&e))?.is_file() {
                return Err("it is no file".to_owned());
            }
            let mut bytes = Vec::new();
            let file = std::fs::File::open(file).map_err(|e| explain_io(&e))?;
            file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| explain_io(&e))?;
            match bytes.len() as u64 > MAX_FILE {
                true => Err(format!("larger than {} MB, the most that is read", MAX_FILE >> 20)),
                false => Ok(bytes),
            }
        };
        match read() {
            Ok(bytes) => {
                let features = featurizer.run(&bytes)?;
                Ok(features.map(|f| self.picture(&f)).map_err(|refused| refused.reason))
            }
            Err(why) => Ok(Err(why)),
        }
    }

    fn say(&self, file: &Path, picture: Result<&Picture, &String>, found: &[(usize, f32)]) -> Recognition {
        let image = file.to_string_lossy().into_owned();
        let nothing = |error| Recognition { image: image.clone(), error, ..Default::default() };
        let picture = match picture {
            Ok(picture) => picture,
            Err(why) => return nothing(Some(why.clone())),
        };
        let Some(&(first, distance)) = found.first() else { return nothing(None) };
        let label = self.label_of[first];
        let same = found.iter().filter(|(picture, _)| self.label_of[*picture] == label).count();
        let limit = self.limit(label as usize);
        let is_off = self.left_out_limit.is_some_and(|most| picture.left_out > most);
        let unlike = distance > limit || is_off;
        let neighbour = |&(picture, distance): &(usize, f32)| Neighbour {
            path: self.path(picture).to_owned(),
            label: self.label(picture).to_owned(),
            distance,
        };
        Recognition {
            nearest: found.iter().map(neighbour).collect(),
            label: (!unlike).then(|| self.label(first).to_owned()),
            share: same as f32 / found.len() as f32,
            unlike,
            limit: Some(limit).filter(|limit| limit.is_finite()),
            left_out: picture.left_out,
            left_out_limit: self.left_out_limit,
            ..nothing(None)
        }
    }
}

/// These parts of the results, in order, read on several threads.
fn read_parts(output: &Output, records: &[PartRecord], k: usize, context: &Context) -> Result<Vec<Part>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match output.location() {
        Location::Local(_) => cores,
        Location::Remote(_) => READS.max(cores),
    };
    let (next, parts) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    parts.lock().expect("no panic holds it").resize_with(records.len(), || None);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(record) = records.get(at) else { return };
            let part = context.check().and_then(|()| read_part(output, record, k));
            if part.is_err() {
                next.store(records.len(), Ordering::Relaxed);
            }
            parts.lock().expect("no panic holds it")[at] = Some(part);
        }
    };
    std::thread::scope(|scope| (0..threads.min(records.len())).for_each(|_| drop(scope.spawn(work))));
    // Those that were not read come behind the one that failed.
    let unread = || Err(Error::Bug("a part was not read".into()));
    parts.into_inner().expect("no panic holds it").into_iter().map(|p| p.unwrap_or_else(unread)).collect()
}

fn read_part(output: &Output, record: &PartRecord, k: usize) -> Result<Part> {
    let mut part = Part::default();
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut odd = None;
    results::read_published(output, record, |path, label, vector| {
        if vector.len() != k || !vector.iter().all(|x| x.is_finite()) {
            odd.get_or_insert_with(|| shown(path));
            return;
        }
        let number = match numbers.get(label) {
            Some(number) => *number,
            None => {
                let next = part.labels.len() as u32;
                numbers.insert(label.to_owned(), next);
                part.labels.push(label.to_owned());
                next
            }
        };
        part.label_of.push(number);
        part.paths.push_str(path);
        part.ends.push(part.paths.len());
        part.vectors.extend_from_slice(vector);
    })?;
    match odd {
        None => Ok(part),
        Some(path) => Err(Error::Failed(format!(
            "{}/{}: the vector of {path} is not of {k} finite numbers; run again",
            output.path(layout::RESULTS),
            shown(&record.name)
        ))),
    }
}

/// The run's model, from where it is now.
fn load_model(record: &RunRecord, place: Option<&str>, context: &Context) -> Result<Model> {
    let was =
        record.model.as_ref().ok_or_else(|| Error::Failed("run.json names no model; run again".into()))?;
    if was.pixels_version != PIXELS_VERSION {
        return Err(Error::Usage(
            "the results are of another version of this program, whose pixels were others; run again".into(),
        ));
    }
    let name = match (place, inside::of_sha256(&was.sha256)) {
        (Some(place), _) => place,
        (None, Some(inside)) => inside.name(),
        // Whoever may write to the output has written this.
        (None, None) if is_trusted(&was.name) => &was.name,
        (None, None) => {
            return Err(Error::Usage(format!(
                "run.json says that the model was {}, which is not looked for by itself: name it by --model, wherever it is",
                shown(&source::display_name(&was.name))
            )));
        }
    };
    let reader = Reader { runtime: &context.runtime, stopped: &|| context.check() };
    let help = "the run's model has to be there: name its place by --model";
    let is = sha256(name, &reader).map_err(|e| match e {
        Error::Usage(why) => Error::Usage(format!("{}; {help}", shown(&why))),
        Error::Failed(why) => Error::Failed(format!("{}; {help}", shown(&why))),
        other => other,
    })?;
    if is != was.sha256 {
        return Err(Error::Usage(format!(
            "model {} is not the one that the results are of, whose vectors mean nothing beside its own: its SHA-256 is {} and \
             not {}; {help}",
            shown(&source::display_name(name)),
            &is[..12],
            shown(&was.sha256.chars().take(12).collect::<String>())
        )));
    }
    let preprocessing = options(&was.preprocessing);
    let wanted = Wanted {
        name,
        output_node: was.output_node.as_deref(),
        sha256: Some(&was.sha256),
        preprocessing: &preprocessing,
        precision: if was.engine.ends_with("-int8") { Precision::Int8 } else { Precision::F32 },
    };
    Model::read(&wanted, &reader)
}

/// Whether a place of a model may be read because run.json names it: a file, or an object in a store whose rights are ours. A
/// request to any web server would be somebody else's.
fn is_trusted(place: &str) -> bool {
    match Location::parse(place) {
        Ok(Location::Local(file)) => file.is_file(),
        Ok(Location::Remote(url)) => !url.scheme().starts_with("http"),
        Err(_) => false,
    }
}

/// The options that give this preprocessing with the model that it was of.
fn options(of: &Preprocessing) -> PreprocessingOptions {
    PreprocessingOptions {
        // Another shape is the model's own.
        input_size: (of.size[0] == of.size[1]).then_some(of.size[0]),
        resize: Some(of.resize),
        mean: Some(of.mean.to_vec()),
        std: Some(of.std.to_vec()),
        color: Some(of.color),
        layout: Some(of.layout),
        resample: Some(of.resample),
        fit: Some(of.fit),
        exif_orientation: Some(of.exif_orientation),
    }
}

/// The files of these that are images: those that are named, and those in folders that are named, in order. In a folder, a file
/// is one by its content or by its name, for one that is damaged is to be told; links to files are followed.
///
/// # Errors
/// [`Error::Usage`] where one is not there, or a folder has no image.
pub fn images(places: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for place in places {
        let unreadable = |why: String| Error::Usage(format!("image {}: {why}", place.display()));
        if !place.metadata().map_err(|e| unreadable(explain_io(&e)))?.is_dir() {
            files.push(place.clone());
            continue;
        }
        let before = files.len();
        for entry in walkdir::WalkDir::new(place).sort_by_file_name() {
            let entry = entry.map_err(|e| unreadable(e.to_string()))?;
            let path = entry.path();
            if path.is_file() && (has_an_image_s_name(path) || begins_as_an_image(path)) {
                files.push(entry.into_path());
            }
        }
        if files.len() == before {
            return Err(unreadable("there is no image in this folder".into()));
        }
    }
    Ok(files)
}

fn has_an_image_s_name(file: &Path) -> bool {
    let ending = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    IMAGES.contains(&ending.as_str())
}

fn begins_as_an_image(file: &Path) -> bool {
    let mut first = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(16).read_to_end(&mut first));
    read.is_ok() && decode::is_image(&first)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Arc;

    use fruitjob_interface::JobOptions;
    use fruitjob_interface::event::{Event, Observer};

    use super::*;
    use crate::{Job, pipeline, samples};

    struct Silent;

    impl Observer for Silent {
        fn event(&self, _: &Event) {}
    }

    /// The results of a run over drawn pictures, eight of each of four fruits, in a folder that also holds these, and two more of
    /// each in `new`.
    fn run(folder: &Path) -> (tokio::runtime::Runtime, Context, Location) {
        let runtime = crate::util::runtime().unwrap();
        let context = Context::new(runtime.handle().clone(), Arc::new(Silent));
        samples::draw(&folder.join("in"), 4, 10, 1, false, &|| Ok(())).unwrap();
        for label in std::fs::read_dir(folder.join("in")).unwrap().map(|label| label.unwrap()) {
            let new = folder.join("new").join(label.file_name());
            std::fs::create_dir_all(&new).unwrap();
            for file in ["3_100.jpg", "6_100.jpg"] {
                std::fs::rename(label.path().join(file), new.join(file)).unwrap();
            }
        }
        let place = |name: &str| Some(folder.join(name).to_str().unwrap().to_owned());
        let options = JobOptions {
            input: place("in"),
            output: place("out"),
            components: NonZeroUsize::new(8),
            ..Default::default()
        };
        pipeline::run(Job::new(options, Default::default()).unwrap(), context.clone()).unwrap();
        (runtime, context, Location::parse(&place("out").unwrap()).unwrap())
    }

    #[test]
    fn pictures_of_the_gallery_are_themselves_and_others_like_them_have_their_label() {
        let folder = tempfile::tempdir().unwrap();
        let (_runtime, context, output) = run(folder.path());
        let gallery = Gallery::open(&output, None, &context).unwrap();
        assert_eq!((gallery.len(), gallery.components(), gallery.labels.len()), (32, 8, 4));
        let files = images(&[folder.path().join("in")]).unwrap();
        assert_eq!(files.len(), 32);
        let said = gallery.recognise(&files, 3, 2, &context, &|| ()).unwrap();
        for (file, said) in files.iter().zip(&said) {
            let first = &said.nearest[0];
            assert!(file.ends_with(&first.path) && first.distance < 1e-3, "{said:?}");
            assert_eq!((said.nearest.len(), said.unlike), (3, false));
            assert_eq!(said.label.as_ref(), Some(&first.label));
        }
        // Two of each that the run has not seen.
        let files = images(&[folder.path().join("new")]).unwrap();
        let said = gallery.recognise(&files, 5, 1, &context, &|| ()).unwrap();
        let right = files.iter().zip(&said).filter(|(file, said)| {
            said.nearest[0].label == file.parent().unwrap().file_name().unwrap().to_str().unwrap()
        });
        assert!(files.len() == 8 && right.count() >= 7, "{said:?}");
    }

    #[test]
    fn what_is_wrong_with_an_image_is_said_of_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (_runtime, context, output) = run(folder.path());
        let gallery = Gallery::open(&output, None, &context).unwrap();
        let text = folder.path().join("text.jpg");
        std::fs::write(&text, "no picture").unwrap();
        let files = [text, folder.path().join("none.jpg"), folder.path().join("in/Apple 1/0_100.jpg")];
        let said = gallery.recognise(&files, 1, 2, &context, &|| ()).unwrap();
        assert!(said[0].error.is_some() && said[0].nearest.is_empty());
        assert!(said[1].error.as_ref().unwrap().contains("not found"), "{said:?}");
        assert_eq!((said[2].error.as_ref(), said[2].label.as_deref()), (None, Some("Apple 1")));
    }

    #[test]
    fn results_that_are_incomplete_or_changed_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (_runtime, context, output) = run(folder.path());
        let open = |model: Option<&str>| match Gallery::open(&output, model, &context) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("opened"),
        };
        assert!(open(Some("builtin-1")).contains("SHA-256"));
        let out = folder.path().join("out");
        let change = |name: &str, bytes: &[u8]| {
            let was = std::fs::read(out.join(name)).unwrap();
            std::fs::write(out.join(name), bytes).unwrap();
            let why = open(None);
            std::fs::write(out.join(name), was).unwrap();
            why
        };
        assert!(change("results/part-00000.parquet", b"another").contains("is not what run.json says"));
        assert!(change("model/mean.npy", b"another").contains("damaged"));
        assert!(change("run.json", b"another").contains("no complete results"));
        std::fs::remove_file(out.join("results/_SUCCESS")).unwrap();
        assert!(open(None).contains("no complete results"));
        let nowhere = Location::parse(folder.path().join("nowhere").to_str().unwrap()).unwrap();
        assert!(Gallery::open(&nowhere, None, &context).is_err());
        assert!(!folder.path().join("nowhere").exists());
    }

    #[test]
    fn what_the_projection_leaves_out_is_told_where_enough_images_say_what_is_usual() {
        let folder = tempfile::tempdir().unwrap();
        let (_runtime, context, output) = run(folder.path());
        let mut gallery = Gallery::open(&output, None, &context).unwrap();
        // 32 images, 8 components.
        assert_eq!(gallery.left_out_limit(), None);
        let mean: Vec<f32> = gallery.pca.mean.iter().map(|x| *x as f32).collect();
        let along = |by: f32, component: usize| -> Vec<f32> {
            let d = mean.len();
            let axis = &gallery.pca.components[component * d..][..d];
            mean.iter().zip(axis).map(|(m, x)| m + by * *x as f32).collect()
        };
        let picture = gallery.picture(&along(3.0, 1));
        assert!((picture.vector[1] - 3.0).abs() < 1e-3 && picture.left_out < 1e-2, "{picture:?}");
        let d = mean.len();
        let (k, mut off) = (8, mean.clone());
        // A direction that is at right angles to the components.
        let mut direction: Vec<f64> = (0..d).map(|i| (i % 7) as f64 - 3.0).collect();
        for axis in gallery.pca.components.chunks_exact(d) {
            let along: f64 = direction.iter().zip(axis).map(|(a, b)| a * b).sum();
            direction.iter_mut().zip(axis).for_each(|(a, b)| *a -= along * b);
        }
        let length = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
        off.iter_mut().zip(&direction).for_each(|(x, to)| *x += (5.0 * to / length) as f32);
        assert!((gallery.picture(&off).left_out - 5.0).abs() < 1e-2);
        gallery.record.pca.as_mut().unwrap().images = 8 * k;
        let limit = known::left_out_limit(&gallery).unwrap();
        let left: f64 = gallery.pca.spectrum[8..].iter().sum();
        assert!((f64::from(limit) - 1.5 * (left * 63.0 / 55.0).sqrt()).abs() < 1e-5, "{limit}");
        gallery.left_out_limit = Some(limit);
        let first = gallery.nearest(&gallery.picture(&mean).vector, 1);
        let say = |features: &[f32]| {
            gallery.say(Path::new("a"), Ok(&gallery.picture(features)), &[(first[0].0, 0.0)])
        };
        assert_eq!(
            (say(&mean).unlike, say(&off).unlike, say(&off).label),
            (false, f64::from(limit) < 5.0, None)
        );
        // The last variances of fewer images than features are none.
        gallery.record.pca.as_mut().unwrap().pinned = true;
        assert_eq!(known::left_out_limit(&gallery), None);
    }
}
