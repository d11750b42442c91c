//! Where images come from: listing them, and reading them ahead of whoever decodes them.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fruitjob_interface::location::Location;
use futures::{StreamExt, future};
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, path::Path as Key};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::client::Throttled;
use super::flight::Flight;
use super::walk::{self, HEAD, ListedObject};
use super::{names, store};
use crate::cores;
use crate::error::{self, Error, Result};

/// Images that are read ahead of the one at work, per thread: so many always, and of a store as many as it answers well
/// while they are small.
const READ_AHEAD: usize = 8;
/// Bytes of those beyond the first few, per thread.
const AHEAD_BYTES: u64 = 8 << 20;

/// Images are small where so many fit into [`AHEAD_BYTES`].
const SMALL: usize = 64;

/// A place that images are read from.
#[derive(Clone)]
pub struct Input {
    location: Location,
    source: Source,
}

#[derive(Clone)]
enum Source {
    /// Read with `std::fs`, not through `object_store`: names that are no valid object keys, symlinks and
    /// special files are a directory's daily life.
    Directory(PathBuf),
    Store(Far, Key),
}

/// A store, and what all its readers know of it.
#[derive(Clone)]
struct Far {
    store: Arc<dyn ObjectStore>,
    flight: Arc<Flight>,
    throttled: Throttled,
}

/// An image to be read: as it was listed, or not at all.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Below the input.
    pub path: String,
    /// In bytes; `None` for whatever is there.
    pub size: Option<u64>,
    /// Its ETag, or when it was written; empty for whatever is there.
    pub tag: String,
}

/// What was put in an image's place meanwhile is neither counted as it nor kept under its tag.
const CHANGED: &str = "it was changed after it was listed; the next run takes it as it is then";

/// A file, if it has the size that was listed; no more of it is read.
fn read_file(file: &Path, size: Option<u64>) -> std::io::Result<Option<Bytes>> {
    let Some(size) = size else { return std::fs::read(file).map(|bytes| Some(bytes.into())) };
    let mut file = std::fs::File::open(file)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default().min(READ_AT_ONCE));
    file.by_ref().take(size.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 == size).then(|| bytes.into()))
}

