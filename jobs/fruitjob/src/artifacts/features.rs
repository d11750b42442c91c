//! Features of one partition as they are kept: a Parquet file with a row per image.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array, BooleanArray, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use bytes::Bytes;
use fruitjob_interface::layout;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::storage::Output;
use crate::storage::parquet::{self, Span, Writer};
use crate::util::caught;

/// What is known of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// See [`Entry::path`](super::entry::Entry::path).
    pub path: String,
    /// See [`Entry::tag`](super::entry::Entry::tag): what it was when the image was read.
    pub tag: String,
    /// Its features, or why it has none.
    pub outcome: Result<Vec<f32>, Reject>,
}

/// Why an image has no features.
#[derive(Debug, Clone, PartialEq)]
pub struct Reject {
    /// In a few words.
    pub reason: String,
    /// It could not be read: another run may have more luck. Bad content is bad for good.
    pub retry: bool,
}

/// Counts of a part, kept in its footer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Rows: images with features, and images without.
    pub rows: u64,
    /// Of these, without features.
    pub rejected: u64,
    /// Of those, worth another try.
    pub retry: u64,
}

impl Summary {
    /// Counts rows.
    pub fn of(rows: &[Row]) -> Self {
        let rejects = || rows.iter().filter_map(|r| r.outcome.as_ref().err());
        Summary {
            rows: rows.len() as u64,
            rejected: rejects().count() as u64,
            retry: rejects().filter(|r| r.retry).count() as u64,
        }
    }
}

const SUMMARY: &str = "fruitjob.summary";

/// Keeps a partition's features.
pub fn save(output: &Output, model_key: &str, partition_key: &str, rows: &[Row]) -> Result<()> {
    let bytes = encode(rows).map_err(|e| Error::Bug(e.to_string()))?;
    output.put(&layout::features(model_key, partition_key), bytes)
}

/// The counts of a partition, when its features are kept and whole.
pub fn summary(output: &Output, model_key: &str, partition_key: &str) -> Result<Option<Summary>> {
    let Some(bytes) = output.get(&layout::features(model_key, partition_key))? else { return Ok(None) };
    let Ok(Ok(part)) = caught(|| parquet::open(bytes)) else { return Ok(None) };
    Ok(parquet::metadata(part.metadata(), SUMMARY).and_then(|text| serde_json::from_str(text).ok()))
}

/// Keys of all partitions of which a model's features are kept, also of earlier listings.
pub fn keys(output: &Output, model_key: &str) -> Result<Vec<String>> {
    let names = output.list(&layout::features_dir(model_key))?;
    let key = |name: &String| Some(name.rsplit('/').next()?.strip_suffix(".parquet")?.to_owned());
    Ok(names.iter().filter_map(key).collect())
}

/// Bounds of a partition's paths, as far as the file says; `None` when there is no file, or it is damaged.
pub(crate) fn span(output: &Output, model_key: &str, partition_key: &str) -> Result<Option<Option<Span>>> {
    let Some(bytes) = output.get(&layout::features(model_key, partition_key))? else { return Ok(None) };
    let Ok(Ok(part)) = caught(|| parquet::open(bytes)) else { return Ok(None) };
    Ok(Some(parquet::span(part.metadata(), 0)))
}

/// Deletes a model's features of partitions that are not among `used`: a later listing would not find them of use.
pub(crate) fn delete_unused(output: &Output, model_key: &str, used: &HashSet<&str>) -> Result<()> {
    for name in output.list(&layout::features_dir(model_key))? {
        let key = name.rsplit('/').next().and_then(|file| file.split('.').next()).unwrap_or_default();
        if !used.contains(key) {
            output.delete(&name)?;
        }
    }
    Ok(())
}

/// What is known of a partition's images.
///
/// # Errors
/// [`Error::Usage`] when they were not computed, [`Error::Failed`] when the file is damaged.
pub fn load(output: &Output, model_key: &str, partition_key: &str) -> Result<Vec<Row>> {
    read(output, model_key, partition_key, decode)
}

