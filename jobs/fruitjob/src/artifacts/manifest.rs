//! The manifest: the listing as it is kept. Images in the order of their paths, cut into partitions; a Parquet file with
//! one row group per partition. Only the cuts are held in memory, and the partitions at work: a hundred million images must
//! fit too. A partition's key names its content, so that the features of a partition that did not change are found
//! again.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use fruitjob_interface::{hex, layout};
use sha2::{Digest, Sha256};

use super::entry::{Entry, share};
use super::partition::{Cutter, MANY, target_len};
use crate::error::{Error, Result};
use crate::storage::parquet::{self, Footer, Span, Writer};
use crate::storage::{Object, Output, Upload};
use crate::util::caught;

/// The listing of a run: which images there are, and which partitions they are cut into.
pub struct Manifest {
    /// The input, as it was named.
    pub input: String,
    /// Images of all partitions together.
    pub images: u64,
    /// Runs of consecutive images, in order.
    pub partitions: Vec<Partition>,
    object: Object,
    footer: Footer,
}

/// A run of consecutive images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Number of images.
    pub images: u64,
    /// Their sizes together, in bytes.
    pub bytes: u64,
    /// Hash of its entries (paths, tags and problems), 32 hexadecimal digits.
    pub key: String,
}

impl Partition {
    /// Reads `KEY:BYTES`, beside the number of rows.
    fn parse(rows: i64, text: &str) -> Option<Self> {
        let (key, bytes) = text.split_once(':')?;
        Some(Partition { images: rows.try_into().ok()?, bytes: bytes.parse().ok()?, key: key.to_owned() })
    }
}

/// Keys of the footer.
const INPUT: &str = "fruitjob.input";
/// `KEY:BYTES` a partition, separated by spaces.
const KEYS: &str = "fruitjob.partitions";

impl Manifest {
    /// Opens what [`ManifestWriter`] wrote.
    pub fn load(output: &Output) -> Result<Self> {
        Manifest::open(output, layout::MANIFEST)?.ok_or_else(|| output.missing(layout::MANIFEST, "list"))
    }

    /// The same, of a copy; `None` where there is none.
    pub(crate) fn open(output: &Output, name: &str) -> Result<Option<Self>> {
        let Some(object) = output.open_object(name)? else { return Ok(None) };
        let footer = caught(|| parquet::footer(&object)).map_err(|why| damaged(&object, &why))??;
        let footer = footer.map_err(|e| damaged(&object, &e))?;
        let text = |key| parquet::metadata(footer.metadata(), key).unwrap_or_default().to_owned();
        let (input, keys) = (text(INPUT), text(KEYS));
        let groups = footer.metadata().row_groups();
        let keys: Vec<&str> = keys.split_terminator(' ').collect();
        if keys.len() != groups.len() {
            return Err(damaged(&object, &format!("{} keys of {} partitions", keys.len(), groups.len())));
        }
        let partitions: Option<Vec<Partition>> =
            groups.iter().zip(keys).map(|(group, key)| Partition::parse(group.num_rows(), key)).collect();
        let partitions = partitions.ok_or_else(|| damaged(&object, &"no keys of partitions"))?;
        let images = partitions.iter().try_fold(0u64, |sum, p| sum.checked_add(p.images));
        let images = images.ok_or_else(|| damaged(&object, &"more images than there can be"))?;
        Ok(Some(Manifest { input, images, partitions, object, footer }))
    }

    /// The images of one partition, read.
    pub fn entries(&self, partition: usize) -> Result<Vec<Entry>> {
        caught(|| self.read(partition)).unwrap_or_else(|why| Err(damaged(&self.object, &why)))
    }

    fn read(&self, partition: usize) -> Result<Vec<Entry>> {
        let batches = parquet::row_group(&self.object, &self.footer, partition)?;
        let mut entries = Vec::new();
        let mut last_label = Arc::from("");
        for batch in batches.map_err(|e| damaged(&self.object, &e))? {
            let text = |column: usize| batch.column(column).as_string::<i32>();
            let (path, label, tag, problem) = (text(0), text(1), text(3), text(4));
            let size = batch.column(2).as_primitive::<UInt64Type>();
            entries.extend((0..batch.num_rows()).map(|row| Entry {
                path: path.value(row).into(),
                label: share(&mut last_label, label.value(row)),
                size: size.value(row),
                tag: tag.value(row).into(),
                problem: problem.is_valid(row).then(|| problem.value(row).into()),
            }));
        }
        Ok(entries)
    }

