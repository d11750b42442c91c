//! The results of a run as a gallery: images are held against its pictures, by that run's model and PCA.
//!
//! The search is exact: every picture's vector is compared. A vector of 64 components takes 256 bytes, its path some 50 more,
//! and all of them are in memory (docs/howto/recognise.md says up to where that is enough).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fruitjob_interface::error::explain_io;
use fruitjob_interface::job::DEFAULT_MAX_PIXELS;
use fruitjob_interface::layout;
use fruitjob_interface::model::{Precision, Preprocessing, PreprocessingOptions};
use fruitjob_interface::recognition::{Neighbour, Recognition};
use fruitjob_interface::record::RunRecord;

use crate::artifacts::{pcas, published, results};
use crate::error::{Error, Result};
use crate::exec::context::Context;
use crate::image::PIXELS_VERSION;
use crate::image::decode;
use crate::model::{Featurizer, Model, Reader, Wanted, inside};
use crate::pca::Pca;
use crate::pca::project::project;
use crate::storage::{Location, Output};

/// Pictures of a label whose distance to the nearest other one of it is looked at.
pub(crate) const PROBES: usize = 32;
/// Pictures that a label needs for a limit of its own.
pub(crate) const ENOUGH: usize = 5;
/// How much farther than nineteen of twenty pictures of a label are from the next one an image may be. Chosen on photographs and
/// turntable pictures; docs/howto/recognise.md has what it lets through and what it takes away.
pub(crate) const MARGIN: f32 = 1.3;
/// The largest file that is read as an image, in bytes: no picture that may be decoded takes more.
const MAX_FILE: u64 = 1 << 30;

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
                "there are no complete results in {location}: no run has ended there, or one is publishing; name the output of a run"
            ))
        })?;
        let pca = pcas::load(&output, layout::PUBLISHED_MODEL)?;
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
        };
        gallery.read(&record, &output, context)?;
        gallery.record = record;
        gallery.limits = gallery.limits();
        Ok(gallery)
    }

    fn read(&mut self, record: &RunRecord, output: &Output, context: &Context) -> Result<()> {
        let k = self.components();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        for part in &record.parts {
            context.check()?;
            let mut odd = None;
            results::read_published(output, part, |path, label, vector| {
                if vector.len() != k || !vector.iter().all(|x| x.is_finite()) {
                    odd = Some(path.to_owned());
                    return;
                }
                let next = numbers.len() as u32;
                let number = match numbers.get(label) {
                    Some(number) => *number,
                    None => *numbers.entry(label.to_owned()).or_insert(next),
                };
                self.label_of.push(number);
                self.paths.push_str(path);
                self.ends.push(self.paths.len());
                self.vectors.extend_from_slice(vector);
            })?;
            if let Some(path) = odd {
                return Err(Error::Failed(format!(
                    "{}/{}: the vector of {path} is not of {k} numbers; run again",
                    output.path(layout::RESULTS),
                    part.name
                )));
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

    /// The `k` nearest pictures and their distances by L2, the nearest first; the first of equals.
    pub fn nearest(&self, vector: &[f32], k: usize) -> Vec<(usize, f32)> {
        nearest(vector, &self.vectors, 0..self.len(), k)
    }

    /// Limits by label. Each is the distance that nineteen of twenty of its pictures have to the nearest other one of it, at
    /// most, and a margin; that of all labels where there are too few.
    fn limits(&self) -> Vec<f32> {
        let mut pictures: Vec<Vec<usize>> = vec![Vec::new(); self.labels.len()];
        for (picture, label) in self.label_of.iter().enumerate() {
            pictures[*label as usize].push(picture);
        }
        let apart: Vec<Vec<f32>> = pictures
            .iter()
            .map(|of_label| {
                let step = of_label.len().div_ceil(PROBES).max(1);
                let others = |of: usize| of_label.iter().copied().filter(move |other| *other != of);
                of_label
                    .iter()
                    .step_by(step)
                    .filter_map(|of| {
                        nearest(self.vector(*of), &self.vectors, others(*of), 1).first().map(|n| n.1)
                    })
                    .collect()
            })
            .collect();
        let all = most(apart.iter().flatten().copied().collect());
        let own =
            |apart: Vec<f32>, pictures: &Vec<usize>| if pictures.len() < ENOUGH { all } else { most(apart) };
        apart.into_iter().zip(&pictures).map(|(apart, pictures)| MARGIN * own(apart, pictures)).collect()
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
        let (next, said) = (AtomicUsize::new(0), Mutex::new(vec![None; files.len()]));
        let work = || -> Result<()> {
            let mut featurizer = Featurizer::new(&self.model, DEFAULT_MAX_PIXELS)?;
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(file) = files.get(at) else { return Ok(()) };
                context.check()?;
                let vector = self.vector_of(file, &mut featurizer)?;
                let recognition = self.say(file, vector, neighbours);
                said.lock().expect("no panic holds it")[at] = Some(recognition);
                done();
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads.min(files.len()).max(1)).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
        })?;
        Ok(said.into_inner().expect("no panic holds it").into_iter().flatten().collect())
    }

    /// The vector of the image in a file, or why there is none.
    fn vector_of(&self, file: &Path, featurizer: &mut Featurizer<'_>) -> Result<Result<Vec<f32>, String>> {
        let read = || {
            let len = std::fs::metadata(file).map_err(|e| explain_io(&e))?.len();
            if len > MAX_FILE {
                return Err(format!("{len} bytes are no picture"));
            }
            std::fs::read(file).map_err(|e| explain_io(&e))
        };
        match read() {
            Ok(bytes) => {
                let features = featurizer.run(&bytes)?;
                Ok(features.map(|f| project(&self.pca, &[&f])).map_err(|refused| refused.reason))
            }
            Err(why) => Ok(Err(why)),
        }
    }

    fn say(&self, file: &Path, vector: Result<Vec<f32>, String>, neighbours: usize) -> Recognition {
        let image = file.to_string_lossy().into_owned();
        let nothing = |error| Recognition { image: image.clone(), error, ..Default::default() };
        let vector = match vector {
            Ok(vector) => vector,
            Err(why) => return nothing(Some(why)),
        };
        let found = self.nearest(&vector, neighbours.max(1));
        let Some(&(first, distance)) = found.first() else { return nothing(None) };
        let label = self.label_of[first];
        let same = found.iter().filter(|(picture, _)| self.label_of[*picture] == label).count();
        let limit = self.limit(label as usize);
        let neighbour = |&(picture, distance): &(usize, f32)| Neighbour {
            path: self.path(picture).to_owned(),
            label: self.label(picture).to_owned(),
            distance,
        };
        Recognition {
            nearest: found.iter().map(neighbour).collect(),
            label: (distance <= limit).then(|| self.label(first).to_owned()),
            share: same as f32 / found.len() as f32,
            unlike: distance > limit,
            limit,
            ..nothing(None)
        }
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
        (None, None) => &was.name,
    };
    let preprocessing = options(&was.preprocessing);
    let wanted = Wanted {
        name,
        output_node: was.output_node.as_deref(),
        sha256: Some(&was.sha256),
        preprocessing: &preprocessing,
        precision: if was.engine.ends_with("-int8") { Precision::Int8 } else { Precision::F32 },
    };
    let reader = Reader { runtime: &context.runtime, stopped: &|| context.check() };
    Model::read(&wanted, &reader).map_err(|e| match e {
        Error::Usage(why) => {
            Error::Usage(format!("{why}; the run's model has to be there: name its place by --model"))
        }
        other => other,
    })
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

/// The files of these that are images: those that are named, and those in folders that are named, in order.
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
            if entry.file_type().is_file() && begins_as_an_image(entry.path()) {
                files.push(entry.into_path());
            }
        }
        if files.len() == before {
            return Err(unreadable("there is no image in this folder".into()));
        }
    }
    Ok(files)
}

