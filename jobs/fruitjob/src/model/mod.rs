//! The backbone: an ONNX graph that maps an image to a vector, with what it needs to know about pixels.

mod fused;
mod general;
mod graph;
mod kernels;
mod onnx;
mod recognise;
mod rewrite;

use std::collections::HashMap;
use std::sync::Arc;

pub use fruitjob_interface::model::{DEFAULT, Precision, PreprocessingOptions};
use object_store::ObjectStoreExt;

pub use fused::fuse;
use onnx::ModelProto;

use crate::error::{Error, Result};
use crate::preprocess::{Color, Layout, Preprocessing};
use crate::record::ModelRecord;
use crate::storage::Location;

/// A small MobileNetV2, trained on fruit; see `jobs/fruitjob/training/MODEL_CARD.md`.
pub const BUILTIN: &[u8] = include_bytes!("../../models/builtin.onnx");

/// The most features a backbone may have: the covariance of this many takes 512 MB.
pub const MAX_FEATURES: usize = 8192;

/// Runs a compiled graph. One per model, shared by all threads.
pub trait Backbone: Send + Sync {
    /// Name of the engine, for the record and for the key of cached features.
    fn engine(&self) -> &str;
    /// Order of axes of the tensors that it takes.
    fn layout(&self) -> Layout;
    /// Number of features.
    fn features(&self) -> usize;
    /// Whether another precision would be faster on this processor.
    fn is_slow(&self) -> bool {
        false
    }
    /// What one thread needs to run images through.
    fn session(&self) -> Result<Box<dyn Session + '_>>;
}

/// Runs one image at a time.
pub trait Session {
    /// `tensor`: one preprocessed image; `features`: [`Backbone::features`] elements, all written.
    fn run(&mut self, tensor: &[f32], features: &mut [f32]) -> Result<()>;
}

/// A backbone, ready to run.
pub struct Model {
    /// What the user called it.
    pub name: String,
    /// SHA-256 of the ONNX file, in hexadecimal.
    pub sha256: String,
    /// From pixels to its input.
    pub preprocessing: Preprocessing,
    /// The compiled graph.
    pub backbone: Arc<dyn Backbone>,
    /// Why the general engine runs it; `None` when the fast one does.
    pub not_fast: Option<String>,
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
        let model = Self::compile(name, options, runtime, |proto, preprocessing| {
            recognise::recognise(proto)
                .and_then(|network| kernels::compile(&network, preprocessing, precision))
        })?;
        match (&model.not_fast, precision) {
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
        Self::compile(name, options, runtime, |_, _| Err::<kernels::Kernels, _>("it was asked for".into()))
    }

    fn compile<B: Backbone + 'static>(
        name: &str,
        options: &PreprocessingOptions,
        runtime: &tokio::runtime::Handle,
        fast: impl FnOnce(&ModelProto, &Preprocessing) -> Result<B, String>,
    ) -> Result<Self> {
        let shown = display_name(name);
        let explain = |why: String| Error::Usage(format!("model {shown}: {why}"));
        let bytes = match name {
            DEFAULT => BUILTIN.to_vec(),
            _ => read(name, runtime)?,
        };
        let proto = graph::parse(&bytes).map_err(&explain)?;
        let preprocessing = preprocessing(&proto, options).map_err(&explain)?;
        let (backbone, not_fast): (Arc<dyn Backbone>, _) = match fast(&proto, &preprocessing) {
            Ok(fast) => (Arc::new(fast), None),
            Err(why) => (Arc::new(general::compile(&proto, &preprocessing).map_err(explain)?), Some(why)),
        };
        Ok(Model { name: shown, sha256: crate::hex_sha256(&bytes), preprocessing, backbone, not_fast, proto })
    }

    /// The key of this model's features in the cache: whatever changes a feature changes it.
    pub fn key(&self) -> String {
        // Raised when decoding, resizing or an engine gives other numbers than before.
        const FEATURES_VERSION: u32 = 3;
        let preprocessing = serde_json::to_string(&self.preprocessing).expect("plain data");
        let engine = self.backbone.engine();
        let text = format!("{FEATURES_VERSION} {engine} {} {preprocessing}", self.sha256);
        crate::hex_sha256(text.as_bytes())[..16].to_owned()
    }

    /// What the run's record says of it.
    pub(crate) fn record(&self) -> ModelRecord {
        ModelRecord {
            name: self.name.clone(),
            sha256: self.sha256.clone(),
            features: self.backbone.features(),
            engine: self.backbone.engine().into(),
            preprocessing: self.preprocessing.clone(),
            key: self.key(),
        }
    }

    /// The ONNX graph.
    pub(crate) fn proto(&self) -> &ModelProto {
        &self.proto
    }
}

/// A model's name without the signature or password that a URI may carry.
pub(crate) fn display_name(name: &str) -> String {
    match Location::parse(name) {
        Ok(remote @ Location::Remote(_)) => remote.to_string(),
        _ => name.to_owned(),
    }
}