    /// A path that no path of the partition comes before, and one that none comes after, as bytes; `None` when the
    /// file does not say.
    pub(crate) fn span(&self, partition: usize) -> Option<Span> {
        parquet::span(self.footer.metadata(), partition)
    }
}

fn damaged(object: &Object, why: &dyn std::fmt::Display) -> Error {
    Error::Failed(format!("{object} is damaged ({why}); run 'fruitjob list' again"))
}

/// Writes the images of a listing as they come.
pub struct ManifestWriter {
    upload: Upload,
    writer: Writer,
    schema: Arc<Schema>,
    keys: String,
    /// The first images of all, until the length of partitions is known, then those of the present one.
    held: Vec<Entry>,
    cutter: Option<Cutter>,
}

impl ManifestWriter {
    /// Begins the manifest of the images at `input`.
    pub fn new(output: &Output, input: &str) -> Result<Self> {
        let schema = Arc::new(Schema::new(vec![
            parquet::text("path", false),
            parquet::text("label", false),
            Field::new("size", DataType::UInt64, false),
            parquet::text("tag", false),
            parquet::text("problem", true),
        ]));
        let mut writer = Writer::new(&schema, Vec::new()).map_err(|e| Error::Bug(e.to_string()))?;
        writer.add_metadata(INPUT, input.to_owned());
        let upload = output.writer(layout::MANIFEST);
        Ok(ManifestWriter { upload, writer, schema, keys: String::new(), held: Vec::new(), cutter: None })
    }

    /// Adds the next image.
    pub fn add(&mut self, entry: Entry) -> Result<()> {
        match &mut self.cutter {
            None => {
                self.held.push(entry);
                if self.held.len() == MANY {
                    self.cut_held()?;
                }
                Ok(())
            }
            Some(cutter) => {
                let ends = cutter.ends_after(&entry.path);
                self.held.push(entry);
                if ends { self.end_partition() } else { Ok(()) }
            }
        }
    }

    /// Writes the rest: from now on it is the manifest.
    pub fn finish(mut self) -> Result<()> {
        if self.cutter.is_none() {
            self.cut_held()?;
        }
        if !self.held.is_empty() {
            self.end_partition()?;
        }
        self.writer.add_metadata(KEYS, self.keys);
        let rest = self.writer.finish().map_err(|e| Error::Bug(e.to_string()))?;
        self.upload.write(rest.into())?;
        self.upload.finish()
    }

    /// Leaves nothing of it, and the manifest that was there before.
    pub fn abandon(self) {
        self.upload.abandon();
    }

    /// Chooses the length of partitions, and cuts what has been held until now.
    fn cut_held(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        self.cutter = Some(Cutter::new(target_len(held.len())));
        held.into_iter().try_for_each(|entry| self.add(entry))
    }

    fn end_partition(&mut self) -> Result<()> {
        let entries = std::mem::take(&mut self.held);
        let mut hash = Sha256::new();
        for entry in &entries {
            for text in [&entry.path, &entry.tag, entry.problem.as_deref().unwrap_or_default()] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
        }
        let bytes: u64 = entries.iter().map(|e| e.size).sum();
        self.keys += &format!("{}:{bytes} ", &hex(&hash.finalize())[..32]);
        let batch = self.batch(&entries);
        self.writer
            .write(batch)
            .and_then(|()| self.writer.end_group())
            .map_err(|e| Error::Bug(e.to_string()))?;
        self.upload.write(self.writer.take())
    }

