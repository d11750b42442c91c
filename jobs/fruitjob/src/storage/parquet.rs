//! Arrow record batches to Parquet bytes and back. The bytes depend on the batches alone. The one file that knows the
//! crate `parquet`, whose `Result` it passes on.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::ColumnPath;

pub use parquet::arrow::arrow_reader::ArrowReaderMetadata as Footer;
pub use parquet::errors::{ParquetError, Result};

use super::output::Object;
use crate::error;

/// Writes a file to memory.
pub struct Writer(ArrowWriter<Vec<u8>>);

impl Writer {
    /// A file of this schema, with these keys and values in its footer.
    pub fn new(schema: &Arc<Schema>, metadata: Vec<(&str, String)>) -> Result<Self> {
        let metadata = metadata.into_iter().map(|(key, value)| KeyValue::new(key.into(), value)).collect();
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

    /// What has been written since the last call: nothing of a row group before its end.
    pub fn take(&mut self) -> Bytes {
        std::mem::take(self.0.inner_mut()).into()
    }

    /// Adds to the footer.
    pub fn add_metadata(&mut self, key: &str, value: String) {
        self.0.append_key_value_metadata(KeyValue::new(key.into(), value));
    }

    /// The whole file, but for what was taken.
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

/// All rows of a file that others wrote, as the file's own types are, whatever else Arrow's note in it says.
pub fn read_plain(bytes: Bytes) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)?;
    Ok(builder.with_batch_size(8192).build()?.map(|batch| Ok(batch?)))
}

/// One column of a file, batch by batch.
pub fn read_column(bytes: Bytes, name: &str) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
    let builder = open(bytes)?;
    let column = ProjectionMask::columns(builder.parquet_schema(), [name]);
    Ok(builder.with_projection(column).build()?.map(|batch| Ok(batch?)))
}

/// The footer of an object, read without the rest.
pub fn footer(object: &Object) -> error::Result<Result<Footer>> {
    if object.len == 0 {
        return Ok(Err(ParquetError::General("the file is empty".into())));
    }
    let mut tail = object.len.min(FOOTER);
    loop {
        let bytes = object.range(object.len - tail..object.len)?;
        let mut reader = ParquetMetaDataReader::new();
        match reader.try_parse_sized(&bytes, object.len) {
            Ok(()) => {}
            Err(ParquetError::NeedMoreData(needed)) if needed as u64 > tail => {
                tail = needed as u64;
                continue;
            }
            Err(e) => return Ok(Err(e)),
        }
        let metadata = reader.finish();
        return Ok(metadata.and_then(|m| Footer::try_new(m.into(), ArrowReaderOptions::new())));
    }
}

/// Bytes at the end of a file that are read first: more than most footers take.
const FOOTER: u64 = 64 << 10;

/// The rows of one row group of an object.
pub fn row_group(object: &Object, footer: &Footer, group: usize) -> error::Result<Result<Vec<RecordBatch>>> {
    let columns = footer.metadata().row_group(group).columns();
    let ranges = columns.iter().map(|c| c.byte_range());
    let (start, end) =
        ranges.fold((object.len, 0), |(start, end), (at, len)| (start.min(at), end.max(at + len)));
    let window = Window { start, bytes: object.range(start..end)?, len: object.len };
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(window, footer.clone());
    Ok(builder
        .with_row_groups(vec![group])
        .build()
        .and_then(|batches| Ok(batches.collect::<Result<_, _>>()?)))
}

/// A part of a file, for readers that think they have all of it.
struct Window {
    start: u64,
    bytes: Bytes,
    len: u64,
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(self
            .get_bytes(start, (self.start + self.bytes.len() as u64).saturating_sub(start) as usize)?
            .reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let from = start.checked_sub(self.start).map(|from| from as usize);
        match from.and_then(|from| Some(from..from.checked_add(length)?)) {
            Some(range) if range.end <= self.bytes.len() => Ok(self.bytes.slice(range)),
            _ => Err(ParquetError::EOF(format!("{length} bytes at {start} lie outside the row group"))),
        }
    }
}

/// Bounds of the first column's values, as bytes; they need not be values themselves.
pub type Span = (Vec<u8>, Vec<u8>);

/// Bounds of the first column's values in a row group; `None` when the file does not say.
pub fn span(metadata: &ParquetMetaData, group: usize) -> Option<Span> {
    let statistics = metadata.row_groups().get(group)?.column(0).statistics()?;
    Some((statistics.min_bytes_opt()?.to_vec(), statistics.max_bytes_opt()?.to_vec()))
}

/// The value of a key in the footer.
pub fn metadata<'a>(metadata: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let all = metadata.file_metadata().key_value_metadata()?;
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