fn begins_as_an_image(file: &Path) -> bool {
    use std::io::Read;
    let mut first = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(16).read_to_end(&mut first));
    read.is_ok() && decode::is_image(&first)
}

/// The `k` nearest of these rows of `vectors` and their distances, the nearest first.
pub(crate) fn nearest(
    vector: &[f32],
    vectors: &[f32],
    rows: impl Iterator<Item = usize>,
    k: usize,
) -> Vec<(usize, f32)> {
    let d = vector.len();
    let mut found: Vec<(usize, f32)> = Vec::with_capacity(k + 1);
    let mut farthest = f32::INFINITY;
    for row in rows {
        let squared = squared_distance(vector, &vectors[row * d..(row + 1) * d]);
        if squared < farthest || found.len() < k {
            let at = found.partition_point(|(_, other)| *other <= squared);
            found.insert(at, (row, squared));
            found.truncate(k);
            if found.len() == k {
                farthest = found[k - 1].1;
            }
        }
    }
    found.iter_mut().for_each(|(_, squared)| *squared = squared.sqrt());
    found
}

/// `Σ (a - b)²`, in as many sums as the processor adds at once.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            let apart = a[lane] - b[lane];
            sums[lane] += apart * apart;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    sums.iter().sum::<f32>() + rest
}

/// What nineteen of twenty are at most; infinite where there are none, for then nothing is known.
pub(crate) fn most(mut distances: Vec<f32>) -> f32 {
    distances.sort_by(f32::total_cmp);
    let at = (distances.len() * 95).div_ceil(100);
    at.checked_sub(1).map_or(f32::INFINITY, |at| distances[at])
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
    fn the_nearest_are_in_order_whatever_the_number_of_components() {
        for d in [1, 15, 16, 40] {
            let vectors: Vec<f32> = (0..100 * d).map(|i| ((i * 7919) % 101) as f32).collect();
            let vector: Vec<f32> = (0..d).map(|i| (i * 13 % 101) as f32).collect();
            let found = nearest(&vector, &vectors, 0..100, 7);
            let mut want: Vec<(usize, f32)> = (0..100)
                .map(|row| {
                    let squares =
                        vectors[row * d..(row + 1) * d].iter().zip(&vector).map(|(a, b)| (a - b).powi(2));
                    (row, squares.sum::<f32>().sqrt())
                })
                .collect();
            want.sort_by(|a, b| a.1.total_cmp(&b.1));
            for (got, want) in found.iter().zip(&want) {
                assert!((got.1 - want.1).abs() < 1e-3 * (1.0 + want.1), "{d}: {found:?}");
            }
            assert_eq!(found.len(), 7);
        }
        assert!(nearest(&[1.0], &[], 0..0, 3).is_empty());
        assert_eq!(nearest(&[1.0], &[3.0], 0..1, 3), [(0, 2.0)]);
    }

    #[test]
    fn limits_are_what_nineteen_of_twenty_are_at_most() {
        assert_eq!(most((1..=20).map(|i| i as f32).collect()), 19.0);
        assert_eq!(most(vec![3.0]), 3.0);
        assert_eq!(most(Vec::new()), f32::INFINITY);
    }
}
