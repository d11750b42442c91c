//! The list stage: finds the images below a place, labels each by its folder, and cuts the listing into
//! partitions.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use walkdir::WalkDir;

use crate::count;
use crate::error::{Error, Result};
use crate::partition;
use crate::session::Context;
use crate::storage::{Input, Location, Source};

/// The largest file that is read; a larger one is rejected, so that memory stays bounded.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// One image of the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path below the input, with `/` between folders.
    pub path: String,
    /// Name of the folder that holds the image.
    pub label: Arc<str>,
    /// Size in bytes.
    pub size: u64,
    /// What changes when the content does: the ETag in an object store, size and modification time in a
    /// directory.
    pub tag: String,
    /// Why the image will be rejected without being read, when the listing already tells.
    pub problem: Option<String>,
}

/// Everything found below an input, sorted by path.
#[derive(Debug, Default)]
pub struct Listing {
    /// The images.
    pub entries: Vec<Entry>,
    /// Files that were passed over, counted by extension.
    pub ignored: BTreeMap<String, u64>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Listing {
    /// Ranges of `entries`, one a partition.
    pub fn partitions(&self) -> Vec<std::ops::Range<usize>> {
        let paths = self.entries.iter().map(|e| e.path.as_str());
        partition::cut(paths, partition::target_len(self.entries.len()))
    }
}

/// Lists the images below `input`, but for what lies below `output`: results of an earlier run are no input.
///
/// # Errors
/// [`Error::Usage`] when there is no image, or when `output` is the input itself;
/// [`Error::Failed`] or [`Error::Denied`] when a folder cannot be listed: its images would be missed in
/// silence.
pub fn list(
    input: &Input,
    output: &Location,
    context: &Context,
    mut found: impl FnMut(u64),
) -> Result<Listing> {
    let skip = output.below(&input.location);
    if skip.as_deref() == Some("") {
        return Err(Error::Usage(format!(
            "the output {output} is the input itself; name another place for the results"
        )));
    }
    let default_label = input.location.name();
    let mut last_label = Arc::from("");
    let mut listing = Listing::default();
    let mut add = |path: String, size: u64, tag: String, problem: Option<String>| {
        if hidden(&path) || skip.as_deref().is_some_and(|skip| is_below(&path, skip)) {
            return;
        }
        let extension = extension(&path);
        if !matches!(extension.as_str(), "jpg" | "jpeg" | "png") {
            *listing.ignored.entry(extension).or_default() += 1;
            return;
        }
        let problem = problem.or_else(|| match size {
            0 => Some("empty file".into()),
            1..=MAX_FILE_BYTES => None,
            _ => Some(format!("file of {} MB; the limit is {} MB", size >> 20, MAX_FILE_BYTES >> 20)),
        });
        let label = share(&mut last_label, path.rsplit('/').nth(1).unwrap_or(&default_label));
        listing.entries.push(Entry { path, label, size, tag, problem });
        found(listing.entries.len() as u64);
    };
    let warnings = match &input.source {
        Source::Directory(root) => walk(root, context, &mut add)?,
        Source::Store(store, prefix) => context.runtime.block_on(async {
            let failed = |e| Error::store(&format!("cannot list {}", input.location), e);
            let mut objects = store.list(Some(prefix));
            while let Some(object) = objects.next().await {
                context.check()?;
                let object = object.map_err(failed)?;
                let Some(rest) = object.location.prefix_match(prefix) else { continue };
                let path = rest.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
                let tag = object.e_tag.unwrap_or_else(|| object.last_modified.timestamp_micros().to_string());
                add(path, object.size, tag, None);
            }
            Ok::<_, Error>(Vec::new())
        })?,
    };
    listing.warnings = warnings;
    // Unstable: no two have the same path, and a stable sort takes half as much memory again.
    listing.entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    if listing.entries.is_empty() {
        let others: u64 = listing.ignored.values().sum();
        return Err(Error::Usage(format!(
            "no image below {}: {}; expected FOLDER/IMAGE.jpg, .jpeg or .png, one folder a label",
            input.location,
            if others == 0 {
                "it is empty".into()
            } else {
                format!("{} ({})", count(others, "other file"), counts(&listing.ignored))
            },
        )));
    }
    if !listing.ignored.is_empty() {
        let n: u64 = listing.ignored.values().sum();
        listing.warnings.push(format!(
            "{} passed over, not .jpg, .jpeg or .png: {}",
            count(n, "file"),
            counts(&listing.ignored)
        ));
    }
    Ok(listing)
}

/// A label, shared with the entry before where that has the same: a folder's images come one after another.
pub(crate) fn share(last: &mut Arc<str>, label: &str) -> Arc<str> {
    if **last != *label {
        *last = Arc::from(label);
    }
    last.clone()
}

/// Walks a directory, through symlinks; returns warnings.
fn walk(
    root: &Path,
    context: &Context,
    add: &mut impl FnMut(String, u64, String, Option<String>),
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for entry in WalkDir::new(root).min_depth(1).follow_links(true) {
        context.check()?;
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
        let name = below.to_string_lossy().into_owned();
        let unspeakable = below.to_str().is_none().then(|| "file name is not UTF-8".to_owned());
        match meta {
            Ok(meta) if meta.is_dir() => {}
            Ok(meta) if meta.is_file() => {
                let tag = format!("{}-{}.{:09}", meta.size(), meta.mtime(), meta.mtime_nsec());
                add(name, meta.size(), tag, unspeakable);
            }
            Ok(_) => add(name, 0, "special".into(), Some("not a regular file".into())),
            Err(_) => add(name, 0, "dangling".into(), Some("symlink to nothing".into())),
        }
    }
    Ok(warnings)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Hidden files and folders are an editor's or a tool's own, never data.
fn hidden(path: &str) -> bool {
    path.split('/').any(|segment| segment.starts_with('.'))
}

fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).unwrap_or_default()
}

