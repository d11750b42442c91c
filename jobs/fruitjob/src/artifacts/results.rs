//! The parts of the results: a Parquet file a partition, with a row an image that has a vector.

use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{RecordBatch, StringArray};
use arrow_schema::Schema;
use fruitjob_interface::layout;

use super::entry::Entry;
use crate::error::{Error, Result};
use crate::storage::Output;
use crate::storage::parquet;
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
pub(crate) fn read(output: &Output, part: &str, mut row: impl FnMut(&str, &str, &[f32])) -> Result<()> {
    let name = staged(part);
    let bytes = output.get(&name)?.ok_or_else(|| output.missing(&name, "project"))?;
    let batches = parquet::read(bytes)
        .and_then(Iterator::collect::<parquet::Result<Vec<_>>>)
        .map_err(|e| Error::Failed(format!("{} is damaged: {e}", output.path(&name))))?;
    for batch in batches {
        let (path, label) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        let pca = batch.column(2).as_list::<i32>();
        let (elements, ends) = (pca.values().as_primitive::<Float32Type>().values(), pca.value_offsets());
        for i in 0..batch.num_rows() {
            row(path.value(i), label.value(i), &elements[ends[i] as usize..ends[i + 1] as usize]);
        }
    }
    Ok(())
}