/// Bytes that a listing is believed before there are as many.
const READ_AT_ONCE: usize = 64 << 20;

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
                let opened = store::open(url)?;
                let far = Far { store: opened.store, flight: Arc::default(), throttled: opened.throttled };
                Source::Store(far, opened.prefix)
            }
        };
        Ok(Input { location: location.clone(), source })
    }

    /// The place that was opened.
    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    /// Gives everything below the place to `found`: in a directory in the order of the paths, in a store in the store's
    /// order. `asks` says of which files the first bytes are wanted. Returns what a person should be warned of. To be
    /// called from outside the runtime.
    ///
    /// # Errors
    /// When a folder cannot be listed, and whatever `found` fails with.
    pub(crate) fn list(
        &self,
        runtime: &Handle,
        asks: fn(&str) -> bool,
        found: &mut impl FnMut(ListedObject) -> Result<()>,
    ) -> Result<Vec<String>> {
        match &self.source {
            Source::Directory(root) => walk::walk(root, asks, found),
            Source::Store(far, prefix) => {
                for object in self.objects(far.store.clone(), prefix.clone(), asks, runtime) {
                    found(object?)?;
                }
                Ok(Vec::new())
            }
        }
    }

    /// Everything below a prefix, listed ahead of whoever takes it.
    fn objects(
        &self,
        store: Arc<dyn ObjectStore>,
        prefix: Key,
        asks: fn(&str) -> bool,
        runtime: &Handle,
    ) -> Objects {
        let (sender, objects) = mpsc::channel(LIST_AHEAD);
        let input = self.location.to_string();
        runtime.spawn(async move {
            let listed = store.list(Some(&prefix)).map(|object| {
                object
                    .map(|object| below(&prefix, object))
                    .map_err(|e| error::store(&format!("cannot list {input}"), e))
                    .transpose()
            });
            let looked_at = listed.filter_map(future::ready).map(|found| async {
                let mut found = found?;
                if found.problem.is_none() && found.size > 0 && asks(&found.path) {
                    let key = Key::parse(format!("{prefix}/{}", found.path)).unwrap_or_default();
                    match store.get_range(&key, 0..found.size.min(HEAD)).await {
                        Ok(head) => found.head = Some(head),
                        // Whether it is an image is not known: it is listed, and reading it again says why.
                        Err(_) => found.is_unknown = true,
                    }
                }
                Ok(found)
            });
            let mut found = std::pin::pin!(looked_at.buffered(LOOKS));
            while let Some(found) = found.next().await {
                if sender.send(found).await.is_err() {
                    break;
                }
            }
        });
        Objects(objects)
    }

    /// Reads some images. The errors' messages do not name them.
    async fn read(&self, images: Vec<Wanted>) -> Vec<Result<Bytes>> {
        const DOING: &str = "cannot be read";
        let changed = || Error::Failed(CHANGED.into());
        match &self.source {
            Source::Directory(root) => {
                let files: Vec<_> = images.iter().map(|image| (root.join(&image.path), image.size)).collect();
                let read = move |(file, size): (PathBuf, Option<u64>)| {
                    let found = read_file(&file, size).map_err(|e| Error::io(DOING, e))?;
                    found.ok_or_else(changed)
                };
                match tokio::task::spawn_blocking(move || files.into_iter().map(read).collect()).await {
                    Ok(read) => read,
                    Err(e) => images.iter().map(|_| Err(Error::Bug(format!("{DOING}: {e}")))).collect(),
                }
            }
            Source::Store(Far { store, .. }, prefix) => {
                let mut read = Vec::with_capacity(images.len());
                for Wanted { path, size, tag } in images {
                    let get = async {
                        // As it was listed: another constructor of `Key` would percent-encode it once more.
                        let key = Key::parse(format!("{prefix}/{path}"))?;
                        // Without an ETag, the tag is a time.
                        let if_match = tag.starts_with('"').then_some(tag);
                        let found =
                            store.get_opts(&key, GetOptions { if_match, ..Default::default() }).await?;
                        if size.is_some_and(|size| size != found.meta.size) {
                            return Ok(None);
                        }
                        found.bytes().await.map(Some)
                    };
                    read.push(match get.await {
                        Ok(Some(bytes)) => Ok(bytes),
                        Ok(None) | Err(object_store::Error::Precondition { .. }) => Err(changed()),
                        Err(e) => Err(error::store(DOING, e)),
                    });
                }
                read
            }
        }
    }

    /// Reads images of some `size` on average in their order, a few ahead of whoever takes them; to be called from outside
    /// the runtime.
    pub(crate) fn read_ahead(&self, images: Vec<Wanted>, size: u64, runtime: &Handle) -> ReadAhead {
        // A store answers slowly, and many requests at once; a file costs less than it takes to pass it from thread to
        // thread, so several are read at a time.
        let (together, far) = match &self.source {
            Source::Directory(_) => (READ_AHEAD, None),
            Source::Store(far, _) => (1, Some(far.clone())),
        };
        let fit = usize::try_from(AHEAD_BYTES / size.max(1)).unwrap_or(usize::MAX).max(READ_AHEAD);
        // Small images pass in several, so that neither side wakes the other for each.
        let (sender, batches) = mpsc::channel(if fit > SMALL { 8 } else { 1 });
        let input = self.clone();
        let reader = far.map(Reader::new);
        let flight = reader.as_ref().map(|reader| reader.0.flight.clone());
        runtime.spawn(async move {
            let mut rest = images.chunks(together);
            let mut pending = VecDeque::new();
            loop {
                let ahead = flight.as_ref().map_or(2, |flight| flight.limit(fit));
                let free = ahead.saturating_sub(pending.len());
                for images in rest.by_ref().take(free).map(<[Wanted]>::to_vec) {
                    let (input, expected) = (input.clone(), images.len());
                    // A task of its own each, so that it goes on while nobody asks for it.
                    pending.push_back((tokio::spawn(async move { input.read(images).await }), expected));
                }
                let Some((task, expected)) = pending.pop_front() else { break };
                let failed =
                    |e: &tokio::task::JoinError| Err(Error::Bug(format!("a reading task failed: {e}")));
                let batch = task.await.unwrap_or_else(|e| (0..expected).map(|_| failed(&e)).collect());
                if sender.send(batch).await.is_err() {
                    break;
                }
            }
        });
        ReadAhead { batches, batch: Vec::new().into_iter(), reader }
    }
}

