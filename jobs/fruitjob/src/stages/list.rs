//! The list stage: finds the images below a place, in the order of their paths, and labels each by its folder or by a
//! table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fruitjob_interface::record::RunRecord;
use fruitjob_interface::{IMAGES, Stage, count, layout, number};

use super::compare;
use super::labels::Labels;
use super::state::Run;
use crate::artifacts::entry::{Entry, share};
use crate::artifacts::manifest::ManifestWriter;
use crate::error::{Error, Result};
use crate::exec::context::Context;
use crate::image::decode;
use crate::storage::{self, Input, ListedObject, Location};
use crate::util::{now, shown};

/// The largest file that is read; a larger one is rejected, so that memory stays bounded.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// What was found besides images, and how.
#[derive(Debug, Default)]
struct Listed {
    /// What a person should know of what was left out.
    pub warnings: Vec<String>,
    /// Whether the images came in the order of their paths. Where they did not, they have to be listed again,
    /// [`Order::Sorted`].
    pub in_order: bool,
    /// Files that are no images that are listed: kinds and numbers, most frequent first.
    pub passed_over: Vec<(String, u64)>,
}

/// How images are put in the order of their paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// They are found in it, and none is held in memory. Object stores list so, but for the odd one; directories
    /// are walked so, but for names that are not UTF-8.
    Found,
    /// They are sorted, in memory.
    Sorted,
}

/// Begins the record, and writes the manifest.
pub(crate) fn run(run: &mut Run) -> Result<String> {
    let input = run.input()?;
    run.record = RunRecord {
        format: 1,
        version: env!("CARGO_PKG_VERSION").into(),
        started: now(),
        input: input.location().to_string(),
        output: run.job.output.to_string(),
        threads: run.slots(),
        ..Default::default()
    };
    for name in run.output.list(layout::STAGING)? {
        run.output.delete(&name)?;
    }
    run.begin(Stage::List, None, "images");
    let mut labels = read_labels(run)?;
    let mut listed = write_manifest(run, &input, Order::Found, labels.as_mut())?;
    if !listed.in_order {
        labels.iter_mut().for_each(Labels::again);
        listed = write_manifest(run, &input, Order::Sorted, labels.as_mut())?;
    }
    run.record.passed_over = listed.passed_over;
    listed.warnings.into_iter().for_each(|warning| run.warn(warning));
    let manifest = run.reload_manifest()?;
    let changes = compare::listed(&run.output, &manifest);
    run.record.changes = run.or_warn(changes)?.flatten();
    let images = &run.record.images;
    Ok(format!(
        "{} of {}, {:.1} MB, in {}",
        count(images.listed, "image"),
        count(images.labels, "label"),
        images.listed_bytes as f64 / 1e6,
        count(manifest.partitions.len() as u64, "partition")
    ))
}

/// The table of labels, where one is named.
fn read_labels(run: &mut Run) -> Result<Option<Labels>> {
    let Some(location) = run.job.labels.clone() else { return Ok(None) };
    let bytes = storage::read(&location, &run.context.runtime)?;
    run.record.labels_from = Some(location.to_string());
    Labels::parse(&location.to_string(), bytes).map(Some)
}

/// Writes the manifest, if the images come in order, and counts them.
fn write_manifest(
    run: &mut Run,
    input: &Input,
    order: Order,
    mut labels: Option<&mut Labels>,
) -> Result<Listed> {
    let mut manifest = ManifestWriter::new(&run.output, &run.record.input)?;
    let mut different = BTreeSet::new();
    let (mut images, mut bytes) = (0, 0);
    let add = |entry: Entry| {
        (images, bytes) = (images + 1, bytes + entry.size);
        if !different.contains(&entry.label) {
            different.insert(entry.label.clone());
        }
        run.counters.at(images);
        manifest.add(entry)
    };
    let listed = list(input, &run.job.output, &run.context, order, labels.as_deref_mut(), add);
    // A table that labels nothing is a mistake, and no listing is to be left of it.
    let listed = listed.and_then(|mut listed| {
        if let Some(labels) = labels.filter(|_| listed.in_order) {
            listed.warnings.extend(labels.finish()?);
        }
        Ok(listed)
    });
    match &listed {
        Ok(listed) if listed.in_order => manifest.finish()?,
        // Cut short, it must not be taken for a listing.
        _ => manifest.abandon(),
    };
    let listed = listed?;
    let counts = &mut run.record.images;
    (counts.listed, counts.labels, counts.listed_bytes) = (images, different.len() as u64, bytes);
    Ok(listed)
}

