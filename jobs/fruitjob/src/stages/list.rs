//! The list stage: finds the images below a place, in the order of their paths, and labels each by its folder.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use walkdir::{DirEntry, WalkDir};

use crate::count;
use crate::error::{Error, Result};
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

/// What was found besides images, and how.
#[derive(Debug, Default)]
pub struct Listed {
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Whether the images came in the order of their paths. Where they did not, they have to be listed again,
    /// [`Order::Sorted`].
    pub in_order: bool,
}

/// How images are put in the order of their paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// They are found in it, and none is held in memory. Object stores list so, but for the odd one; directories
    /// are walked so, but for names that are not UTF-8.
    Found,
    /// They are sorted, in memory.
    Sorted,
}

/// Lists the images below `input`, but for what lies below `output`: results of an earlier run are no input. Each
/// is given to `add` in turn.
///
/// # Errors
/// [`Error::Usage`] when there is no image, or when `output` is the input itself;
/// [`Error::Failed`] or [`Error::Denied`] when a folder cannot be listed: its images would be missed in
/// silence.
pub fn list(
    input: &Input,
    output: &Location,
    context: &Context,
    order: Order,
    mut add: impl FnMut(Entry) -> Result<()>,
) -> Result<Listed> {
    let skip = output.below(&input.location);
    if skip.as_deref() == Some("") {
        return Err(Error::Usage(format!(
            "the output {output} is the input itself; name another place for the results"
        )));
    }
    let default_label = input.location.name();
    let mut last_label = Arc::from("");
    let mut last_path = String::new();
    let mut ignored = BTreeMap::<String, u64>::new();
    let mut sorted = Vec::new();
    let mut images = 0u64;
    let mut in_order = true;
    let mut found = |Found { path, size, tag, problem }: Found| {
        context.check()?;
        if hidden(&path) || skip.as_deref().is_some_and(|skip| is_below(&path, skip)) {
            return Ok(());
        }
        let extension = extension(&path);
        if !matches!(extension.as_str(), "jpg" | "jpeg" | "png") {
            *ignored.entry(extension).or_default() += 1;
            return Ok(());
        }
        let problem = problem.or_else(|| match size {
            0 => Some("empty file".into()),
            1..=MAX_FILE_BYTES => None,
            _ => Some(format!("file of {} MB; the limit is {} MB", size >> 20, MAX_FILE_BYTES >> 20)),
        });
        images += 1;
        let label = share(&mut last_label, path.rsplit('/').nth(1).unwrap_or(&default_label));
        match order {
            Order::Found => {
                in_order &= last_path < path;
                last_path.clone_from(&path);
                add(Entry { path, label, size, tag, problem })
            }
            Order::Sorted => {
                sorted.push(Entry { path, label, size, tag, problem });
                Ok(())
            }
        }
    };
    let mut warnings = match &input.source {
        Source::Directory(root) => walk(root, &mut found)?,
        Source::Store(..) => {
            for object in input.objects(&context.runtime) {
                found(object?)?;
            }
            Vec::new()
        }
    };
    // Unstable: no two have the same path, and a stable sort takes half as much memory again.
    sorted.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    sorted.into_iter().try_for_each(add)?;
    let others: u64 = ignored.values().sum();
    if images == 0 {
        return Err(Error::Usage(format!(
            "no image below {}: {}; expected FOLDER/IMAGE.jpg, .jpeg or .png, one folder a label",
            input.location,
            if others == 0 {
                "it is empty".into()
            } else {
                format!("{} ({})", count(others, "other file"), counts(&ignored))
            },
        )));
    }
    if others > 0 {
        let others = count(others, "file");
        warnings.push(format!("{others} passed over, not .jpg, .jpeg or .png: {}", counts(&ignored)));
    }
    Ok(Listed { warnings, in_order })
}

/// A file, image or not.
pub(crate) struct Found {
    /// See [`Entry`], as for the rest.
    pub path: String,
    pub size: u64,
    pub tag: String,
    pub problem: Option<String>,
}