/// A store's object as it is listed; `None` for one that is not below the prefix, and for what stands for a folder: an
/// empty object whose name ends as a folder's would, which consoles make.
fn below(prefix: &Key, object: ObjectMeta) -> Option<ListedObject> {
    let key = names::listed(&object.location);
    let below = key.strip_prefix(prefix.as_ref())?;
    let path = if prefix.is_root() { below } else { below.strip_prefix('/')? }.to_owned();
    if object.size == 0 && path.ends_with('/') {
        return None;
    }
    let tag = object.e_tag.unwrap_or_else(|| object.last_modified.timestamp_micros().to_string());
    Some(ListedObject {
        path,
        size: object.size,
        tag,
        problem: names::problem(&key),
        head: None,
        is_unknown: false,
    })
}

/// Objects whose first bytes are read at once.
const LOOKS: usize = 64;

/// Objects that are listed ahead of whoever takes them.
const LIST_AHEAD: usize = 2_000;

/// Objects that are being listed.
struct Objects(mpsc::Receiver<Result<ListedObject>>);

impl Iterator for Objects {
    type Item = Result<ListedObject>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.blocking_recv()
    }
}

/// Images that are being read.
pub(crate) struct ReadAhead {
    batches: mpsc::Receiver<Vec<Result<Bytes>>>,
    batch: std::vec::IntoIter<Result<Bytes>>,
    /// Of a store.
    reader: Option<Reader>,
}

/// One of those that read a store, as long as it does.
struct Reader(Far);

impl Reader {
    fn new(far: Far) -> Self {
        far.flight.enter();
        Reader(far)
    }

    /// An image was taken after so long.
    fn taken(&self, waited: Duration) {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        let now = FIRST.get_or_init(Instant::now).elapsed();
        self.0.flight.taken(now, waited, self.0.throttled.count());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.flight.leave();
    }
}

impl Iterator for ReadAhead {
    type Item = Result<Bytes>;

