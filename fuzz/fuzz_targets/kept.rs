//! What a run finds of the one before, cut off or damaged: listing, features, PCA, record. Any bytes are read, or an error.
//! The first byte says which.
#![no_main]

use std::cell::LazyCell;

use fruitjob::artifacts::manifest::Manifest;
use fruitjob::artifacts::{features, pcas};
use fruitjob::storage::{Location, Output};
use fruitjob_interface::{RunRecord, layout};
use libfuzzer_sys::fuzz_target;

struct Place {
    output: Output,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let runtime = fruitjob::runtime().unwrap();
        let location = Location::parse(folder.path().to_str().unwrap()).unwrap();
        let output = Output::open(&location, runtime.handle().clone()).unwrap();
        Place { output, _folder: folder, _runtime: runtime }
    }
}

fuzz_target!(|bytes: &[u8]| {
    thread_local! {
        static PLACE: LazyCell<Place> = LazyCell::new(Place::new);
    }
    let Some((which, bytes)) = bytes.split_first() else { return };
    let bytes = bytes.to_vec();
    PLACE.with(|place| {
        let output = &place.output;
        match which % 4 {
            0 => {
                output.put(layout::MANIFEST, bytes).unwrap();
                if let Ok(manifest) = Manifest::load(output) {
                    for partition in 0..manifest.partitions.len() {
                        let _ = manifest.entries(partition);
                    }
                }
            }
            1 => {
                output.put(&layout::features("model", "key"), bytes).unwrap();
                let _ = features::summary(output, "model", "key");
                let _ = features::load(output, "model", "key");
                let _ = features::load_vectors(output, "model", "key");
            }
            2 => {
                // One .npy for all: shapes that contradict each other are part of it.
                for name in ["mean", "components", "spectrum"] {
                    output.put(&format!("pca/{name}.npy"), bytes.clone()).unwrap();
                }
                let _ = pcas::load(output, "pca");
            }
            _ => {
                let _ = serde_json::from_slice::<RunRecord>(&bytes);
            }
        }
    });
});
