//! Where results go: whole objects, uploads of large ones, and objects that are read in parts.

use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fruitjob_interface::layout;
use fruitjob_interface::location::Location;
use fruitjob_interface::prune::Stored;
use futures::StreamExt;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{Attribute, ObjectStore, ObjectStoreExt, PutOptions, path::Path as Key};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;
use walkdir::WalkDir;

use super::{names, store};
use crate::cores;
use crate::error::{self, Error, Result};

/// What a browser has to be told of a file that is served from a store, which does not know by itself; `None` for what no browser
/// shows.
fn content_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "png" => "image/png",
        "jpg" => "image/jpeg",
        _ => return None,
    })
}

/// Where results go, and where features are kept between runs.
#[derive(Clone)]
pub struct Output {
    location: Location,
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
}

impl Output {
    /// Opens a place to write to; a directory is made.
    ///
    /// # Errors
    /// [`Error::Usage`] when the directory cannot be made.
    pub fn open(location: &Location, runtime: Handle) -> Result<Self> {
        let store: Arc<dyn ObjectStore> = match location {
            Location::Local(dir) => {
                std::fs::create_dir_all(dir).map_err(|e| {
                    let why = error::explain_io(&e);
                    Error::Usage(format!("output {}: cannot make the directory: {why}", dir.display()))
                })?;
                no_links(dir)?;
                let store = LocalFileSystem::new_with_prefix(dir)
                    .map_err(|e| error::store(&format!("output {}", dir.display()), e))?;
                Arc::new(store)
            }
            Location::Remote(url) => {
                let opened = store::open(url)?;
                Arc::new(PrefixStore::new(opened.store, opened.prefix))
            }
        };
        Ok(Output { location: location.clone(), store, runtime })
    }

    /// What the store answers.
    fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        cores::lend(|| self.runtime.block_on(answer))
    }

    /// The place that was opened.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Where the object `name` is, for messages.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.location)
    }

    /// The error for something that an earlier stage should have left.
    pub fn missing(&self, name: &str, stage: &str) -> Error {
        Error::Usage(format!("{} is not there; run 'fruitjob {stage}' first", self.path(name)))
    }

    /// Puts a whole object: either all of it is there afterwards, or what was there before.
    pub fn put(&self, name: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let mut options = PutOptions::default();
        // A directory has no place for it.
        if let (Location::Remote(_), Some(kind)) = (&self.location, content_type(name)) {
            options.attributes.insert(Attribute::ContentType, kind.into());
        }
        self.wait(self.store.put_opts(&Key::from(name), bytes.into().into(), options))
            .map_err(|e| error::store(&format!("cannot write {}", self.path(name)), e))?;
        Ok(())
    }

    /// Reads a whole object; `None` when there is none.
    pub fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let get = async { self.store.get(&Key::from(name)).await?.bytes().await };
        match self.wait(get) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(error::store(&format!("cannot read {}", self.path(name)), e)),
        }
    }

    /// Begins to write an object that is too large to be held in memory.
    pub fn writer(&self, name: &str) -> Upload {
        let upload = BufWriter::with_capacity(self.store.clone(), Key::from(name), UPLOAD_PART)
            .with_max_concurrency(2);
        Upload { upload, runtime: self.runtime.clone(), path: self.path(name) }
    }

    /// Opens an object to read parts of it; `None` when there is none.
    pub fn open_object(&self, name: &str) -> Result<Option<Object>> {
        let key = Key::from(name);
        match self.wait(self.store.head(&key)) {
            Ok(meta) => Ok(Some(Object { output: self.clone(), key, len: meta.size, path: self.path(name) })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(error::store(&format!("cannot read {}", self.path(name)), e)),
        }
    }

    /// Names of the objects below `prefix`, relative to the output, in order.
    pub fn list(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(self.stored(prefix)?.into_iter().map(|stored| stored.name).collect())
    }

    /// The objects below `prefix`, in the order of their names.
    pub fn stored(&self, prefix: &str) -> Result<Vec<Stored>> {
        let stored = self.wait(async {
            let mut stored = Vec::new();
            let mut stream = self.store.list(Some(&Key::from(prefix)));
            while let Some(meta) = stream.next().await {
                match meta {
                    // Somebody else's: nothing of ours has such a name.
                    Ok(meta) if names::is_replaced(&meta.location) => {}
                    Ok(meta) => stored.push(Stored {
                        name: meta.location.to_string(),
                        bytes: meta.size,
                        modified: meta.last_modified.timestamp(),
                    }),
                    Err(object_store::Error::NotFound { .. }) => break,
                    Err(e) => return Err(e),
                }
            }
            stored.sort();
            Ok(stored)
        });
        stored.map_err(|e| error::store(&format!("cannot list {}", self.path(prefix)), e))
    }

    /// Deletes an object; one that is not there is fine.
    pub fn delete(&self, name: &str) -> Result<()> {
        match self.wait(self.store.delete(&Key::from(name))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(error::store(&format!("cannot delete {}", self.path(name)), e)),
        }
    }

    /// Copies an object over another one.
    pub fn copy(&self, from: &str, to: &str) -> Result<()> {
        self.wait(self.store.copy(&Key::from(from), &Key::from(to)))
            .map_err(|e| error::store(&format!("cannot copy {from} to {}", self.path(to)), e))
    }

    /// Moves an object over another one.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.wait(self.store.rename(&Key::from(from), &Key::from(to)))
            .map_err(|e| error::store(&format!("cannot move {from} to {}", self.path(to)), e))
    }
}

