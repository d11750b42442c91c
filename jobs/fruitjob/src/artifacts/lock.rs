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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(folder: &tempfile::TempDir) -> Location {
        Location::Local(folder.path().to_owned())
    }

    #[test]
    fn one_run_writes_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(&at(&folder)).unwrap();
        assert!(first.is_some());
        let refused = lock(&at(&folder)).unwrap_err();
        assert!(matches!(refused, Error::Locked(_)), "{refused:?}");
        assert!(refused.to_string().contains(folder.path().to_str().unwrap()), "{refused}");
        drop(first);
        assert!(lock(&at(&folder)).unwrap().is_some());
    }

    #[test]
    fn an_object_store_has_no_lock() {
        assert!(lock(&Location::parse("s3://bucket/out").unwrap()).unwrap().is_none());
    }

    #[test]
    fn what_a_killed_run_left_half_written_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        let stay = [".fruitjob/run.json", ".fruitjob/pca/a#b", "results/part-00000.parquet#1"];
        let go = [".fruitjob/run.json#1", ".fruitjob/features/m/k.parquet#27"];
        stay.iter().chain(&go).for_each(|name| write(name));
        let _lock = lock(&at(&folder)).unwrap();
        assert!(stay.iter().all(|name| folder.path().join(name).exists()));
        assert!(go.iter().all(|name| !folder.path().join(name).exists()));
    }
}
