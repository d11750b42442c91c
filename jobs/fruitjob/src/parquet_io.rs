//! Arrow record batches to Parquet bytes and back. The bytes depend on the batches alone.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

/// Writes each batch as a row group of its own; `metadata` goes to the footer.
pub fn write(schema: &Arc<Schema>, batches: &[RecordBatch], metadata: Vec<KeyValue>) -> Result<Vec<u8>> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_coerce_types(true) // lists as the format's specification names them: list.element
        .set_key_value_metadata(Some(metadata))
        .set_created_by("fruitjob".into()) // no versions: the same data, the same bytes
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema.clone(), Some(properties))?;
    for batch in batches {
        writer.write(batch)?;
        writer.flush()?;
    }
    writer.close()?;
    Ok(bytes)
}

/// Opens a file for reading `columns`, or all of them where there are none, in batches of a row group.
pub fn open(bytes: Bytes, columns: &[&str]) -> Result<ParquetRecordBatchReaderBuilder<Bytes>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let largest = builder.metadata().row_groups().iter().map(|g| g.num_rows()).max().unwrap_or(0);
    let mask = match columns {
        [] => ProjectionMask::all(),
        _ => ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied()),
    };
    Ok(builder.with_projection(mask).with_batch_size((largest as usize).max(1)))
}

/// All rows of a file, a batch a row group or so.
pub fn read(bytes: Bytes, columns: &[&str]) -> Result<Vec<RecordBatch>> {
    open(bytes, columns)?.build()?.map(|batch| Ok(batch?)).collect()
}

/// The value of a key in the footer.
pub fn metadata<'a>(builder: &'a ParquetRecordBatchReaderBuilder<Bytes>, key: &str) -> Option<&'a str> {
    let all = builder.metadata().file_metadata().key_value_metadata()?;
    all.iter().find(|kv| kv.key == key)?.value.as_deref()
}

/// A column of text.
pub fn text(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}

/// A column of vectors.
pub fn floats(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::List(element()), nullable)
}

/// The element of a column of vectors.
pub fn element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Float32, false))
}
