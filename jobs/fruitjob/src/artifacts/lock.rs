//! The lock of an output: one run writes at a time.

use std::fs::File;
use std::path::Path;

use fruitjob_interface::layout;

use crate::error::{Error, Result};
use crate::storage::Location;

/// Takes the lock of a directory; it is held until the file is dropped, and released by the kernel however the process ends.
/// `None` for an object store, which has no lock: whoever runs jobs there keeps them apart.
///
/// # Errors
/// [`Error::Locked`] when another run holds it.
pub(crate) fn lock(output: &Location) -> Result<Option<File>> {
    let Location::Local(dir) = output else { return Ok(None) };
    let failed = |e| Error::io(&format!("cannot write to {}", dir.display()), e);
    let path = dir.join(layout::LOCK);
    std::fs::create_dir_all(path.parent().expect("it has one")).map_err(failed)?;
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            return Err(Error::Locked(format!(
                "another run is writing to {}; wait for it, or name another --output",
                dir.display()
            )));
        }
        Err(std::fs::TryLockError::Error(e)) => return Err(failed(e)),
    }
    sweep(dir);
    Ok(Some(file))
}

/// Deletes what a killed run left half written: `object_store` writes to `NAME#N`, then renames.
fn sweep(dir: &Path) {
    for entry in walkdir::WalkDir::new(dir.join(layout::WORK)).into_iter().flatten() {
        let name = entry.file_name().to_string_lossy();
        if name.rsplit_once('#').is_some_and(|(_, n)| n.bytes().all(|b| b.is_ascii_digit())) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
