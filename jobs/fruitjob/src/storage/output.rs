//! Places: a directory or an object-store URI, read as [`Input`] and written as [`Output`].
//!
//! Calls block; they are made from worker threads, never from inside the runtime that serves them.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
pub use fruitjob_interface::location::Location;
pub use fruitjob_interface::prune::Stored;
use futures::{StreamExt, stream};
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, ObjectStoreScheme, path::Path as Key};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use url::Url;

use crate::error::{self, Error, Result};
use crate::listing::Found;

/// Opens the object store behind a URI, with credentials and endpoint from the usual environment
/// variables (`AWS_*`, `GOOGLE_*`, `AZURE_*`) or the machine's role.
pub(crate) fn open(url: &Url) -> Result<(Arc<dyn ObjectStore>, Key)> {
    if let Ok((ObjectStoreScheme::Http, _)) = ObjectStoreScheme::parse(url) {
        let location = Location::Remote(url.clone());
        return Err(Error::Usage(format!(
            "{location}: a web server can serve a model, not images or results; use a directory or an object store"
        )));
    }
    let mut options: Vec<(String, String)> = std::env::vars()
        .filter(|(k, _)| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|p| k.starts_with(p)))
        .collect();
    // A plain-http endpoint is only ever set on purpose: an emulator.
    if options.iter().any(|(k, v)| k.contains("ENDPOINT") && v.starts_with("http://")) {
        options.push(("allow_http".into(), "true".into()));
    }
    let (store, path) = object_store::parse_url_opts(url, options)
        .map_err(|e| error::store(&format!("{}", Location::Remote(url.clone())), e))?;
    Ok((store.into(), path))
}

/// Images that are read ahead of the one at work, per thread: so many always, and up to so many while they are small.
const READ_AHEAD: std::ops::RangeInclusive<usize> = 8..=48;
/// Bytes of those beyond the first few.
const AHEAD_BYTES: u64 = 4 << 20;

/// Where images come from.
#[derive(Clone)]
pub struct Input {
    pub(crate) location: Location,
    pub(crate) source: Source,
}

#[derive(Clone)]
pub(crate) enum Source {
    /// Read with `std::fs`, not through `object_store`: names that are no valid object keys, symlinks and
    /// special files are a directory's daily life.
    Directory(PathBuf),
    Store(Arc<dyn ObjectStore>, Key),
}

impl Input {
    /// Opens a place to read images from.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is a directory that is not there, or a file.
    pub fn open(location: &Location) -> Result<Self> {
        let source = match location {
            Location::Local(dir) => match std::fs::metadata(dir) {
                Ok(meta) if meta.is_dir() => Source::Directory(dir.clone()),
                Ok(_) => {
                    return Err(Error::Usage(format!(
                        "input {} is a file; name the directory that holds the images",
                        dir.display()
                    )));
                }
                Err(e) => {
                    let why = error::explain_io(&e);
                    return Err(Error::Usage(format!("input {}: {why}", dir.display())));
                }
            },
            Location::Remote(url) => {
                let (store, prefix) = open(url)?;
                Source::Store(store, prefix)
            }
        };
        Ok(Input { location: location.clone(), source })
    }

    /// Everything below a place in a store, in the store's order; nothing, in a directory. To be called from
    /// outside the runtime.
    pub(crate) fn objects(&self, runtime: &Handle) -> Objects {
        let (sender, objects) = mpsc::channel(LIST_AHEAD);
        if let Source::Store(store, prefix) = &self.source {
            let (store, prefix, input) = (store.clone(), prefix.clone(), self.location.to_string());
            runtime.spawn(async move {
                let mut listed = store.list(Some(&prefix));
                while let Some(object) = listed.next().await {
                    let found = object
                        .map(|object| found_below(&prefix, object))
                        .map_err(|e| error::store(&format!("cannot list {input}"), e));
                    let Some(found) = found.transpose() else { continue };
                    if sender.send(found).await.is_err() {
                        break;
                    }
                }
            });
        }
        Objects(objects)
    }

    /// Reads some images. The errors' messages do not name them.
    async fn read(&self, paths: Vec<String>) -> Vec<Result<Bytes>> {
        const DOING: &str = "cannot be read";
        match &self.source {
            Source::Directory(root) => {
                let files: Vec<PathBuf> = paths.iter().map(|path| root.join(path)).collect();
                let read = |file| std::fs::read(file).map(Into::into).map_err(|e| Error::io(DOING, e));
                match tokio::task::spawn_blocking(move || files.into_iter().map(read).collect()).await {
                    Ok(read) => read,
                    Err(e) => paths.iter().map(|_| Err(Error::Bug(format!("{DOING}: {e}")))).collect(),
                }
            }
            Source::Store(store, prefix) => {
                let mut read = Vec::with_capacity(paths.len());
                for path in paths {
                    // As it was listed: another constructor of `Key` would percent-encode it once more.
                    let get = async {
                        let key = Key::parse(format!("{prefix}/{path}"))?;
                        store.get(&key).await?.bytes().await
                    };
                    read.push(get.await.map_err(|e| error::store(DOING, e)));
                }
                read
            }
        }
    }

