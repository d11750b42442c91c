//! One file per command: read the configuration, call the core, show the result.

pub mod completions;
pub mod init;
pub mod run;
pub mod samples;
