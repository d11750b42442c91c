//! One file per command: read the configuration, call the core, show the result.

pub mod clone;
mod cloud;
pub mod completions;
pub mod doctor;
pub mod down;
pub mod init;
pub mod init_ci;
pub mod logs;
pub mod man;
pub mod plan;
pub mod policy;
pub mod prune;
pub mod results;
pub mod run;
mod run_emr;
pub mod runs;
pub mod samples;
pub mod schema;
pub mod ssh;
pub mod status;
pub mod sweep;
pub mod up;
pub mod upload;
pub mod version;
