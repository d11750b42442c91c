//! The backbone: an ONNX graph that maps an image to a vector, with what it needs to know about pixels.

mod backbone;
mod external;
mod featurizer;
pub(crate) mod fused;
mod general;
mod graph;
mod head;
mod inputs;
pub mod inside;
mod kernels;
mod onnx;
mod options;
mod outputs;
pub(crate) mod recognise;
mod rewrite;
pub(crate) mod source;
pub(crate) mod usual;
mod web;

use std::sync::Arc;

pub use backbone::{Backbone, MAX_FEATURES, Session};
pub use featurizer::Featurizer;
use fruitjob_interface::model::{Inside, Precision, Preprocessing, PreprocessingOptions};
use fruitjob_interface::record::ModelRecord;
use onnx::ModelProto;
pub(crate) use source::Reader;

use crate::error::{Error, Result};
use crate::image::PIXELS_VERSION;
use crate::util::{caught, hex_sha256};

/// A backbone that somebody wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The name of one [inside](Inside), a path, or a URI.
    pub name: &'a str,
    /// The value in it that the features are; `None` for its output.
    pub output_node: Option<&'a str>,
    /// The SHA-256 that it has to have, in hexadecimal.
    pub sha256: Option<&'a str>,
    /// What its file does not say of pixels.
    pub preprocessing: &'a PreprocessingOptions,
    /// What it computes with. Another than f32 is for graphs that run on our own kernels.
    pub precision: Precision,
}

/// A backbone, ready to run.
pub struct Model {
    /// As the user named it, without what a URI may hold of secrets.
    pub name: String,
    /// SHA-256 of the ONNX file and of those beside it that hold its weights, in hexadecimal.
    pub sha256: String,
    /// The value that the features are, where it is not the file's output.
    pub output_node: Option<String>,
    /// How pixels become its input.
    pub preprocessing: Preprocessing,
    /// What a person should know of how that was understood.
    pub note: Option<String>,
    /// The compiled graph.
    pub backbone: Arc<dyn Backbone>,
    /// Why the general engine runs it; `None` when our own kernels do.
    pub why_general: Option<String>,
    proto: ModelProto,
}

impl Model {
    /// Loads a model.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is not there, is no ONNX, maps no image to a vector, does not say how its pixels are to be
    /// normalised, or cannot be had in that precision; [`Error::Failed`] when it is not the one that is expected.
    pub fn load(wanted: &Wanted, runtime: &tokio::runtime::Handle) -> Result<Self> {
        Self::read(wanted, &Reader { runtime, stopped: &|| Ok(()) })
    }

    /// The same by a reader that may be stopped.
    pub(crate) fn read(wanted: &Wanted, reader: &Reader<'_>) -> Result<Self> {
        let model = Self::compile(wanted, reader, |proto, preprocessing| {
            recognise::recognise(proto, preprocessing)
                .and_then(|network| kernels::compile(&network, preprocessing, wanted.precision))
        })?;
        match (&model.why_general, wanted.precision) {
            (Some(why), Precision::Int8) => Err(Error::Usage(format!(
                "model {}: --precision int8 is not possible for it ({why}); leave it out",
                model.name
            ))),
            _ => Ok(model),
        }
    }

    /// The same in f32, with the general engine whatever the model: to compare.
    pub fn load_general(wanted: &Wanted, runtime: &tokio::runtime::Handle) -> Result<Self> {
        let reader = Reader { runtime, stopped: &|| Ok(()) };
        Self::compile(wanted, &reader, |_, _| Err::<kernels::Kernels, _>("it was asked for".into()))
    }

