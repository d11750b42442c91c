//! Walks a directory in the order in which an object store would list it.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;
use walkdir::{DirEntry, WalkDir};

use crate::error::{Error, Result};

/// A file or object below a place, image or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedObject {
    /// Path below the place, with `/` between folders.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// What changes when the content does: the ETag in an object store, size and modification time in a directory.
    pub tag: String,
    /// Why it cannot be read, where the listing already tells.
    pub problem: Option<String>,
    /// Its first bytes, where they were asked for and could be read.
    pub head: Option<Bytes>,
    /// Whether it is an image would be said by its first bytes, which could not be read.
    pub is_unknown: bool,
}

/// Bytes at the beginning of a file that tell what it is.
pub(super) const HEAD: u64 = 16;

/// Walks a directory, through symlinks, in the order of the paths; returns warnings. `asks` for the first bytes of some.
pub(super) fn walk(
    root: &Path,
    asks: fn(&str) -> bool,
    found: &mut impl FnMut(ListedObject) -> Result<()>,
) -> Result<Vec<String>> {
    // What lies in a folder comes where the folder's name and a slash would.
    let by_path = |a: &DirEntry, b: &DirEntry| {
        let slash = |entry: &DirEntry| {
            let link = entry.path_is_symlink();
            (entry.file_type().is_dir() || link && entry.path().is_dir()).then_some(b'/')
        };
        let name = |entry| DirEntry::file_name(entry).as_encoded_bytes().iter().copied().chain(slash(entry));
        name(a).cmp(name(b))
    };
    let mut warnings = Vec::new();
    for entry in WalkDir::new(root).min_depth(1).follow_links(true).sort_by(by_path) {
        let (path, meta) = match entry {
            Ok(entry) => {
                let meta = entry.metadata().map_err(|e| e.into());
                (entry.into_path(), meta)
            }
            Err(e) if e.loop_ancestor().is_some() => {
                let link = e.path().unwrap_or(root).display();
                warnings.push(format!("{link} is a symlink to a folder that holds it; not followed"));
                continue;
            }
            Err(e) => {
                let path = e.path().unwrap_or(root).to_owned();
                let is_link = path.symlink_metadata().is_ok_and(|m| m.is_symlink());
                let io = e.into_io_error().unwrap_or_else(|| std::io::Error::other("cannot be read"));
                if !is_link {
                    return Err(Error::io(&format!("cannot list {}", path.display()), io));
                }
                (path, Err(io))
            }
        };
        let below = path.strip_prefix(root).expect("walkdir yields paths below its root");
        let unspeakable = below.to_str().is_none().then(|| "file name is not UTF-8".to_owned());
        let (path, file) = (readable(below), path);
        match meta {
            Ok(meta) if meta.is_dir() => {}
            Ok(meta) if meta.is_file() => {
                let tag = format!("{}-{}.{:09}", meta.size(), meta.mtime(), meta.mtime_nsec());
                let head = asks(&path).then(|| head(&file)).transpose();
                let is_unknown = head.is_err();
                let head = head.unwrap_or_default();
                found(ListedObject { path, size: meta.size(), tag, problem: unspeakable, head, is_unknown })?;
            }
            Ok(_) => found(odd(path, "special", "not a regular file"))?,
            Err(_) => found(odd(path, "dangling", "symlink to nothing"))?,
        }
    }
    Ok(warnings)
}

/// A path as text; bytes that are no UTF-8 as `\\xE9`, so that two files are not called the same.
fn readable(path: &Path) -> String {
    let chunks = path.as_os_str().as_bytes().utf8_chunks();
    chunks.fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text += &format!("\\x{byte:02X}"));
        text
    })
}

fn odd(path: String, tag: &str, problem: &str) -> ListedObject {
    ListedObject {
        path,
        size: 0,
        tag: tag.into(),
        problem: Some(problem.into()),
        head: None,
        is_unknown: false,
    }
}

fn head(file: &Path) -> std::io::Result<Bytes> {
    let mut head = Vec::new();
    File::open(file)?.take(HEAD).read_to_end(&mut head)?;
    Ok(head.into())
}
