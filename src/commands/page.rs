//! `fruitctl app`: writes a page that recognises fruit, and serves it to this machine.

use std::path::PathBuf;

use fruitjob_interface::count;
use fruitjob_interface::location::Location;

use crate::app;
use crate::app::page;
use crate::cli::{Cli, PageArgs};
use crate::error::{Error, Result};
use crate::ui;

/// Writes it, says what is in it, and serves it where that was asked for.
pub fn run(cli: &Cli, args: &PageArgs) -> Result<()> {
    let config = app::settings(cli, args)?;
    let folder: Option<PathBuf> = match Location::parse(&args.dir)? {
        Location::Local(folder) => Some(folder),
        Location::Remote(_) if args.serve.is_some() => {
            return Err(Error::usage("--serve serves a folder of this machine, and this is a URI")
                .help("name a folder; or leave --serve out"));
        }
        Location::Remote(_) => None,
    };
    let record = page::write(&config, args.model.as_deref(), &args.dir)?;
    if args.json {
        ui::json(&record);
    } else {
        page::say(&record);
    }
    let (Some(port), Some(folder)) = (args.serve, folder) else { return Ok(()) };
    let ready = |address: &str| {
        ui::say(&format!("serving {} at {address} until Ctrl-C", count(record.pictures(), "picture")));
        // Where 0 was asked for, it is another.
        let port = address.trim_end_matches('/').rsplit(':').next().unwrap_or_default();
        ui::note(&format!(
            "this machine alone sees it; a phone asks for https: put the folder where a host serves it \
             (docs/howto/publish-app.md), or lead the port there by USB: adb reverse tcp:{port} tcp:{port}"
        ));
    };
    app::block_on(async |cancel| app::serve::serve(&folder, port, cancel, ready).await).or_else(|error| {
        // Ctrl-C is how it ends.
        if matches!(error.kind, crate::error::Kind::Interrupted(_)) { Ok(()) } else { Err(error) }
    })
}
