//! The listing as it is kept: images in order, cut into partitions. A partition's key names its content, so
//! that the features of a partition that did not change are found again.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use parquet::file::metadata::KeyValue;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::listing::{Entry, Listing, share};
use crate::parquet_io::Writer;
use crate::storage::Output;
use crate::{hex, layout, parquet_io};

/// The images of a run.
#[derive(Debug, PartialEq)]
pub struct Manifest {
    /// Where they are.
    pub input: String,
    /// All of them, by path.
    pub entries: Vec<Entry>,
    /// Cuts through `entries`.
    pub partitions: Vec<Partition>,
}

/// A run of consecutive images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its place among the partitions.
    pub index: usize,
    /// Its place among the entries.
    pub range: Range<usize>,
    /// Hash of its entries: paths and tags.
    pub key: String,
}

impl Manifest {
    /// Cuts a listing.
    pub fn new(input: String, listing: Listing) -> Self {
        let ranges = listing.partitions();
        Manifest::with_ranges(input, listing.entries, ranges)
    }

    fn with_ranges(input: String, entries: Vec<Entry>, ranges: Vec<Range<usize>>) -> Self {
        let partition = |(index, range): (usize, Range<usize>)| {
            let mut hash = Sha256::new();
            for entry in &entries[range.clone()] {
                for text in [&entry.path, &entry.tag, entry.problem.as_deref().unwrap_or_default()] {
                    hash.update((text.len() as u64).to_le_bytes());
                    hash.update(text.as_bytes());
                }
            }
            Partition { index, range, key: hex(&hash.finalize())[..32].to_owned() }
        };
        let partitions = ranges.into_iter().enumerate().map(partition).collect();
        Manifest { input, entries, partitions }
    }

    /// The images of one partition.
    pub fn entries(&self, partition: usize) -> &[Entry] {
        &self.entries[self.partitions[partition].range.clone()]
    }

    /// Writes it.
    pub fn save(&self, output: &Output) -> Result<()> {
        let schema = Arc::new(Schema::new(vec![
            parquet_io::text("path", false),
            parquet_io::text("label", false),
            Field::new("size", DataType::UInt64, false),
            parquet_io::text("tag", false),
            parquet_io::text("problem", true),
        ]));
        let batch = |partition: &Partition| {
            let entries = &self.entries[partition.range.clone()];
            let column = |get: fn(&Entry) -> &str| StringArray::from_iter_values(entries.iter().map(get));
            RecordBatch::try_new(
                schema.clone(),
                vec![
                    Arc::new(column(|e| &e.path)),
                    Arc::new(column(|e| &e.label)),
                    Arc::new(UInt64Array::from_iter_values(entries.iter().map(|e| e.size))),
                    Arc::new(column(|e| &e.tag)),
                    Arc::new(entries.iter().map(|e| e.problem.as_deref()).collect::<StringArray>()),
                ],
            )
        };
        let write = || {
            let input = KeyValue::new("fruitjob.input".into(), self.input.clone());
            let mut writer = Writer::new(&schema, vec![input])?;
            for partition in &self.partitions {
                writer.write(batch(partition))?;
                writer.end_group()?;
            }
            writer.finish()
        };
        let bytes = write().map_err(|e| Error::Bug(e.to_string()))?;
        output.put(layout::MANIFEST, bytes)
    }

    /// Reads what [`Manifest::save`] wrote.
    pub fn load(output: &Output) -> Result<Self> {
        let bytes =
            output.get(layout::MANIFEST)?.ok_or_else(|| layout::missing(output, layout::MANIFEST, "list"))?;
        let read = || -> parquet::errors::Result<_> {
            let builder = parquet_io::open(bytes)?;
            let input = parquet_io::metadata(&builder, "fruitjob.input").unwrap_or_default().to_owned();
            let mut ranges = Vec::new();
            let mut at = 0;
            for group in builder.metadata().row_groups() {
                let end = at + group.num_rows() as usize;
                ranges.push(at..end);
                at = end;
            }
            let mut entries = Vec::with_capacity(at);
            let mut last_label = Arc::from("");
            for batch in builder.build()? {
                let batch = batch?;
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
            Ok((input, entries, ranges))
        };
        let (input, entries, ranges) = read().map_err(|e| {
            let file = output.path(layout::MANIFEST);
            Error::Failed(format!("{file} is damaged ({e}); run 'fruitjob list' again"))
        })?;
        Ok(Manifest::with_ranges(input, entries, ranges))
    }
}
