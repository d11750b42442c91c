//! `fruitctl`: images in, vectors out, every night; here, or on a cluster that it makes and takes away again.
//!
//! A library, so that tests and fuzzing reach all of it; the executable is one call of [`main`]. Folders are layers: a
//! file uses its own folder and those to the left of it, and a test holds that:
//!
//! ```text
//! error, clock, hash, instances < cancel, wait, bundle < facts < config, ssh < aws, cli < cost < stack < logs
//!     < explain < run < ui < app < commands
//! ```

mod app;
mod aws;
mod bundle;
mod cancel;
mod cli;
mod clock;
mod commands;
pub mod config;
mod cost;
mod error;
mod explain;
mod facts;
mod hash;
mod instances;
mod logs;
#[cfg(test)]
mod reference;
mod run;
mod ssh;
mod stack;
mod ui;
mod wait;

use clap::Parser;

/// Parses the command line, does what it says, and ends the process with the exit code of a failure.
pub fn main() {
    let cli = cli::Cli::parse();
    let done = app::logging::init(cli.verbose).and_then(|()| commands::run(&cli));
    // What was asked for is not there, however well all else went.
    let said = || match ui::unsaid() {
        Some(why) => Err(error::Error::new(error::Kind::Failed, format!("cannot write to stdout: {why}"))
            .help("make room there, then the same command")),
        None => Ok(()),
    };
    if let Err(error) = done.and_then(|()| said()) {
        ui::error(&error);
        ui::github::annotate("error", "fruitctl", &error.to_string());
        std::process::exit(error.kind.exit_code());
    }
}