    /// The next image's bytes; waits for them.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(image) = self.batch.next() {
                return Some(image);
            }
            let mut waited = Duration::ZERO;
            let batch = match self.batches.try_recv() {
                Ok(ready) => Some(ready),
                Err(_) => cores::lend(|| {
                    let asked = Instant::now();
                    let batch = self.batches.blocking_recv();
                    // Not what it takes to have a core again.
                    waited = asked.elapsed();
                    batch
                }),
            };
            self.batch = batch?.into_iter();
            if let Some(reader) = &self.reader {
                reader.taken(waited);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::util::runtime;

    fn object(path: &str, e_tag: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            location: Key::parse(path).unwrap(),
            last_modified: chrono::DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap(),
            size: 3,
            e_tag: e_tag.map(str::to_owned),
            version: None,
        }
    }

    #[test]
    fn objects_below_a_prefix_are_told_from_their_neighbours() {
        let path =
            |prefix: &str, path: &str| below(&Key::from(prefix), object(path, None)).map(|found| found.path);
        assert_eq!(path("", "a/b.jpg").as_deref(), Some("a/b.jpg"));
        assert_eq!(path("data", "data/a/b.jpg").as_deref(), Some("a/b.jpg"));
        assert_eq!(path("data", "data-old/b.jpg"), None);
        assert_eq!(path("data", "data"), None);
    }

    #[test]
    fn an_object_s_tag_is_its_etag_or_when_it_was_written() {
        let tag = |e_tag| below(&Key::from(""), object("a.jpg", e_tag)).unwrap().tag;
        assert_eq!(tag(Some("\"ab\"")), "\"ab\"");
        assert_eq!(tag(None), "1700000000000001");
    }

    #[test]
    fn a_place_that_is_no_directory_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| Input::open(&Location::Local(folder.path().join(name))).err().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = open("file");
        assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("is a file"), "{error}");
        let error = open("nowhere");
        assert!(matches!(error, Error::Usage(_)) && error.to_string().ends_with("not found"), "{error}");
    }

    /// A directory and a store with the same hundred files, of which every seventh is missing.
    fn places(folder: &std::path::Path, runtime: &Handle) -> [Input; 2] {
        let store = InMemory::new();
        for i in (0..100).filter(|i| i % 7 != 0) {
            std::fs::write(folder.join(i.to_string()), format!("image {i}")).unwrap();
            let key = Key::from(format!("in/{i}"));
            runtime.block_on(store.put(&key, format!("image {i}").into())).unwrap();
        }
        let location = Location::Local(folder.to_owned());
        let far = Far { store: Arc::new(store), flight: Arc::default(), throttled: Throttled::default() };
        [Source::Directory(folder.to_owned()), Source::Store(far, Key::from("in"))]
            .map(|source| Input { location: location.clone(), source })
    }

    fn listed(i: usize) -> Wanted {
        Wanted { path: i.to_string(), size: Some(format!("image {i}").len() as u64), tag: String::new() }
    }

    #[test]
    fn what_was_changed_after_it_was_listed_is_not_read() {
        let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime().unwrap());
        for input in places(folder.path(), runtime.handle()) {
            for size in [0, 6, 8, u64::MAX] {
                let image = Wanted { size: Some(size), ..listed(1) };
                let read: Vec<_> = input.read_ahead(vec![image, listed(2)], 8, runtime.handle()).collect();
                assert!(read[0].as_ref().is_err_and(|e| e.to_string() == CHANGED), "{read:?}");
                assert!(read[1].is_ok());
            }
        }
        let [_, store] = places(folder.path(), runtime.handle());
        let other = Wanted { tag: "\"other\"".into(), ..listed(1) };
        let read = store.read_ahead(vec![other], 8, runtime.handle()).next().unwrap();
        assert!(read.is_err_and(|e| e.to_string() == CHANGED));
    }

    #[test]
    fn images_are_read_in_order_and_one_that_is_missing_does_not_end_it() {
        let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime().unwrap());
        for input in places(folder.path(), runtime.handle()) {
            let read: Vec<_> =
                input.read_ahead((0..100).map(listed).collect(), 8, runtime.handle()).collect();
            assert_eq!(read.len(), 100);
            for (i, image) in read.into_iter().enumerate() {
                match image {
                    Ok(bytes) => assert_eq!(bytes, format!("image {i}")),
                    Err(error) => {
                        assert!(i % 7 == 0 && error.to_string().contains("not found"), "{i}: {error}")
                    }
                }
            }
        }
    }

    #[test]
    fn a_directory_and_a_store_list_the_same() {
        let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime().unwrap());
        let [directory, store] = places(folder.path(), runtime.handle()).map(|input| {
            let mut listed = Vec::new();
            let mut found = |object: ListedObject| {
                listed.push((object.path, object.size));
                Ok(())
            };
            assert!(input.list(runtime.handle(), |_| false, &mut found).unwrap().is_empty());
            listed.sort();
            listed
        });
        assert_eq!(directory.len(), 85);
        assert_eq!(directory, store);
    }
}