fn read(name: &str, runtime: &tokio::runtime::Handle) -> Result<Vec<u8>> {
    let location = Location::parse(name)?;
    // Displayed without the signature that a URI may carry.
    let doing = format!("model {location}");
    match &location {
        Location::Local(path) => std::fs::read(path).map_err(|e| {
            let why = crate::error::explain_io(&e);
            Error::Usage(format!("{doing}: {why}; name an ONNX file or URI, or 'builtin' for the one inside"))
        }),
        Location::Remote(url) if url.scheme().starts_with("http") => {
            let get = async { reqwest::get(url.clone()).await?.error_for_status()?.bytes().await };
            runtime.block_on(get).map(Into::into).map_err(|e| {
                let why = match e.status() {
                    Some(status) => format!("the server answers {status}"),
                    None => format!("cannot be downloaded: {}", root_cause(&e.without_url())),
                };
                Error::Failed(format!("{doing}: {why}"))
            })
        }
        Location::Remote(url) => {
            let (store, key) = crate::storage::open(url)?;
            let get = async { store.get(&key).await?.bytes().await };
            runtime.block_on(get).map(Into::into).map_err(|e| crate::error::store(&doing, e))
        }
    }
}

fn root_cause(err: &dyn std::error::Error) -> String {
    err.source().map_or_else(|| err.to_string(), root_cause)
}

/// What the model wants of pixels: options first, then its metadata, then its input's shape.
fn preprocessing(proto: &ModelProto, options: &PreprocessingOptions) -> Result<Preprocessing, String> {
    let metadata: HashMap<&str, &str> = proto.metadata_props.iter().map(|p| (p.key(), p.value())).collect();
    let shape = graph::input_shape(proto)?;
    if shape.len() != 4 {
        return Err(format!("its input has {} axes; an image model's has 4", shape.len()));
    }
    let layout = match (options.layout, metadata.get("layout").map(|l| l.to_ascii_uppercase()).as_deref()) {
        (Some(layout), _) => layout,
        (None, Some("NCHW")) => Layout::Nchw,
        (None, Some("NHWC")) => Layout::Nhwc,
        (None, _) if shape[1] == Some(3) => Layout::Nchw,
        (None, _) if shape[3] == Some(3) => Layout::Nhwc,
        _ => return Err("its input has no axis of 3 colours; give --layout nchw or nhwc".into()),
    };
    let (h, w) = match layout {
        Layout::Nchw => (shape[2], shape[3]),
        Layout::Nhwc => (shape[1], shape[2]),
    };
    let stated = metadata.get("input_size").and_then(|s| s.trim().parse::<u32>().ok());
    let size = match (options.input_size.or(stated), h, w) {
        (Some(size), h, w) => {
            let other = [h, w].into_iter().flatten().find(|fixed| *fixed != i64::from(size));
            if let Some(fixed) = other {
                return Err(format!("its input is {fixed} pixels wide or high, not {size}"));
            }
            [size, size]
        }
        (None, Some(h), Some(w)) => [h as u32, w as u32],
        _ => return Err("it does not say the size of its input; give --input-size".into()),
    };
    if !size.iter().all(|s| (1..=2048).contains(s)) {
        return Err(format!("an input of {}x{} pixels; 1 to 2048 are possible", size[0], size[1]));
    }
    let shorter = size[0].min(size[1]);
    let stated = metadata.get("resize").and_then(|s| s.trim().parse::<u32>().ok());
    // A size that was overruled takes the margin that the model states along, in proportion.
    let stated = stated.map(|s| match (options.input_size, metadata.get("input_size")) {
        (Some(_), Some(own)) => s * shorter / own.trim().parse::<u32>().unwrap_or(shorter).max(1),
        _ => s,
    });
    let resize = options.resize.or(stated).unwrap_or(shorter);
    if !(shorter..=4096).contains(&resize) {
        return Err(format!(
            "an image resized to {resize} pixels, of which {shorter} are used; give --resize"
        ));
    }
    let channels = |flag: &str, option: &Option<Vec<f32>>| {
        let stated = metadata
            .get(flag)
            .and_then(|text| text.split(',').map(|n| n.trim().parse().ok()).collect::<Option<Vec<f32>>>());
        match option.clone().or(stated).as_deref() {
            Some([x]) => Ok([*x; 3]),
            Some([x, y, z]) => Ok([*x, *y, *z]),
            Some(other) => Err(format!("--{flag} takes one number or three, not {}", other.len())),
            None => Err(format!(
                "it does not say its normalisation; give --mean and --std on the scale 0-255, for example \
                 127.5 and 127.5 (Keras MobileNet) or 123.675,116.28,103.53 and 58.395,57.12,57.375 \
                 (torchvision); --{flag} is missing"
            )),
        }
    };
    let (mean, std) = (channels("mean", &options.mean)?, channels("std", &options.std)?);
    if !mean.iter().chain(&std).all(|x| x.is_finite()) || std.iter().any(|x| *x <= 0.0) {
        return Err(format!("a normalisation of mean {mean:?} and std {std:?}; std must be above 0"));
    }
    let color = match (options.color, metadata.get("color").map(|c| c.to_ascii_uppercase()).as_deref()) {
        (Some(color), _) => color,
        (None, Some("BGR")) => Color::Bgr,
        _ => Color::Rgb,
    };
    Ok(Preprocessing { size, resize, mean, std, color, layout })
}

#[cfg(test)]
mod tests {
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
        crate::preprocess::normalise(preprocessing, &pixels, backbone.layout(), &mut tensor);
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
        assert_eq!(model.not_fast, None);
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
            let preprocessing = preprocessing(&proto, &options).unwrap();
            let general = general::compile(&proto, &preprocessing).unwrap();
            let network = recognise::recognise(&proto).unwrap();
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
        let why = model.not_fast.as_deref().unwrap();
        assert!(why.contains("Sigmoid"), "{why}");
        assert!(features(&model).iter().all(|x| x.is_finite()));
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