    fn compile<B: Backbone + 'static>(
        wanted: &Wanted,
        reader: &Reader<'_>,
        fast: impl FnOnce(&ModelProto, &Preprocessing) -> Result<B, String>,
    ) -> Result<Self> {
        let (name, options) = (wanted.name, wanted.preprocessing);
        let shown = source::display_name(name);
        let explain = |why: String| Error::Usage(format!("model {shown}: {why}"));
        let files = match Inside::named(name) {
            Some(inside) => {
                inside::check_size(inside, options).map_err(&explain)?;
                let model = inside::bytes(inside).ok_or_else(|| explain(inside::absent(inside)))?.to_vec();
                source::Files { model, beside: Default::default() }
            }
            None => source::read(name, reader)?,
        };
        let sha256 = files.sha256();
        // Before anything is made of it.
        if let Some(expected) = wanted.sha256.filter(|expected| *expected != sha256) {
            return Err(Error::Failed(format!(
                "model {shown} is not what was shipped, or not what --model-sha256 says: its SHA-256 is {sha256} and not \
                 {expected}; find out who changed it, and do not use it before"
            )));
        }
        let mut proto = graph::parse(&files.model).map_err(&explain)?;
        let output_node = outputs::choose(&mut proto, wanted.output_node).map_err(&explain)?;
        external::inline(&mut proto, &files.beside).map_err(&explain)?;
        drop(files);
        graph::prune(&mut proto);
        let takes_bytes = inputs::as_floats(&mut proto).map_err(&explain)?;
        let (preprocessing, note) = options::resolve(&proto, options).map_err(&explain)?;
        if takes_bytes && (preprocessing.mean, preprocessing.std) != ([0.0; 3], [1.0; 3]) {
            let why =
                "its input is of bytes (uint8), which it normalises by itself; leave out --mean and --std";
            return Err(explain(why.into()));
        }
        // What somebody else wrote may be anything.
        let recognised = caught(|| fast(&proto, &preprocessing)).and_then(|recognised| recognised);
        let (backbone, why_general): (Arc<dyn Backbone>, _) = match recognised {
            Ok(fast) => (Arc::new(fast), None),
            Err(why) => (Arc::new(general::compile(&proto, &preprocessing).map_err(explain)?), Some(why)),
        };
        Ok(Model { name: shown, sha256, output_node, preprocessing, note, backbone, why_general, proto })
    }

    /// The key of this model's features in the cache: whatever changes a feature changes it.
    pub fn key(&self) -> String {
        // Raised when an engine gives other numbers than before.
        const FEATURES_VERSION: u32 = 4;
        let preprocessing = serde_json::to_string(&self.preprocessing).expect("plain data");
        let engine = self.backbone.engine();
        let mut text =
            format!("{FEATURES_VERSION} {PIXELS_VERSION} {engine} {} {preprocessing}", self.sha256);
        if let Some(node) = &self.output_node {
            text += &format!(" {node}");
        }
        hex_sha256(text.as_bytes())[..16].to_owned()
    }

    /// What the run's record says of it.
    pub(crate) fn record(&self) -> ModelRecord {
        ModelRecord {
            name: self.name.clone(),
            sha256: self.sha256.clone(),
            output_node: self.output_node.clone(),
            features: self.backbone.features(),
            engine: self.backbone.engine().into(),
            preprocessing: self.preprocessing.clone(),
            pixels_version: PIXELS_VERSION,
            key: self.key(),
        }
    }

    /// What a person should know of its output, where it looks like a classifier's scores.
    pub(crate) fn warning(&self) -> Option<String> {
        let features = outputs::before_scores(&self.proto)?;
        Some(format!(
            "the output of model {} looks like the scores of classes, which say less of an image than the layer before; for \
             that one: {}",
            self.name,
            outputs::flag(&features)
        ))
    }

    /// Its layers, for who computes them elsewhere.
    ///
    /// # Errors
    /// It is not in MobileNet's manner.
    pub(crate) fn recognised(&self) -> Result<recognise::Recognised, String> {
        recognise::recognise(&self.proto, &self.preprocessing)
    }

    /// The ONNX graph, as it was read.
    pub(crate) fn proto(&self) -> &ModelProto {
        &self.proto
    }
}