/// A label, shared with the entry before where that has the same: a folder's images come one after another.
pub(crate) fn share(last: &mut Arc<str>, label: &str) -> Arc<str> {
    if **last != *label {
        *last = Arc::from(label);
    }
    last.clone()
}

/// Walks a directory, through symlinks, in the order of the paths; returns warnings.
fn walk(root: &Path, found: &mut impl FnMut(Found) -> Result<()>) -> Result<Vec<String>> {
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
        let path = below.to_string_lossy().into_owned();
        match meta {
            Ok(meta) if meta.is_dir() => {}
            Ok(meta) if meta.is_file() => {
                let tag = format!("{}-{}.{:09}", meta.size(), meta.mtime(), meta.mtime_nsec());
                found(Found { path, size: meta.size(), tag, problem: unspeakable })?;
            }
            Ok(_) => found(odd(path, "special", "not a regular file"))?,
            Err(_) => found(odd(path, "dangling", "symlink to nothing"))?,
        }
    }
    Ok(warnings)
}

fn odd(path: String, tag: &str, problem: &str) -> Found {
    Found { path, size: 0, tag: tag.into(), problem: Some(problem.into()) }
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

    fn list_dir(dir: &Path, output: &str, order: Order) -> Result<(Vec<Entry>, Listed)> {
        let input = Input::open(&Location::Local(dir.to_owned()))?;
        let runtime = crate::runtime()?;
        let context = Context::new(runtime.handle().clone(), Arc::new(crate::event::JsonLines));
        let mut entries = Vec::new();
        let add = |entry| {
            entries.push(entry);
            Ok(())
        };
        let listed = list(&input, &Location::parse(output)?, &context, order, add)?;
        Ok((entries, listed))
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

        let (entries, listing) = list_dir(dir.path(), at("out").to_str().unwrap(), Order::Found).unwrap();
        let found: Vec<_> = entries.iter().map(|e| (e.path.as_str(), &*e.label)).collect();
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
        let problems: Vec<_> = entries.iter().filter_map(|e| e.problem.as_deref()).collect();
        assert_eq!(problems, ["symlink to nothing", "empty file"]);
        assert_eq!(listing.warnings.len(), 2, "{:?}", listing.warnings);
        assert!(listing.warnings[0].contains("loop"), "{:?}", listing.warnings);
        assert!(listing.warnings[1].contains("1 .txt"), "{:?}", listing.warnings);
    }

    #[test]
    fn nothing_to_do_is_an_error_that_says_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let message = list_dir(dir.path(), out.to_str().unwrap(), Order::Found).unwrap_err().to_string();
        assert!(message.contains("it is empty"), "{message}");
        fs::write(dir.path().join("a.webp"), b"x").unwrap();
        let message = list_dir(dir.path(), out.to_str().unwrap(), Order::Found).unwrap_err().to_string();
        assert!(message.contains("1 .webp"), "{message}");
        let message =
            list_dir(dir.path(), dir.path().to_str().unwrap(), Order::Found).unwrap_err().to_string();
        assert!(message.contains("the input itself"), "{message}");
    }

    #[test]
    fn a_directory_is_walked_in_the_order_of_its_paths() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        for file in
            ["a/x.jpg", "a.jpg", "a b/x.jpg", "a/b/x.jpg", "a/b.jpg", "a0.jpg", "A.jpg", "é/é.jpg", "z.jpg"]
        {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        let list = |order| list_dir(dir.path(), "/nowhere", order).unwrap();
        let (entries, listing) = list(Order::Found);
        assert!(listing.in_order && entries.is_sorted_by(|a, b| a.path < b.path), "{entries:?}");
        assert_eq!(entries, list(Order::Sorted).0);

        // A byte that is no UTF-8 is found elsewhere than where what stands for it belongs.
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xc4.jpg")), b"x").unwrap();
        fs::write(dir.path().join("ア.jpg"), b"x").unwrap();
        assert!(!list(Order::Found).1.in_order);
        assert!(list(Order::Sorted).0.is_sorted_by(|a, b| a.path < b.path));
    }
}