/// The features of a partition's images that have some, one after another, and nothing else of them.
///
/// # Errors
/// As [`load`].
pub fn load_vectors(output: &Output, model_key: &str, partition_key: &str) -> Result<Vec<f32>> {
    read(output, model_key, partition_key, decode_vectors)
}

fn read<T>(
    output: &Output,
    model_key: &str,
    partition_key: &str,
    decode: fn(Bytes) -> parquet::Result<T>,
) -> Result<T> {
    let name = layout::features(model_key, partition_key);
    let bytes = output.get(&name)?.ok_or_else(|| output.missing(&name, "featurize"))?;
    caught(|| decode(bytes).map_err(|e| e.to_string())).unwrap_or_else(Err).map_err(|why| {
        Error::Failed(format!("{} is damaged ({why}); delete it and run again", output.path(&name)))
    })
}

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        parquet::text("path", false),
        parquet::text("tag", false),
        parquet::text("reason", true),
        Field::new("retry", DataType::Boolean, false),
        parquet::floats("features", true),
    ]))
}

fn encode(rows: &[Row]) -> parquet::Result<Vec<u8>> {
    let summary = serde_json::to_string(&Summary::of(rows)).expect("plain data");
    let mut writer = Writer::new(&schema(), vec![(SUMMARY, summary)])?;
    for rows in rows.chunks(parquet::BATCH) {
        writer.write(batch(rows))?;
    }
    writer.finish()
}

fn batch(rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let mut features = ListBuilder::new(Float32Builder::new()).with_field(parquet::element());
    for row in rows {
        features.values().append_slice(row.outcome.as_deref().unwrap_or_default());
        features.append(row.outcome.is_ok());
    }
    let reject = |row: &Row| row.outcome.as_ref().err().cloned();
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.path))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.tag))),
            Arc::new(rows.iter().map(|r| reject(r).map(|r| r.reason)).collect::<StringArray>()),
            Arc::new(rows.iter().map(|r| Some(reject(r).is_some_and(|r| r.retry))).collect::<BooleanArray>()),
            Arc::new(features.finish()),
        ],
    )
}

fn decode(bytes: Bytes) -> parquet::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for batch in parquet::read(bytes)? {
        let batch = batch?;
        let text = |column: usize| batch.column(column).as_string::<i32>();
        let (path, tag, reason) = (text(0), text(1), text(2));
        let retry = batch.column(3).as_boolean();
        let features = batch.column(4).as_list::<i32>();
        rows.extend((0..batch.num_rows()).map(|row| Row {
            path: path.value(row).into(),
            tag: tag.value(row).into(),
            outcome: if features.is_valid(row) {
                Ok(features.value(row).as_primitive::<Float32Type>().values().to_vec())
            } else {
                Err(Reject { reason: reason.value(row).into(), retry: retry.value(row) })
            },
        }));
    }
    Ok(rows)
}

