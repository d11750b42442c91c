//! `fruitctl man`: manual pages.

use clap::CommandFactory;
use clap_mangen::Man;
use fruitjob_interface::error::explain_io;

use crate::cli::{Cli, ManArgs};
use crate::error::{Error, Result};
use crate::ui;

/// Prints the page of the command as a whole, or writes that and one a subcommand.
pub fn run(args: &ManArgs) -> Result<()> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page).expect("memory takes it");
        ui::say(&String::from_utf8_lossy(&page));
        return Ok(());
    };
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|e| Error::usage(format!("cannot write pages to {}: {}", dir.display(), explain_io(&e))))?;
    ui::note(&format!("wrote the pages to {}", dir.display()));
    Ok(())
}
