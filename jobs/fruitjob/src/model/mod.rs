//! The backbone: an ONNX graph that maps an image to a vector, with what it needs to know about pixels.

mod backbone;
mod external;
pub(crate) mod fused;
mod general;
mod graph;
mod head;
mod inputs;
mod kernels;
mod onnx;
mod options;
mod outputs;
mod recognise;
mod rewrite;
pub(crate) mod source;
mod web;

use std::sync::Arc;

pub use backbone::{Backbone, MAX_FEATURES, Session};
use fruitjob_interface::model::{DEFAULT, Precision, Preprocessing, PreprocessingOptions};
use fruitjob_interface::record::ModelRecord;
use onnx::ModelProto;
pub(crate) use source::Reader;

use crate::error::{Error, Result};
use crate::image::PIXELS_VERSION;
use crate::util::{caught, hex_sha256};

/// A small MobileNetV2, trained on fruit; see `jobs/fruitjob/training/MODEL_CARD.md`.
pub const BUILTIN: &[u8] = include_bytes!("../../models/builtin.onnx");

/// A backbone, ready to run.
pub struct Model {
    /// As the user named it, without what a URI may hold of secrets.
    pub name: String,
    /// SHA-256 of the ONNX file and of those beside it that hold its weights, in hexadecimal.
    pub sha256: String,
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
    /// Loads a model: `builtin`, a path, or a URI.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is not there, is no ONNX, maps no image to a vector, or does not say how its
    /// pixels are to be normalised.
    /// Another precision than f32 is for graphs that run on our own kernels: [`Error::Usage`] for others.
    pub fn load(
        name: &str,
        options: &PreprocessingOptions,
        precision: Precision,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self> {
        let files = Self::files(name, &Reader { runtime, stopped: &|| Ok(()) })?;
        Self::of_files(name, files, options, precision)
    }

    /// The same of one that has to have this SHA-256, if any is said.
    ///
    /// # Errors
    /// Those of [`Model::load`]; [`Error::Failed`] when it has another, and what the reader is stopped with.
    pub(crate) fn load_expected(
        name: &str,
        sha256: Option<&str>,
        options: &PreprocessingOptions,
        precision: Precision,
        reader: &Reader<'_>,
    ) -> Result<Self> {
        let files = Self::files(name, reader)?;
        // Before anything is made of it.
        if let Some(expected) = sha256 {
            let found = files.sha256();
            if found != expected {
                return Err(Error::Failed(format!(
                    "model {} is not what was shipped, or not what --model-sha256 says: its SHA-256 is {found} and not \
                     {expected}; find out who changed it, and do not use it before",
                    source::display_name(name)
                )));
            }
        }
        Self::of_files(name, files, options, precision)
    }

    fn files(name: &str, reader: &Reader<'_>) -> Result<source::Files> {
        match name {
            DEFAULT => Ok(source::Files { model: BUILTIN.to_vec(), beside: Default::default() }),
            _ => source::read(name, reader),
        }
    }

    fn of_files(
        name: &str,
        files: source::Files,
        options: &PreprocessingOptions,
        precision: Precision,
    ) -> Result<Self> {
        let model = Self::compile(name, files, options, |proto, preprocessing| {
            recognise::recognise(proto, preprocessing)
                .and_then(|network| kernels::compile(&network, preprocessing, precision))
        })?;
        match (&model.why_general, precision) {
            (Some(why), Precision::Int8) => Err(Error::Usage(format!(
                "model {}: --precision int8 is not possible for it ({why}); leave it out",
                model.name
            ))),
            _ => Ok(model),
        }
    }

    /// The same in f32, with the general engine whatever the model: to compare.
    pub fn load_general(
        name: &str,
        options: &PreprocessingOptions,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self> {
        let files = Self::files(name, &Reader { runtime, stopped: &|| Ok(()) })?;
        Self::compile(name, files, options, |_, _| Err::<kernels::Kernels, _>("it was asked for".into()))
    }

    fn compile<B: Backbone + 'static>(
        name: &str,
        files: source::Files,
        options: &PreprocessingOptions,
        fast: impl FnOnce(&ModelProto, &Preprocessing) -> Result<B, String>,
    ) -> Result<Self> {
        let shown = source::display_name(name);
        let explain = |why: String| Error::Usage(format!("model {shown}: {why}"));
        let mut proto = graph::parse(&files.model).map_err(&explain)?;
        one_output(&proto, &shown).map_err(&explain)?;
        external::inline(&mut proto, &files.beside).map_err(&explain)?;
        let sha256 = files.sha256();
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
        Ok(Model { name: shown, sha256, preprocessing, note, backbone, why_general, proto })
    }

    /// The key of this model's features in the cache: whatever changes a feature changes it.
    pub fn key(&self) -> String {
        // Raised when an engine gives other numbers than before.
        const FEATURES_VERSION: u32 = 4;
        let preprocessing = serde_json::to_string(&self.preprocessing).expect("plain data");
        let engine = self.backbone.engine();
        let text = format!("{FEATURES_VERSION} {PIXELS_VERSION} {engine} {} {preprocessing}", self.sha256);
        hex_sha256(text.as_bytes())[..16].to_owned()
    }

    /// What the run's record says of it.
    pub(crate) fn record(&self) -> ModelRecord {
        ModelRecord {
            name: self.name.clone(),
            sha256: self.sha256.clone(),
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
        let input = graph::input(&self.proto).ok()?;
        Some(format!(
            "the output of model {} looks like the scores of classes, which say less of an image than the layer before; for \
             that one: {}",
            self.name,
            outputs::cut_at(&self.name, input.name(), &features)
        ))
    }

    /// The ONNX graph, as it was read.
    pub(crate) fn proto(&self) -> &ModelProto {
        &self.proto
    }
}

/// A backbone gives one vector.
fn one_output(proto: &ModelProto, name: &str) -> Result<(), String> {
    let graph = proto.graph.as_ref().ok_or("it has no graph")?;
    let names: Vec<&str> = graph.output.iter().map(|output| output.name()).collect();
    match names[..] {
        [_] => Ok(()),
        [] => Err("it has no output".into()),
        [first, ..] => Err(format!(
            "it has {} outputs ({}), and a backbone has one; choose it: {}",
            names.len(),
            shown_names(&names),
            outputs::cut_at(name, graph::input(proto)?.name(), first)
        )),
    }
}

fn shown_names(names: &[&str]) -> String {
    names.iter().map(|name| crate::util::shown(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fruitjob_interface::model::Color;
    use prost::Message;

    use super::*;

    fn load(name: &str, options: PreprocessingOptions) -> Result<Model> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        Model::load(name, &options, Precision::F32, runtime.handle())
    }

    fn builtin() -> ModelProto {
        graph::parse(BUILTIN).unwrap()
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
        let model = load(DEFAULT, Default::default()).unwrap();
        assert_eq!((model.preprocessing.size, model.preprocessing.resize), ([96, 96], 100));
        assert_eq!(model.why_general, None);
        assert!(model.backbone.engine().starts_with("mobilenet-"));
        let first = features(&model);
        assert!(first.iter().any(|x| *x != first[0]));
        assert_eq!(first, features(&load(DEFAULT, Default::default()).unwrap()));
    }

    #[test]
    fn both_engines_give_the_same() {
        for input_size in [96, 128, 224] {
            let options = PreprocessingOptions { input_size: Some(input_size), ..Default::default() };
            let mut proto = builtin();
            // Rows and columns of any number.
            proto.graph.as_mut().unwrap().input[0] =
                graph::value("image", &[Err("N"), Ok(3), Err("H"), Err("W")]);
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
            let fast = Model::load(&path, &options, Precision::F32, runtime.handle()).unwrap();
            assert_eq!(fast.why_general, None, "{name}");
            let general = Model::load_general(&path, &options, runtime.handle()).unwrap();
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
        let mut two = builtin();
        two.graph.as_mut().unwrap().output.push(graph::value("other", &[Err("N"), Ok(2)]));
        let why = one_output(&two, "a/m.onnx").unwrap_err();
        assert!(why.contains("2 outputs") && why.contains("extract_model('a/m.onnx'"), "{why}");
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
        std::fs::write(&path, BUILTIN).unwrap();
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