/// Lists the images below `input`, but for what lies below `output`: results of an earlier run are no input. Each
/// is given to `add` in turn.
///
/// # Errors
/// [`Error::Usage`] when there is no image, or when `output` is the input itself;
/// [`Error::Failed`] or [`Error::Denied`] when a folder cannot be listed: its images would be missed in
/// silence.
fn list(
    input: &Input,
    output: &Location,
    context: &Context,
    order: Order,
    mut labels: Option<&mut Labels>,
    mut add: impl FnMut(Entry) -> Result<()>,
) -> Result<Listed> {
    let skip = output.below(input.location());
    if skip.as_deref() == Some("") {
        return Err(Error::Usage(format!(
            "the output {output} is the input itself; name another place for the results"
        )));
    }
    let default_label = input.location().name();
    let mut last_label = Arc::from("");
    let mut last_path = String::new();
    let mut ignored = BTreeMap::<String, u64>::new();
    let mut sorted = Vec::new();
    let mut images = 0u64;
    let mut in_order = true;
    let mut found = |ListedObject { path, size, tag, problem, head, is_unknown }: ListedObject| {
        context.check()?;
        if skip.as_deref().is_some_and(|skip| is_below(&path, skip)) {
            return Ok(());
        }
        if let Some(kind) = passed_over(&path, head.as_deref()).filter(|_| !is_unknown) {
            if !kind.is_empty() {
                *ignored.entry(kind).or_default() += 1;
            }
            return Ok(());
        }
        let problem = problem.or_else(|| match size {
            0 => Some("empty file".into()),
            1..=MAX_FILE_BYTES => None,
            _ => Some(format!("file of {} MB; the limit is {} MB", size >> 20, MAX_FILE_BYTES >> 20)),
        });
        images += 1;
        let own = labels.as_mut().map(|labels| labels.label(&path)).transpose()?.flatten();
        let label = own.unwrap_or_else(|| share(&mut last_label, folder(&path).unwrap_or(&default_label)));
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
    let mut warnings = input.list(&context.runtime, asks_for_head, &mut found)?;
    // Unstable: no two have the same path, and a stable sort takes half as much memory again.
    sorted.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    sorted.into_iter().try_for_each(add)?;
    let others: u64 = ignored.values().sum();
    let ignored = by_frequency(ignored);
    if images == 0 {
        return Err(Error::Usage(format!(
            "no image below {}: {}; expected FOLDER/IMAGE.jpg, .png, .webp, …, one folder a label",
            input.location(),
            if others == 0 {
                "it is empty".into()
            } else {
                format!("{} ({})", count(others, "other file"), counts(&ignored))
            },
        )));
    }
    if others > 0 {
        let others = count(others, "file");
        let pictures = ignored.iter().any(|(kind, _)| UNREADABLE.contains(&kind.trim_start_matches('.')));
        let convert =
            if pictures { "; HEIC, AVIF and the like have to be converted to JPEG or PNG" } else { "" };
        warnings.push(format!("{others} passed over: {}{convert}", counts(&ignored)));
    }
    Ok(Listed { warnings, in_order, passed_over: ignored })
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Hidden files and folders are an editor's or a tool's own, never data.
fn hidden(path: &str) -> bool {
    path.split('/').any(|segment| segment.starts_with('.') && !matches!(segment, "." | ".."))
}

/// The name of the folder that holds an image; `None` where it lies in none that has a name.
fn folder(path: &str) -> Option<&str> {
    path.rsplit('/').nth(1).filter(|name| !name.is_empty())
}

fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).unwrap_or_default()
}

/// Endings of pictures that cannot be read.
const UNREADABLE: [&str; 8] = ["heic", "heif", "hif", "avif", "jxl", "jp2", "dng", "psd"];

/// Whether a name says so little that the first bytes have to.
fn asks_for_head(path: &str) -> bool {
    extension(path).is_empty() && !hidden(path)
}

/// The kind of a file that is no image to be listed; `None` for one that is. Empty for what is not worth counting.
fn passed_over(path: &str, head: Option<&[u8]>) -> Option<String> {
    let extension = extension(path);
    let is_image = IMAGES.contains(&extension.as_str());
    match () {
        // An editor's or a tool's own: only what looks like a picture may be missed.
        () if hidden(path) => Some(if is_image { "hidden".into() } else { String::new() }),
        () if is_image => None,
        () if extension.is_empty() && head.is_some_and(decode::is_image) => None,
        () if extension.is_empty() => Some("without extension".into()),
        () => Some(shown(&format!(".{extension}")).chars().take(20).collect()),
    }
}

