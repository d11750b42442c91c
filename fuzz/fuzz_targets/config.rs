//! fruitctl.toml: any text is a configuration, or an error that names the file.
#![no_main]
#![allow(dead_code, missing_docs, unused_imports)]

#[path = "../../src/config/mod.rs"]
mod config;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/facts.rs"]
mod facts;

/// What the configuration needs of all that fruitctl carries.
mod bundle {
    pub const FACTS: &str = include_str!("../../src/facts.toml");
}

use std::path::Path;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(error) = config::Config::parse(text, Path::new("fruitctl.toml")) {
        assert!(error.to_string().starts_with("fruitctl.toml"));
    }
});
