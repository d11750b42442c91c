//! `fruitctl completions`: what the shell needs to know.

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::error::Result;
use crate::ui;

/// Prints the completion script.
pub fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fruitctl", &mut script);
    ui::say(&String::from_utf8_lossy(&script));
    Ok(())
}