/// Kinds and their numbers, most frequent first; those that are as frequent in the order of their names. Beyond a few
/// they are one: names that end in numbers have endings without end.
fn by_frequency(counts: BTreeMap<String, u64>) -> Vec<(String, u64)> {
    const KINDS: usize = 50;
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    if counts.len() > KINDS {
        let rest = counts.split_off(KINDS - 1).iter().map(|(_, n)| n).sum();
        counts.push(("others".into(), rest));
    }
    counts
}

fn counts(kinds: &[(String, u64)]) -> String {
    let mut parts: Vec<String> =
        kinds.iter().take(4).map(|(kind, n)| format!("{} {kind}", number(*n))).collect();
    if kinds.len() > 4 {
        parts.push("…".into());
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn list_dir(dir: &Path, output: &str, order: Order) -> Result<(Vec<Entry>, Listed)> {
        let input = Input::open(&Location::Local(dir.to_owned()))?;
        let runtime = crate::util::runtime()?;
        let context = Context::new(runtime.handle().clone(), Arc::new(fruitjob_interface::event::JsonLines));
        let mut entries = Vec::new();
        let add = |entry| {
            entries.push(entry);
            Ok(())
        };
        let listed = list(&input, &Location::parse(output)?, &context, order, None, add)?;
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
        fs::write(dir.path().join("a.heic"), b"x").unwrap();
        let message = list_dir(dir.path(), out.to_str().unwrap(), Order::Found).unwrap_err().to_string();
        assert!(message.contains("1 .heic"), "{message}");
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

    #[test]
    fn hidden_files_and_what_lies_below_the_output_are_told_from_their_neighbours() {
        assert!(hidden(".git/a.jpg") && hidden("a/.thumbs/b.jpg") && hidden("a/._b.jpg"));
        assert!(!hidden("a.b/c.jpg") && !hidden("a/b..jpg"));
        assert!(is_below("out/a.jpg", "out") && is_below("out/deep/a.jpg", "out"));
        assert!(!is_below("out.jpg", "out") && !is_below("outer/a.jpg", "out") && !is_below("out", "out"));
    }

    #[test]
    fn an_extension_is_that_of_the_name_in_lower_case() {
        let cases = [("a/b.JPG", "jpg"), ("a.b/c", ""), ("a.tar.Gz", "gz"), ("a.", ""), ("Ä.PNG", "png")];
        for (path, want) in cases {
            assert_eq!(extension(path), want, "{path}");
        }
    }

    #[test]
    fn what_was_passed_over_is_told_most_frequent_first() {
        let files = [(".txt", 2), ("without extension", 9), (".heic", 5), (".avif", 5), (".csv", 1)];
        let counted = by_frequency(files.map(|(e, n)| (e.to_owned(), n)).into());
        assert_eq!(counts(&counted), "9 without extension, 5 .avif, 5 .heic, 2 .txt, …");
        assert_eq!(counts(&[(".txt".to_owned(), 1)]), "1 .txt");
        let many = by_frequency((0..1000).map(|i| (format!(".{i:03}"), 1)).collect());
        assert_eq!((many.len(), many[49].clone()), (50, ("others".into(), 951)));
    }

    #[test]
    fn files_are_told_by_their_endings_and_without_one_by_their_first_bytes() {
        for name in ["a.jpe", "a.JFIF", "a.webp", "a.gif", "a.bmp", "a.tif", "a.TIFF", "a/b.png"] {
            assert_eq!(passed_over(name, None), None, "{name}");
        }
        let kind = |name, head| passed_over(name, head).unwrap();
        assert_eq!(kind("a.heic", None), ".heic");
        assert_eq!(kind("a.x\n\u{1b}[31m", None), ".x\\n\\u001b[31m");
        assert_eq!(kind(".thumbs/a.jpg", None), "hidden");
        assert_eq!(kind(".git/config", None), "");
        assert_eq!(kind("README", Some(&b"# Fruit"[..])), "without extension");
        assert_eq!(passed_over("a/0f3c", Some(b"\xFF\xD8\xFF\xE0")), None);
        assert!(asks_for_head("a/0f3c") && !asks_for_head("a.b/c.txt") && !asks_for_head(".git/HEAD"));
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        for (name, size) in [("largest.jpg", MAX_FILE_BYTES), ("larger.jpg", MAX_FILE_BYTES + 1)] {
            // Sparse: it takes no space.
            fs::File::create(dir.path().join(name)).unwrap().set_len(size).unwrap();
        }
        let (entries, _) = list_dir(dir.path(), "/nowhere", Order::Found).unwrap();
        let problems: Vec<_> = entries.iter().map(|e| (e.path.as_str(), e.problem.as_deref())).collect();
        assert_eq!(
            problems,
            [("larger.jpg", Some("file of 64 MB; the limit is 64 MB")), ("largest.jpg", None)]
        );
    }
}