fn counts(by_extension: &BTreeMap<String, u64>) -> String {
    let mut counts: Vec<_> = by_extension.iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    let mut parts: Vec<String> = counts
        .iter()
        .take(4)
        .map(|(e, n)| if e.is_empty() { format!("{n} without extension") } else { format!("{n} .{e}") })
        .collect();
    if counts.len() > 4 {
        parts.push("…".into());
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn list_dir(dir: &Path, output: &str) -> Result<Listing> {
        let input = Input::open(&Location::Local(dir.to_owned()))?;
        let runtime = crate::runtime()?;
        let context = Context::new(runtime.handle().clone(), Arc::new(crate::event::JsonLines));
        list(&input, &Location::parse(output)?, &context, |_| {})
    }

    #[test]
    fn labels_names_and_oddities() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        for folder in ["Test/Apple Braeburn", "Café 🍎", ".hidden", "out/results"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in [
            "Test/Apple Braeburn/3_100.jpg",
            "Café 🍎/a\nb.PNG",
            ".hidden/x.jpg",
            "out/results/x.png",
            "root.jpeg",
        ] {
            fs::write(at(file), b"x").unwrap();
        }
        fs::write(at("notes.txt"), b"x").unwrap();
        fs::write(at("Test/empty.jpg"), b"").unwrap();
        std::os::unix::fs::symlink("..", at("Test/loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("Test/dangling.jpg")).unwrap();

        let listing = list_dir(dir.path(), at("out").to_str().unwrap()).unwrap();
        let found: Vec<_> = listing.entries.iter().map(|e| (e.path.as_str(), &*e.label)).collect();
        let root = dir.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(
            found,
            [
                ("Café 🍎/a\nb.PNG", "Café 🍎"),
                ("Test/Apple Braeburn/3_100.jpg", "Apple Braeburn"),
                ("Test/dangling.jpg", "Test"),
                ("Test/empty.jpg", "Test"),
                ("root.jpeg", root),
            ]
        );
        let problems: Vec<_> = listing.entries.iter().filter_map(|e| e.problem.as_deref()).collect();
        assert_eq!(problems, ["symlink to nothing", "empty file"]);
        assert_eq!(listing.warnings.len(), 2, "{:?}", listing.warnings);
        assert!(listing.warnings[0].contains("loop"), "{:?}", listing.warnings);
        assert!(listing.warnings[1].contains("1 .txt"), "{:?}", listing.warnings);
    }

    #[test]
    fn nothing_to_do_is_an_error_that_says_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let message = list_dir(dir.path(), out.to_str().unwrap()).unwrap_err().to_string();
        assert!(message.contains("it is empty"), "{message}");
        fs::write(dir.path().join("a.webp"), b"x").unwrap();
        let message = list_dir(dir.path(), out.to_str().unwrap()).unwrap_err().to_string();
        assert!(message.contains("1 .webp"), "{message}");
        let message = list_dir(dir.path(), dir.path().to_str().unwrap()).unwrap_err().to_string();
        assert!(message.contains("the input itself"), "{message}");
    }
}
