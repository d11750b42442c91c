//! One file per command: read the configuration, call the core, show the result.

mod cloud;
pub mod completions;
pub mod doctor;
pub mod down;
pub mod init;
pub mod plan;
pub mod policy;
pub mod run;
pub mod samples;
pub mod status;
pub mod sweep;
pub mod up;
