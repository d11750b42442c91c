//! fruitctl.toml: any text is a configuration, or an error that names the file.
#![no_main]
#![allow(dead_code, missing_docs)]

#[path = "../../src/config/mod.rs"]
mod config;
#[path = "../../src/error.rs"]
mod error;

use std::path::Path;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(error) = config::Config::parse(text, Path::new("fruitctl.toml")) {
        assert!(error.to_string().starts_with("fruitctl.toml"));
    }
});