/// The SHA-256 of a model's files, in hexadecimal.
///
/// # Errors
/// As of [`Model::load`], where they cannot be read.
pub(crate) fn sha256(name: &str, reader: &Reader<'_>) -> Result<String> {
    let carried = Inside::named(name).and_then(inside::bytes);
    carried.map_or_else(|| Ok(source::read(name, reader)?.sha256()), |bytes| Ok(hex_sha256(bytes)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fruitjob_interface::model::{Color, DEFAULT};
    use prost::Message;

    use super::*;

    fn wanted<'a>(name: &'a str, preprocessing: &'a PreprocessingOptions) -> Wanted<'a> {
        Wanted { name, output_node: None, sha256: None, preprocessing, precision: Precision::F32 }
    }

    fn load(name: &str, options: PreprocessingOptions) -> Result<Model> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        Model::load(&wanted(name, &options), runtime.handle())
    }

    fn builtin() -> ModelProto {
        graph::parse(inside::BUILTIN).unwrap()
    }

    /// A picture of stripes, in the order of axes that the backbone takes.
    fn features_of(backbone: &dyn Backbone, preprocessing: &Preprocessing) -> Vec<f32> {
        let pixels: Vec<u8> = (0..preprocessing.len()).map(|i| (i / 7 * 53 % 251) as u8).collect();
        let mut tensor = vec![0.0; preprocessing.len()];
        crate::image::preprocess::normalise(preprocessing, &pixels, backbone.layout(), &mut tensor);
        let mut features = vec![f32::NAN; backbone.features()];
        backbone.session().unwrap().run(&tensor, &mut features).unwrap();
        features
    }

    fn features(model: &Model) -> Vec<f32> {
        features_of(&*model.backbone, &model.preprocessing)
    }

    /// Largest difference, relative to the largest feature.
    fn difference(a: &[f32], b: &[f32]) -> f32 {
        let largest = a.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest
    }

    #[test]
    fn the_model_inside_runs_on_kernels_of_our_own() {
        for (inside, size, resize, length) in [
            (Inside::Builtin, 128, 132, 256),
            (Inside::Builtin1, 96, 100, 256),
            (Inside::MobilenetV2, 224, 256, 1280),
        ] {
            let model = load(inside.name(), Default::default()).unwrap();
            assert_eq!((model.preprocessing.size, model.preprocessing.resize), ([size; 2], resize));
            assert_eq!((model.why_general.as_deref(), model.backbone.features()), (None, length));
            assert!(model.backbone.engine().starts_with("mobilenet-"));
            assert_eq!(inside::of_sha256(&model.sha256), Some(inside));
            let first = features(&model);
            assert!(first.iter().any(|x| *x != first[0]));
            assert_eq!(first, features(&load(inside.name(), Default::default()).unwrap()));
        }
    }

    #[test]
    fn the_builtin_takes_the_sizes_that_it_was_measured_at() {
        let of = |name: &str, input_size| {
            load(name, PreprocessingOptions { input_size: Some(input_size), ..Default::default() })
        };
        let model = of("builtin", 160).unwrap();
        assert_eq!((model.preprocessing.size, model.preprocessing.resize), ([160, 160], 165));
        for size in [80, 100, 240] {
            let error = of("builtin", size).err().unwrap().to_string();
            assert!(error.contains("multiple of 16 from 96 to 224"), "{error}");
        }
        let error = of("builtin-1", 128).err().unwrap().to_string();
        assert!(error.contains("96 pixels"), "{error}");
    }

    #[test]
    fn both_engines_give_the_same() {
        for input_size in [96, 128, 224] {
            let options = PreprocessingOptions { input_size: Some(input_size), ..Default::default() };
            let proto = builtin();
            let (preprocessing, _) = options::resolve(&proto, &options).unwrap();
            let general = general::compile(&proto, &preprocessing).unwrap();
            let network = recognise::recognise(&proto, &preprocessing).unwrap();
            let fast = kernels::compile(&network, &preprocessing, Precision::F32).unwrap();
            let (general, fast) = (features_of(&general, &preprocessing), features_of(&fast, &preprocessing));
            assert!(difference(&general, &fast) < 1e-4, "{input_size}: {}", difference(&general, &fast));
        }
    }

    #[test]
    fn what_the_kernels_do_not_know_goes_through_the_general_engine() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.onnx");
        let mut proto = builtin();
        let graph = proto.graph.as_mut().unwrap();
        let activation = graph.node.iter_mut().find(|n| n.op_type() == "Clip").unwrap();
        activation.op_type = Some("Sigmoid".into());
        activation.input.truncate(1);
        std::fs::write(&path, proto.encode_to_vec()).unwrap();
        let model = load(path.to_str().unwrap(), Default::default()).unwrap();
        assert_eq!(model.backbone.engine(), "rten");
        let why = model.why_general.as_deref().unwrap();
        assert!(why.contains("Sigmoid"), "{why}");
        assert!(features(&model).iter().all(|x| x.is_finite()));
    }

    /// Graphs of the same network by several exporters, and onnxruntime's features of one image; see
    /// `jobs/fruitjob/training/exporters.py`.
    #[test]
    fn every_exporter_s_spelling_runs_on_our_kernels_and_as_onnxruntime_has_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exporters");
        let mut seen = 0;
        for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            let Some(name) = file.to_str().unwrap().strip_suffix(".onnx") else { continue };
            let raw = name.ends_with("raw");
            let scale = (!raw).then(|| vec![127.5]);
            let options = PreprocessingOptions {
                input_size: Some(32),
                mean: scale.clone(),
                std: scale,
                ..Default::default()
            };
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            let path = format!("{name}.onnx");
            let fast = Model::load(&wanted(&path, &options), runtime.handle()).unwrap();
            assert_eq!(fast.why_general, None, "{name}");
            let general = Model::load_general(&wanted(&path, &options), runtime.handle()).unwrap();
            let want = std::fs::read_to_string(format!("{name}.txt")).unwrap();
            let want: Vec<f32> = want.lines().map(|line| line.parse().unwrap()).collect();
            let most = if name.ends_with("half") { 1e-3 } else { 1e-4 };
            for model in [&fast, &general] {
                let pixels: Vec<u8> =
                    (0..model.preprocessing.len()).map(|i| (i * 7919 % 255) as u8).collect();
                let mut tensor = vec![0.0; pixels.len()];
                let layout = model.backbone.layout();
                crate::image::preprocess::normalise(&model.preprocessing, &pixels, layout, &mut tensor);
                let mut got = vec![f32::NAN; model.backbone.features()];
                model.backbone.session().unwrap().run(&tensor, &mut got).unwrap();
                assert_eq!(got.len(), want.len(), "{name}");
                let off = difference(&want, &got);
                assert!(off < most, "{name} on {}: {off}", model.backbone.engine());
            }
            seen += 1;
        }
        assert!(seen >= 8, "{seen} graphs");
    }

    #[test]
    fn scores_of_classes_are_told_and_the_layer_before_is_offered() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exporters");
        let before = |name: &str| {
            outputs::before_scores(&graph::parse(&std::fs::read(folder.join(name)).unwrap()).unwrap())
        };
        assert!(before("torch_classes.onnx").is_some() && before("keras_classes.onnx").is_some());
        assert_eq!((before("torch_new.onnx"), before("keras_export.onnx")), (None, None));
    }

    #[test]
    fn a_value_inside_may_be_what_is_wanted() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exporters/torch_classes.onnx");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let options =
            PreprocessingOptions { mean: Some(vec![127.5]), std: Some(vec![127.5]), ..Default::default() };
        let load =
            |output_node| Model::load(&Wanted { output_node, ..wanted(path, &options) }, runtime.handle());
        let scores = load(None).unwrap();
        let before = outputs::before_scores(&scores.proto).unwrap();
        let features = load(Some(&before)).unwrap();
        assert!(features.backbone.features() != scores.backbone.features() && features.warning().is_none());
        assert!(features.key() != scores.key() && !features.record().same_features_as(&scores.record()));
        assert_eq!(features.record().output_node.as_deref(), Some(before.as_str()));
        let why = load(Some("nothing")).err().unwrap().to_string();
        assert!(why.contains("no value 'nothing'"), "{why}");
    }

    #[test]
    fn other_preprocessing_is_another_key() {
        let plain = load(DEFAULT, Default::default()).unwrap().key();
        let bgr = PreprocessingOptions { color: Some(Color::Bgr), ..Default::default() };
        assert_ne!(plain, load(DEFAULT, bgr).unwrap().key());
        assert_eq!(plain, load(DEFAULT, Default::default()).unwrap().key());
    }

    #[test]
    fn a_saved_model_loads_with_its_metadata() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.onnx");
        std::fs::write(&path, inside::BUILTIN).unwrap();
        let from_file = load(path.to_str().unwrap(), Default::default()).unwrap();
        let made = load(DEFAULT, Default::default()).unwrap();
        assert_eq!(from_file.key(), made.key());
        assert_eq!(features(&from_file), features(&made));
    }

    #[test]
    fn bad_models_are_explained() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.onnx");
        let explain = |proto: Option<ModelProto>, options: PreprocessingOptions| {
            let bytes = proto.map_or(b"PK\x03\x04 not a model".to_vec(), |p| p.encode_to_vec());
            std::fs::write(&path, bytes).unwrap();
            match load(path.to_str().unwrap(), options) {
                Err(Error::Usage(message)) => message,
                Err(other) => panic!("{other:?}"),
                Ok(_) => panic!("a bad model was loaded"),
            }
        };
        let none = PreprocessingOptions::default;
        assert!(explain(None, none()).contains("not an ONNX file"));
        let size = PreprocessingOptions { input_size: Some(0), ..none() };
        assert!(explain(Some(builtin()), size).contains("pixels"));
        let three = PreprocessingOptions { mean: Some(vec![1.0, 2.0]), ..none() };
        assert!(explain(Some(builtin()), three).contains("one number or three"));

        let mut silent = builtin();
        silent.metadata_props.clear();
        assert!(
            explain(Some(silent), PreprocessingOptions { input_size: Some(96), ..none() })
                .contains("normalisation")
        );

        let mut headless = builtin();
        let graph = headless.graph.as_mut().unwrap();
        let pool = graph.node.iter().position(|n| n.op_type() == "GlobalAveragePool").unwrap();
        let map = graph.node[pool].input[0].clone();
        graph.node.truncate(pool);
        graph.output[0].name = Some(map);
        graph.output[0].r#type = None;
        let message = explain(Some(headless), none());
        assert!(message.contains("feature map"), "{message}");

        let mut unknown = builtin();
        unknown.graph.as_mut().unwrap().node[0].op_type = Some("Teleport".into());
        let message = explain(Some(unknown), none());
        assert!(message.contains("Teleport"), "{message}");
    }
}
