//! Writing files that people will edit.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use fruitjob_interface::error::explain_io;

use crate::error::{Error, Result};

/// Writes a file; one that is there only with `force`.
pub fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(!force).create(force).truncate(force);
    let write = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    write.map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => {
            Error::usage(format!("{} is there already; --force writes over it", path.display()))
        }
        _ => Error::usage(format!("cannot write {}: {}", path.display(), explain_io(&e))),
    })
}
