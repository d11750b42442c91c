//! Models: any bytes are a backbone, or an error.
#![no_main]

use std::cell::LazyCell;

use fruitjob::model::{Model, Wanted};
use fruitjob_interface::model::PreprocessingOptions;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    thread_local! {
        static PLACE: LazyCell<(tempfile::NamedTempFile, tokio::runtime::Runtime)> = LazyCell::new(|| {
            (tempfile::NamedTempFile::new().unwrap(), fruitjob::runtime().unwrap())
        });
    }
    PLACE.with(|place| {
        let (file, runtime) = &**place;
        std::fs::write(file.path(), bytes).unwrap();
        let name = file.path().to_str().unwrap();
        let preprocessing = PreprocessingOptions::default();
        let wanted = Wanted {
            name,
            output_node: None,
            sha256: None,
            preprocessing: &preprocessing,
            precision: Default::default(),
        };
        let model = Model::load(&wanted, runtime.handle());
        if let Err(error) = model {
            assert!(error.to_string().contains(name), "{error}");
        }
    });
});
