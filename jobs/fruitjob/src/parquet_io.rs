//! Arrow record batches to Parquet bytes and back. The bytes depend on the batches alone.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

/// Writes a file to memory.
pub struct Writer(ArrowWriter<Vec<u8>>);

impl Writer {
    /// A file of this schema, with `metadata` in its footer.
    pub fn new(schema: &Arc<Schema>, metadata: Vec<KeyValue>) -> Result<Self> {
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_coerce_types(true) // lists as the format's specification names them: list.element
            .set_key_value_metadata(Some(metadata))
            .set_created_by("fruitjob".into()); // no versions: the same data, the same bytes
        for vectors in schema.fields().iter().filter(|f| matches!(f.data_type(), DataType::List(_))) {
            // Floats hardly repeat.
            let column = ColumnPath::new(vec![vectors.name().clone(), "list".into(), "element".into()]);
            properties = properties.set_column_dictionary_enabled(column, false);
        }
        ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties.build())).map(Writer)
    }

    /// Adds rows to the row group.
    pub fn write(&mut self, batch: Result<RecordBatch, ArrowError>) -> Result<()> {
        self.0.write(&batch?)
    }

    /// Begins another row group.
    pub fn end_group(&mut self) -> Result<()> {
        self.0.flush()
    }

    /// The whole file.
    pub fn finish(self) -> Result<Vec<u8>> {
        self.0.into_inner()
    }
}

/// A file of one batch.
pub fn write(schema: &Arc<Schema>, batch: Result<RecordBatch, ArrowError>) -> Result<Vec<u8>> {
    let mut writer = Writer::new(schema, Vec::new())?;
    writer.write(batch)?;
    writer.finish()
}

/// Rows that are decoded at once: few, for a row of features takes kilobytes.
pub const BATCH: usize = 64;

/// Opens a file.
pub fn open(bytes: Bytes) -> Result<ParquetRecordBatchReaderBuilder<Bytes>> {
    Ok(ParquetRecordBatchReaderBuilder::try_new(bytes)?.with_batch_size(BATCH))
}

/// All rows of a file, batch by batch.
pub fn read(bytes: Bytes) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
    Ok(open(bytes)?.build()?.map(|batch| Ok(batch?)))
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
