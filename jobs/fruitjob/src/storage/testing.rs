//! For tests: an output in a temporary folder, and records to put there.

use fruitjob_interface::model::{Color, Layout, Preprocessing};
use fruitjob_interface::record::ModelRecord;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{Location, Output};

/// An output that goes when it is dropped.
pub(crate) struct Scratch {
    pub output: Output,
    pub folder: TempDir,
    pub runtime: Runtime,
}

impl Scratch {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = crate::util::runtime().unwrap();
        let output =
            Output::open(&Location::Local(folder.path().to_owned()), runtime.handle().clone()).unwrap();
        Scratch { output, folder, runtime }
    }

    /// Names of everything below it, in order.
    pub fn names(&self) -> Vec<String> {
        self.output.list("").unwrap()
    }
}

/// A model of two features, which a hash tells from others.
pub(crate) fn model_record(sha256: &str) -> ModelRecord {
    let (mean, std) = ([0.0; 3], [1.0; 3]);
    ModelRecord {
        name: format!("{sha256}.onnx"),
        sha256: sha256.into(),
        features: 2,
        engine: "rten".into(),
        preprocessing: Preprocessing {
            size: [8, 8],
            resize: 8,
            mean,
            std,
            color: Color::Rgb,
            layout: Layout::Nchw,
            resample: Default::default(),
            fit: Default::default(),
            exif_orientation: Default::default(),
        },
        output_node: None,
        pixels_version: 0,
        key: "key".into(),
    }
}