    /// Reads images of some `size` on average in the order of `paths`, a few ahead of whoever takes them; to be called
    /// from outside the runtime.
    pub(crate) fn read_ahead(&self, paths: Vec<String>, size: u64, runtime: &Handle) -> ReadAhead {
        // A store answers slowly, and many requests at once; a file costs less than it takes to pass it from thread to
        // thread, so several are read at a time.
        let (together, ahead) = match &self.source {
            Source::Directory(_) => (*READ_AHEAD.start(), 2),
            Source::Store(..) => {
                let small = usize::try_from(AHEAD_BYTES / size.max(1)).unwrap_or(usize::MAX);
                (1, small.clamp(*READ_AHEAD.start(), *READ_AHEAD.end()))
            }
        };
        let (sender, batches) = mpsc::channel(1);
        let input = self.clone();
        runtime.spawn(async move {
            let reads = stream::iter(paths.chunks(together).map(<[String]>::to_vec)).map(|paths| {
                let (input, expected) = (input.clone(), paths.len());
                // A task of its own each, so that it goes on while nobody asks for it.
                let task = tokio::spawn(async move { input.read(paths).await });
                async move {
                    let failed =
                        |e: &tokio::task::JoinError| Err(Error::Bug(format!("a reading task failed: {e}")));
                    task.await.unwrap_or_else(|e| (0..expected).map(|_| failed(&e)).collect())
                }
            });
            let mut reads = reads.buffered(ahead);
            while let Some(batch) = reads.next().await {
                if sender.send(batch).await.is_err() {
                    break;
                }
            }
        });
        ReadAhead { batches, batch: Vec::new().into_iter() }
    }
}

fn found_below(prefix: &Key, object: ObjectMeta) -> Option<Found> {
    let below = object.location.as_ref().strip_prefix(prefix.as_ref())?;
    let path = if prefix.is_root() { below } else { below.strip_prefix('/')? }.to_owned();
    let tag = object.e_tag.unwrap_or_else(|| object.last_modified.timestamp_micros().to_string());
    Some(Found { path, size: object.size, tag, problem: None })
}

/// Objects that are listed ahead of whoever takes them.
const LIST_AHEAD: usize = 2_000;

/// Objects that are being listed.
pub(crate) struct Objects(mpsc::Receiver<Result<Found>>);

impl Iterator for Objects {
    type Item = Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.blocking_recv()
    }
}

/// Images that are being read.
pub(crate) struct ReadAhead {
    batches: mpsc::Receiver<Vec<Result<Bytes>>>,
    batch: std::vec::IntoIter<Result<Bytes>>,
}

impl Iterator for ReadAhead {
    type Item = Result<Bytes>;

    /// The next image's bytes; waits for them.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(image) = self.batch.next() {
                return Some(image);
            }
            self.batch = self.batches.blocking_recv()?.into_iter();
        }
    }
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
                let store = LocalFileSystem::new_with_prefix(dir)
                    .map_err(|e| error::store(&format!("output {}", dir.display()), e))?;
                Arc::new(store)
            }
            Location::Remote(url) => {
                let (store, prefix) = open(url)?;
                Arc::new(PrefixStore::new(store, prefix))
            }
        };
        Ok(Output { location: location.clone(), store, runtime })
    }

    /// Where this is.
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
        self.runtime
            .block_on(self.store.put(&Key::from(name), bytes.into().into()))
            .map_err(|e| error::store(&format!("cannot write {}", self.path(name)), e))?;
        Ok(())
    }

    /// Reads a whole object; `None` when there is none.
    pub fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let get = async { self.store.get(&Key::from(name)).await?.bytes().await };
        match self.runtime.block_on(get) {
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
        match self.runtime.block_on(self.store.head(&key)) {
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
        let stored = self.runtime.block_on(async {
            let mut stored = Vec::new();
            let mut stream = self.store.list(Some(&Key::from(prefix)));
            while let Some(meta) = stream.next().await {
                match meta {
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
        match self.runtime.block_on(self.store.delete(&Key::from(name))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(error::store(&format!("cannot delete {}", self.path(name)), e)),
        }
    }

    /// Copies an object over another one.
    pub fn copy(&self, from: &str, to: &str) -> Result<()> {
        self.runtime
            .block_on(self.store.copy(&Key::from(from), &Key::from(to)))
            .map_err(|e| error::store(&format!("cannot copy {from} to {}", self.path(to)), e))
    }

    /// Moves an object over another one.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.runtime
            .block_on(self.store.rename(&Key::from(from), &Key::from(to)))
            .map_err(|e| error::store(&format!("cannot move {from} to {}", self.path(to)), e))
    }
}

/// Bytes of an object that are sent at once.
const UPLOAD_PART: usize = 8 << 20;

/// An object that is being written; it is there once it is finished, as by [`Output::put`], and not before.
pub struct Upload {
    upload: BufWriter,
    runtime: Handle,
    path: String,
}

impl Upload {
    /// Adds bytes.
    pub fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.runtime
            .block_on(self.upload.put(bytes))
            .map_err(|e| error::store(&format!("cannot write {}", self.path), e))
    }

    /// Makes the object appear.
    pub fn finish(mut self) -> Result<()> {
        self.runtime
            .block_on(self.upload.shutdown())
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
    /// Its size in bytes.
    pub len: u64,
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path)
    }
}

impl Object {
    /// Some of its bytes.
    pub fn range(&self, range: Range<u64>) -> Result<Bytes> {
        self.output
            .runtime
            .block_on(self.output.store.get_range(&self.key, range))
            .map_err(|e| error::store(&format!("cannot read {}", self.path), e))
    }
}