    fn batch(&self, entries: &[Entry]) -> Result<RecordBatch, ArrowError> {
        let column = |get: fn(&Entry) -> &str| StringArray::from_iter_values(entries.iter().map(get));
        RecordBatch::try_new(
            self.schema.clone(),
            vec![
                Arc::new(column(|e| &e.path)),
                Arc::new(column(|e| &e.label)),
                Arc::new(UInt64Array::from_iter_values(entries.iter().map(|e| e.size))),
                Arc::new(column(|e| &e.tag)),
                Arc::new(entries.iter().map(|e| e.problem.as_deref()).collect::<StringArray>()),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Location;
    use crate::storage::testing::Scratch;

    fn entry(i: usize) -> Entry {
        let problem = i.is_multiple_of(1000).then(|| "empty file".to_owned());
        let label = Arc::from(format!("Apple {}", i / 100));
        Entry { path: format!("{label}/{i:07}.jpg"), label, size: i as u64, tag: format!("\"{i}\""), problem }
    }

    #[test]
    fn every_partition_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = crate::util::runtime().unwrap();
        let output = Output::open(&Location::Local(dir.path().to_owned()), runtime.handle().clone()).unwrap();
        for n in [1, 100, MANY - 1, MANY, 3 * MANY + 1] {
            let entries: Vec<Entry> = {
                let mut all: Vec<Entry> = (0..n).map(entry).collect();
                all.sort_by(|a, b| a.path.cmp(&b.path));
                all
            };
            let mut writer = ManifestWriter::new(&output, "s3://fruits").unwrap();
            entries.iter().cloned().for_each(|e| writer.add(e).unwrap());
            writer.finish().unwrap();
            let mut unfinished = ManifestWriter::new(&output, "s3://other").unwrap();
            unfinished.add(entry(0)).unwrap();
            unfinished.abandon();
            let manifest = Manifest::load(&output).unwrap();
            assert_eq!(manifest.images, n as u64);
            assert_eq!(manifest.input, "s3://fruits");
            let mut read = Vec::new();
            for i in 0..manifest.partitions.len() {
                let part = manifest.entries(i).unwrap();
                let (first, last) = manifest.span(i).unwrap();
                assert!(first.as_slice() <= part[0].path.as_bytes());
                assert!(last.as_slice() >= part.last().unwrap().path.as_bytes());
                read.extend(part);
            }
            assert_eq!(read, entries);
        }
    }

    fn keys(entries: &[Entry]) -> Vec<Partition> {
        let scratch = Scratch::new();
        let mut writer = ManifestWriter::new(&scratch.output, "s3://fruits").unwrap();
        entries.iter().cloned().for_each(|e| writer.add(e).unwrap());
        writer.finish().unwrap();
        Manifest::load(&scratch.output).unwrap().partitions
    }

    #[test]
    fn a_partition_s_key_is_that_of_its_paths_tags_and_problems() {
        let entries: Vec<Entry> = (1..20).map(entry).collect();
        let before = keys(&entries);
        assert_eq!(before, keys(&entries));
        let changed = |change: fn(&mut Entry)| {
            let mut entries = entries.clone();
            change(&mut entries[7]);
            keys(&entries)[0].key != before[0].key
        };
        assert!(changed(|e| e.path.push('x')) && changed(|e| e.tag.push('x')));
        assert!(changed(|e| e.problem = Some("empty file".into())));
        assert!(!changed(|e| e.label = "Pear".into()) && !changed(|e| e.size += 1));
        // What ends one text does not begin the next.
        let moved = |path: &str, tag: &str| keys(&[Entry { path: path.into(), tag: tag.into(), ..entry(1) }]);
        assert_ne!(moved("a", "bc")[0].key, moved("ab", "c")[0].key);
    }

    #[test]
    fn keys_are_read_beside_the_number_of_rows() {
        let partition = Partition { images: 3, bytes: 12, key: "ab".into() };
        assert_eq!(Partition::parse(3, "ab:12"), Some(partition));
        for (rows, text) in [(3, "ab"), (3, "ab:"), (3, "ab:-1"), (3, "ab:x"), (-1, "ab:12")] {
            assert_eq!(Partition::parse(rows, text), None, "{rows} {text}");
        }
    }

    #[test]
    fn a_manifest_that_is_missing_or_damaged_sends_to_the_list_stage() {
        let scratch = Scratch::new();
        let missing = Manifest::load(&scratch.output).err().unwrap();
        assert!(
            matches!(missing, Error::Usage(_)) && missing.to_string().contains("'fruitjob list'"),
            "{missing}"
        );
        for bytes in [&b""[..], b"PAR1", b"no Parquet at all, and longer than a footer"] {
            scratch.output.put(layout::MANIFEST, bytes.to_vec()).unwrap();
            let error = Manifest::load(&scratch.output).err().unwrap();
            let text = error.to_string();
            assert!(matches!(error, Error::Failed(_)) && text.contains("'fruitjob list' again"), "{text}");
            assert!(!bytes.is_empty() || text.contains("the file is empty"), "{text}");
        }
    }
}
