//! The parts of the results: a Parquet file a partition, with a row an image that has a vector.

use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{RecordBatch, StringArray};
use arrow_schema::Schema;
use bytes::Bytes;
use fruitjob_interface::layout;
use fruitjob_interface::record::PartRecord;

use super::entry::Entry;
use crate::error::{Error, Result};
use crate::storage::Output;
use crate::storage::parquet::{self, ParquetError};
use crate::util::hex_sha256;

/// Where a part lies until it is published.
fn staged(part: &str) -> String {
    format!("{}/{}/{part}", layout::STAGING, layout::RESULTS)
}

/// Writes the part of a partition to the staging area: these images, and their vectors of `k` elements one after another.
/// Returns the file's SHA-256.
pub(crate) fn save(
    output: &Output,
    partition: usize,
    images: &[&Entry],
    vectors: &[f32],
    k: usize,
) -> Result<String> {
    let mut column = ListBuilder::new(Float32Builder::new()).with_field(parquet::element());
    for vector in vectors.chunks_exact(k) {
        column.values().append_slice(vector);
        column.append(true);
    }
    let schema = Arc::new(Schema::new(vec![
        parquet::text("path", false),
        parquet::text("label", false),
        parquet::floats("pca", false),
    ]));
    let batch = RecordBatch::try_new(
        schema.clone(),
        vec![
            Arc::new(StringArray::from_iter_values(images.iter().map(|e| &e.path))),
            Arc::new(StringArray::from_iter_values(images.iter().map(|e| &*e.label))),
            Arc::new(column.finish()),
        ],
    );
    let bytes = parquet::write(&schema, batch).map_err(|e| Error::Bug(e.to_string()))?;
    let sha256 = hex_sha256(&bytes);
    output.put(&staged(&layout::part(partition)), bytes)?;
    Ok(sha256)
}

/// Reads the staged part of this name: gives path, label and vector of each row to `row`.
///
/// # Errors
/// [`Error::Usage`] when it is not there, [`Error::Failed`] when it is damaged.
pub(crate) fn read(output: &Output, part: &str, row: impl FnMut(&str, &str, &[f32])) -> Result<()> {
    let name = staged(part);
    let bytes = output.get(&name)?.ok_or_else(|| output.missing(&name, "project"))?;
    rows(output, &name, bytes, row)
}

/// The same of a part that is published, and that is the one that the record has: whoever may write to the output may have put
/// another in its place, and a run may be publishing.
///
/// # Errors
/// [`Error::Failed`] when it is not there, is another or is damaged.
pub(crate) fn read_published(
    output: &Output,
    part: &PartRecord,
    row: impl FnMut(&str, &str, &[f32]),
) -> Result<()> {
    let name = format!("{}/{}", layout::RESULTS, part.name);
    let bytes = output.get(&name)?.filter(|bytes| hex_sha256(bytes) == part.sha256).ok_or_else(|| {
        Error::Failed(format!(
            "{} is not there, or is not what run.json says: a run is publishing, or it was changed; try again, or run again",
            output.path(&name)
        ))
    })?;
    rows(output, &name, bytes, row)
}

fn rows(output: &Output, name: &str, bytes: Bytes, row: impl FnMut(&str, &str, &[f32])) -> Result<()> {
    rows_of(bytes, row).map_err(|e| Error::Failed(format!("{} is damaged: {e}", output.path(name))))
}

fn rows_of(bytes: Bytes, mut row: impl FnMut(&str, &str, &[f32])) -> parquet::Result<()> {
    let foreign = || ParquetError::General("its columns are not path, label and pca".into());
    for batch in parquet::read(bytes)?.collect::<parquet::Result<Vec<_>>>()? {
        let [path, label, pca] = batch.columns() else { return Err(foreign()) };
        let (Some(path), Some(label)) = (path.as_string_opt::<i32>(), label.as_string_opt::<i32>()) else {
            return Err(foreign());
        };
        let pca = pca.as_list_opt::<i32>().ok_or_else(foreign)?;
        let elements = pca.values().as_primitive_opt::<Float32Type>().ok_or_else(foreign)?.values();
        let ends = pca.value_offsets();
        for i in 0..batch.num_rows() {
            row(path.value(i), label.value(i), &elements[ends[i] as usize..ends[i + 1] as usize]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::Scratch;

    fn entry(path: &str, label: &str) -> Entry {
        Entry { path: path.into(), label: label.into(), size: 1, tag: "t".into(), problem: None }
    }

    #[test]
    fn a_part_is_read_row_by_row_as_it_was_written() {
        let scratch = Scratch::new();
        let images: Vec<Entry> = (0..150).map(|i| entry(&format!("{i}.jpg"), "Apple")).collect();
        let vectors: Vec<f32> = (0..450).map(|i| i as f32).collect();
        let sha256 = save(&scratch.output, 7, &images.iter().collect::<Vec<_>>(), &vectors, 3).unwrap();
        let file = scratch.output.get(".fruitjob/staging/results/part-00007.parquet").unwrap().unwrap();
        assert_eq!(sha256, hex_sha256(&file));
        let mut read = Vec::new();
        results_of(&scratch, &layout::part(7), &mut read);
        assert_eq!(read.len(), 150);
        assert_eq!(read[149], ("149.jpg".to_owned(), "Apple".to_owned(), vec![447.0, 448.0, 449.0]));
    }

    fn results_of(scratch: &Scratch, part: &str, all: &mut Vec<(String, String, Vec<f32>)>) {
        read(&scratch.output, part, |path, label, vector| {
            all.push((path.to_owned(), label.to_owned(), vector.to_vec()));
        })
        .unwrap();
    }

    #[test]
    fn a_partition_of_rejects_has_a_part_without_rows() {
        let scratch = Scratch::new();
        save(&scratch.output, 0, &[], &[], 3).unwrap();
        let mut rows = Vec::new();
        results_of(&scratch, &layout::part(0), &mut rows);
        assert!(rows.is_empty());
    }

    #[test]
    fn a_part_that_is_missing_or_damaged_is_told() {
        let scratch = Scratch::new();
        let error = read(&scratch.output, "part-00000.parquet", |_, _, _| {}).unwrap_err();
        assert!(
            matches!(error, Error::Usage(_)) && error.to_string().contains("'fruitjob project'"),
            "{error}"
        );
        scratch.output.put(&staged("part-00000.parquet"), "no Parquet").unwrap();
        let error = read(&scratch.output, "part-00000.parquet", |_, _, _| {}).unwrap_err();
        assert!(matches!(error, Error::Failed(_)), "{error}");
        // Somebody else's Parquet.
        let schema = Arc::new(Schema::new(vec![parquet::text("path", false)]));
        let batch =
            RecordBatch::try_new(schema.clone(), vec![Arc::new(StringArray::from_iter_values(["a"]))]);
        scratch.output.put(&staged("part-00000.parquet"), parquet::write(&schema, batch).unwrap()).unwrap();
        let error = read(&scratch.output, "part-00000.parquet", |_, _, _| {}).unwrap_err();
        assert!(error.to_string().contains("its columns"), "{error}");
    }
}