/// Results are written, listed and deleted below their folder and nowhere else: through no link that somebody has put there.
fn no_links(dir: &Path) -> Result<()> {
    let is_ours = |name: &OsStr| {
        OURS.iter().any(|ours| name == *ours) || name.to_str().is_some_and(|name| name.starts_with("assets-"))
    };
    // What is not ours is nobody's business here.
    let walk = WalkDir::new(dir).min_depth(1).into_iter();
    let mut ours = walk.filter_entry(|entry| entry.depth() > 1 || is_ours(entry.file_name())).flatten();
    match ours.find(|entry| entry.path_is_symlink()) {
        None => Ok(()),
        Some(link) => Err(Error::Usage(format!(
            "output {}: {} is a link, and results are written through none; remove it, or name another output",
            dir.display(),
            link.path().display()
        ))),
    }
}

/// What lies directly below an output.
const OURS: [&str; 7] = [
    layout::WORK,
    layout::RESULTS,
    layout::PUBLISHED_MODEL,
    layout::REPORT,
    layout::PUBLISHED_RECORD,
    "rejects.parquet",
    "app",
];

/// Bytes of an object that are sent at once.
const UPLOAD_PART: usize = 8 << 20;

/// An object that is being written; it is there once it is finished, as by [`Output::put`], and not before.
pub struct Upload {
    upload: BufWriter,
    runtime: Handle,
    path: String,
}

impl Upload {
    /// Appends bytes.
    pub fn write(&mut self, bytes: Bytes) -> Result<()> {
        cores::lend(|| self.runtime.block_on(self.upload.put(bytes)))
            .map_err(|e| error::store(&format!("cannot write {}", self.path), e))
    }

    /// Makes the object appear.
    pub fn finish(mut self) -> Result<()> {
        cores::lend(|| self.runtime.block_on(self.upload.shutdown()))
            .map_err(|e| Error::io(&format!("cannot write {}", self.path), e))
    }

    /// Leaves nothing of it, as far as the store is there to be told.
    pub fn abandon(mut self) {
        let _ = self.runtime.block_on(self.upload.abort());
    }
}

/// An object that is read in parts.
#[derive(Clone)]
pub struct Object {
    output: Output,
    key: Key,
    path: String,
    /// Size in bytes when it was opened.
    pub len: u64,
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path)
    }
}

impl Object {
    /// The bytes at these offsets; an error where the object ends before.
    pub fn range(&self, range: Range<u64>) -> Result<Bytes> {
        self.output
            .wait(self.output.store.get_range(&self.key, range))
            .map_err(|e| error::store(&format!("cannot read {}", self.path), e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::Scratch;

    #[test]
    fn objects_are_put_read_copied_moved_and_deleted() {
        let scratch = Scratch::new();
        let output = &scratch.output;
        assert_eq!(output.get("a/b").unwrap(), None);
        output.put("a/b", "one").unwrap();
        output.put("a/b", "two").unwrap();
        output.put("a-b", "").unwrap();
        output.copy("a/b", "c").unwrap();
        output.rename("c", "a/d").unwrap();
        assert_eq!(output.list("a").unwrap(), ["a/b", "a/d"]);
        assert_eq!(output.get("a/d").unwrap().unwrap(), "two");
        output.delete("a/b").unwrap();
        output.delete("a/b").unwrap();
        assert_eq!(output.list("a").unwrap(), ["a/d"]);
        assert!(output.list("nowhere").unwrap().is_empty());
        let stored = output.stored("a").unwrap();
        assert_eq!((stored[0].name.as_str(), stored[0].bytes), ("a/d", 3));
    }

    #[test]
    fn an_upload_is_there_once_it_is_finished_and_not_before() {
        let scratch = Scratch::new();
        let output = &scratch.output;
        output.put("large", "before").unwrap();
        let part = Bytes::from(vec![7; UPLOAD_PART]);
        let begin = || {
            let mut upload = output.writer("large");
            upload.write(part.clone()).unwrap();
            upload.write(part.slice(..5)).unwrap();
            upload
        };
        let upload = begin();
        assert_eq!(output.get("large").unwrap().unwrap(), "before");
        upload.abandon();
        assert_eq!(output.get("large").unwrap().unwrap(), "before");
        begin().finish().unwrap();
        assert_eq!(output.get("large").unwrap().unwrap().len(), UPLOAD_PART + 5);
    }

    #[test]
    fn parts_of_an_object_are_read() {
        let scratch = Scratch::new();
        assert!(scratch.output.open_object("a").unwrap().is_none());
        scratch.output.put("a", "0123456789").unwrap();
        let object = scratch.output.open_object("a").unwrap().unwrap();
        assert_eq!(object.len, 10);
        assert_eq!(object.range(3..6).unwrap(), "345");
        assert!(object.range(20..30).is_err());
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let (scratch, elsewhere) = (Scratch::new(), tempfile::tempdir().unwrap());
        let location = Location::Local(scratch.folder.path().to_owned());
        for place in [
            "results",
            "app",
            ".fruitjob/features",
            ".fruitjob/lock",
            ".fruitjob/pca/0123456789ab",
            ".fruitjob/features/a/b",
            "assets-0/x",
        ] {
            let link = scratch.folder.path().join(place);
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
            let error = Output::open(&location, scratch.runtime.handle().clone()).err().unwrap().to_string();
            assert!(error.contains(&format!("{place} is a link")), "{error}");
            std::fs::remove_file(link).unwrap();
            assert!(Output::open(&location, scratch.runtime.handle().clone()).is_ok());
        }
    }

    #[test]
    fn an_output_that_cannot_be_made_is_told() {
        let scratch = Scratch::new();
        scratch.output.put("file", "").unwrap();
        let location = Location::Local(scratch.folder.path().join("file/out"));
        let error = Output::open(&location, scratch.runtime.handle().clone()).err().unwrap();
        assert!(
            matches!(error, Error::Usage(_)) && error.to_string().contains("cannot make the directory"),
            "{error}"
        );
    }
}
