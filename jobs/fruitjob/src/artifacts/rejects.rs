//! The table of the images that were rejected: a Parquet file of paths and reasons.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, StringArray};
use arrow_schema::Schema;
use fruitjob_interface::layout;

use crate::error::{Error, Result};
use crate::storage::Output;
use crate::storage::parquet;

/// Writes the table to the staging area: a path and a reason a row.
pub(crate) fn save(output: &Output, paths: &[String], reasons: &[String]) -> Result<()> {
    let schema = Arc::new(Schema::new(vec![parquet::text("path", false), parquet::text("reason", false)]));
    let column = |texts: &[String]| Arc::new(StringArray::from_iter_values(texts));
    let batch = RecordBatch::try_new(schema.clone(), vec![column(paths), column(reasons)]);
    let bytes = parquet::write(&schema, batch).map_err(|e| Error::Bug(e.to_string()))?;
    output.put(layout::STAGED_REJECTS, bytes)
}

/// The first rows of the staged table, as path and reason; none where there is no table.
///
/// # Errors
/// [`Error::Failed`] when it is damaged.
pub(crate) fn first(output: &Output, at_most: usize) -> Result<Vec<[String; 2]>> {
    let Some(bytes) = output.get(layout::STAGED_REJECTS)? else { return Ok(Vec::new()) };
    let batches = parquet::read(bytes)
        .and_then(Iterator::collect::<parquet::Result<Vec<_>>>)
        .map_err(|e| Error::Failed(format!("{} is damaged: {e}", output.path(layout::STAGED_REJECTS))))?;
    let rows = batches.iter().flat_map(|batch| {
        let (path, reason) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        (0..path.len()).map(|row| [path.value(row).to_owned(), reason.value(row).to_owned()])
    });
    Ok(rows.take(at_most).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::Scratch;

    #[test]
    fn the_first_rows_are_read_as_they_were_written() {
        let scratch = Scratch::new();
        assert!(first(&scratch.output, 9).unwrap().is_empty());
        let paths: Vec<String> = (0..200).map(|i| format!("a/{i}.jpg")).collect();
        let reasons: Vec<String> = (0..200).map(|i| format!("reason {}", i % 3)).collect();
        save(&scratch.output, &paths, &reasons).unwrap();
        let rows = first(&scratch.output, 100).unwrap();
        assert_eq!(rows.len(), 100);
        assert_eq!(rows[98], ["a/98.jpg", "reason 2"]);
        assert_eq!(first(&scratch.output, 1000).unwrap().len(), 200);
    }

    #[test]
    fn a_damaged_table_is_told() {
        let scratch = Scratch::new();
        scratch.output.put(layout::STAGED_REJECTS, "no Parquet").unwrap();
        let error = first(&scratch.output, 9).unwrap_err();
        assert!(matches!(error, Error::Failed(_)) && error.to_string().contains("damaged"), "{error:?}");
    }
}