fn decode_vectors(bytes: Bytes) -> parquet::Result<Vec<f32>> {
    let mut vectors = Vec::new();
    for batch in parquet::read_column(bytes, "features")? {
        let batch = batch?;
        // Lists that are null hold nothing.
        let lists = batch.column(0).as_list::<i32>();
        vectors.extend_from_slice(lists.values().as_primitive::<Float32Type>().values());
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::Scratch;

    #[test]
    fn a_part_is_read_as_it_was_written() {
        let rows = vec![
            Row {
                path: "a/1\n2 é.jpg".into(),
                tag: "x".into(),
                outcome: Ok(vec![1.0, -0.0, f32::MIN_POSITIVE]),
            },
            Row {
                path: "a/2.jpg".into(),
                tag: "y".into(),
                outcome: Err(Reject { reason: "bad JPEG".into(), retry: false }),
            },
            Row {
                path: "a/3.jpg".into(),
                tag: "z".into(),
                outcome: Err(Reject { reason: "permission denied".into(), retry: true }),
            },
        ];
        let bytes = encode(&rows).unwrap();
        assert_eq!(bytes, encode(&rows).unwrap());
        assert_eq!(decode_vectors(bytes.clone().into()).unwrap(), [1.0, -0.0, f32::MIN_POSITIVE]);
        assert_eq!(decode(bytes.into()).unwrap(), rows);
        assert_eq!(Summary::of(&rows), Summary { rows: 3, rejected: 2, retry: 1 });
    }

    fn row(path: &str, outcome: Result<Vec<f32>, Reject>) -> Row {
        Row { path: path.into(), tag: "t".into(), outcome }
    }

    #[test]
    fn keys_and_spans_tell_where_to_look_for_an_image() {
        let scratch = Scratch::new();
        let output = &scratch.output;
        let rows = ["a/1.jpg", "b/2.jpg", "c/3.jpg"].map(|path| row(path, Ok(vec![1.0, 2.0])));
        save(output, "model", "one", &rows).unwrap();
        save(output, "model", "two", &rows[1..2]).unwrap();
        save(output, "other", "three", &rows).unwrap();
        output.put(".fruitjob/features/model/notes.txt", "").unwrap();
        assert_eq!(keys(output, "model").unwrap(), ["one", "two"]);
        assert_eq!(span(output, "model", "one").unwrap(), Some(Some((b"a/1.jpg".into(), b"c/3.jpg".into()))));
        assert_eq!(span(output, "model", "two").unwrap(), Some(Some((b"b/2.jpg".into(), b"b/2.jpg".into()))));
        output.put(&layout::features("model", "bad"), "no Parquet").unwrap();
        assert_eq!(span(output, "model", "bad").unwrap(), None);
        assert_eq!(span(output, "model", "none").unwrap(), None);
    }

    #[test]
    fn what_is_missing_is_computed_and_what_is_damaged_is_deleted() {
        let scratch = Scratch::new();
        let error = load(&scratch.output, "model", "key").unwrap_err();
        assert!(
            matches!(error, Error::Usage(_)) && error.to_string().contains("'fruitjob featurize'"),
            "{error}"
        );
        let whole = encode(&[row("a", Ok(vec![1.0; 4]))]).unwrap();
        for length in [0, 3, whole.len() / 2, whole.len() - 1] {
            scratch.output.put(&layout::features("model", "key"), whole[..length].to_vec()).unwrap();
            assert_eq!(summary(&scratch.output, "model", "key").unwrap(), None);
            for error in [
                load(&scratch.output, "model", "key").unwrap_err(),
                load_vectors(&scratch.output, "model", "key").unwrap_err(),
            ] {
                let text = error.to_string();
                assert!(
                    matches!(error, Error::Failed(_)) && text.contains("delete it and run again"),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn features_that_no_partition_uses_are_deleted() {
        let scratch = Scratch::new();
        for (model, key) in [("model", "used"), ("model", "unused"), ("other", "unused")] {
            save(&scratch.output, model, key, &[row("a", Ok(vec![1.0]))]).unwrap();
        }
        delete_unused(&scratch.output, "model", &HashSet::from(["used"])).unwrap();
        let left = [layout::features("model", "used"), layout::features("other", "unused")];
        assert_eq!(scratch.names(), left);
    }

    #[test]
    fn a_summary_is_read_without_the_rows() {
        let scratch = Scratch::new();
        let reject = |retry| Err(Reject { reason: "why".into(), retry });
        let rows = [row("a", Ok(vec![1.0])), row("b", reject(false)), row("c", reject(true))];
        save(&scratch.output, "model", "key", &rows).unwrap();
        let counts = Summary { rows: 3, rejected: 2, retry: 1 };
        assert_eq!(summary(&scratch.output, "model", "key").unwrap(), Some(counts));
        assert_eq!(load(&scratch.output, "model", "key").unwrap(), rows);
    }
}
