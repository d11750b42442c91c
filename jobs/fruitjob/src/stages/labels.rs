//! Labels from a table, in place of folders: a CSV or Parquet file with a column of files and a column of labels, as
//! Hugging Face's `metadata.csv` is one.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use bytes::Bytes;
use fruitjob_interface::number;

use crate::error::{Error, Result};
use crate::storage::parquet;
use crate::util::{caught, shown};

/// The largest table that is read: all of it is held in memory.
const MAX_BYTES: usize = 256 << 20;

/// Names of columns that are understood, most telling first.
const FILES: [&str; 6] = ["file_name", "path", "filename", "file", "image", "image_path"];
const LABELS: [&str; 4] = ["label", "labels", "class", "category"];

/// The table, and which of its rows were asked for.
pub(crate) struct Labels {
    /// What it was read from, for messages.
    name: String,
    rows: HashMap<String, Row>,
    /// A row, as an example.
    first: String,
    labelled: u64,
    /// Images without a row, and the first of them.
    unknown: (u64, String),
}

struct Row {
    label: Arc<str>,
    /// The image that had it.
    image: Option<Box<str>>,
}

impl Labels {
    /// Reads a table; `name` is what it is called in messages.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is no table of files and labels, or says two things of one file.
    pub fn parse(name: &str, bytes: Bytes) -> Result<Self> {
        let wrong = |why: String| Error::Usage(format!("labels {name}: {why}"));
        if bytes.len() > MAX_BYTES {
            return Err(wrong(format!(
                "a table of {} MB; the limit is {} MB",
                bytes.len() >> 20,
                MAX_BYTES >> 20
            )));
        }
        let pairs = if bytes.starts_with(b"PAR1") { from_parquet(bytes) } else { from_csv(&bytes) };
        let pairs = pairs.map_err(wrong)?;
        let mut labels = Labels {
            name: name.to_owned(),
            first: pairs.first().map(|(file, _)| file.clone()).unwrap_or_default(),
            rows: HashMap::with_capacity(pairs.len()),
            labelled: 0,
            unknown: (0, String::new()),
        };
        for (file, label) in pairs {
            match labels.rows.entry(file) {
                Slot::Vacant(slot) => drop(slot.insert(Row { label: label.into(), image: None })),
                Slot::Occupied(slot) if *slot.get().label == *label => {}
                Slot::Occupied(slot) => {
                    let (file, other) = (shown(slot.key()), shown(&slot.get().label));
                    return Err(wrong(format!(
                        "{file} is labelled '{other}' and '{}'; keep one row",
                        shown(&label)
                    )));
                }
            }
        }
        Ok(labels)
    }

    /// An image's label: that of its path, or else that of its file's name.
    ///
    /// # Errors
    /// [`Error::Usage`] when a name without a folder stands for several images.
    pub fn label(&mut self, path: &str) -> Result<Option<Arc<str>>> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let key = if self.rows.contains_key(path) { path } else { name };
        let Some(row) = self.rows.get_mut(key) else {
            if self.unknown.0 == 0 {
                self.unknown.1 = path.to_owned();
            }
            self.unknown.0 += 1;
            return Ok(None);
        };
        if let Some(other) = row.image.as_deref().filter(|other| *other != path) {
            return Err(Error::Usage(format!(
                "labels {}: {} stands for {} and for {}; name files by their paths below the input",
                self.name,
                shown(key),
                shown(other),
                shown(path)
            )));
        }
        row.image = Some(path.into());
        self.labelled += 1;
        Ok(Some(row.label.clone()))
    }

    /// Forgets what was asked for.
    pub fn again(&mut self) {
        self.rows.values_mut().for_each(|row| row.image = None);
        (self.labelled, self.unknown) = (0, (0, String::new()));
    }

    /// What a person should know once all images were asked for.
    ///
    /// # Errors
    /// [`Error::Usage`] when the table labels none of them.
    pub fn finish(&self) -> Result<Option<String>> {
        let (unknown, example) = (self.unknown.0, shown(&self.unknown.1));
        if self.labelled == 0 {
            return Err(Error::Usage(format!(
                "labels {}: it labels none of the images: it has rows such as {}, and the input has images such as \
                 {example}; name files by their paths below the input",
                self.name,
                shown(&self.first)
            )));
        }
        let unused = self.rows.values().filter(|row| row.image.is_none()).count() as u64;
        let mut parts = Vec::new();
        if unknown > 0 {
            let images =
                if unknown == 1 { "1 image is".into() } else { format!("{} images are", number(unknown)) };
            parts.push(format!("{images} not in it, such as {example}, and labelled by folder"));
        }
        if unused > 0 {
            let rows = if unused == 1 { "1 row is".into() } else { format!("{} rows are", number(unused)) };
            parts.push(format!("{rows} of files that are not there"));
        }
        Ok((!parts.is_empty()).then(|| format!("labels {}: {}", self.name, parts.join("; "))))
    }
}

/// File and label a row.
type Pairs = Result<Vec<(String, String)>, String>;

/// Where the two columns are, by their names.
fn columns(names: &[&str]) -> Option<(usize, usize)> {
    let find = |wanted: &[&str]| {
        let position = |w: &&str| names.iter().position(|name| name.trim().eq_ignore_ascii_case(w));
        wanted.iter().find_map(position)
    };
    Some((find(&FILES)?, find(&LABELS)?))
}

fn no_columns(names: &[&str]) -> String {
    format!(
        "it needs a column of files ({}) and one of labels ({}); it has: {}",
        FILES.join(", "),
        LABELS.join(", "),
        names
            .iter()
            .map(|name| shown(name.trim()))
            .collect::<Vec<_>>()
            .join(", ")
            .chars()
            .take(200)
            .collect::<String>()
    )
}

/// A file's name as images are called: below the input, by slashes.
fn file(name: &str) -> String {
    name.trim_start_matches("./").to_owned()
}

fn from_csv(bytes: &[u8]) -> Pairs {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is neither Parquet nor text in UTF-8")?;
    let text = text.trim_start_matches('\u{FEFF}');
    // Commas, or what a spreadsheet writes where the comma is a decimal point.
    let parsed = [',', ';', '\t'].into_iter().find_map(|comma| {
        let mut records = Records { rest: text, comma };
        let header = records.next()?.ok()?;
        let names: Vec<&str> = header.iter().map(String::as_str).collect();
        columns(&names).map(|found| (records, found))
    });
    let Some((mut records, (of_file, of_label))) = parsed else {
        let header: Vec<&str> = text.lines().next().unwrap_or_default().split(',').collect();
        return Err(no_columns(&header));
    };
    let mut pairs = Vec::new();
    for (i, record) in records.by_ref().enumerate() {
        let record = record.map_err(|why| format!("record {}: {why}", i + 2))?;
        if record.iter().all(String::is_empty) {
            continue;
        }
        let (Some(name), Some(label)) = (record.get(of_file), record.get(of_label)) else {
            return Err(format!("record {} has {} columns", i + 2, record.len()));
        };
        if label.is_empty() {
            return Err(format!("record {} has no label", i + 2));
        }
        pairs.push((file(name), label.clone()));
    }
    Ok(pairs)
}

/// The records of a CSV file (RFC 4180): fields in quotes may hold commas, line ends and doubled quotes.
struct Records<'a> {
    rest: &'a str,
    comma: char,
}

impl Iterator for Records<'_> {
    type Item = Result<Vec<String>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut fields = Vec::new();
        loop {
            let mut field = String::new();
            if let Some(mut quoted) = self.rest.strip_prefix('"') {
                loop {
                    let Some((before, after)) = quoted.split_once('"') else {
                        self.rest = "";
                        return Some(Err("a quote that does not end"));
                    };
                    field.push_str(before);
                    quoted = after;
                    match quoted.strip_prefix('"') {
                        Some(after) => {
                            field.push('"');
                            quoted = after;
                        }
                        None => break,
                    }
                }
                self.rest = quoted;
            }
            let end = self.rest.find([self.comma, '\n']).unwrap_or(self.rest.len());
            field.push_str(self.rest[..end].trim_end_matches('\r'));
            fields.push(field);
            let stop = self.rest[end..].chars().next();
            self.rest = &self.rest[end + stop.map_or(0, char::len_utf8)..];
            if stop != Some(self.comma) {
                return Some(Ok(fields));
            }
        }
    }
}

fn from_parquet(bytes: Bytes) -> Pairs {
    caught(|| read_parquet(bytes)).unwrap_or_else(Err).map_err(|why| format!("as Parquet: {why}"))
}

fn read_parquet(bytes: Bytes) -> Pairs {
    let mut pairs = Vec::new();
    for batch in parquet::read_plain(bytes).map_err(|e| e.to_string())? {
        let batch = batch.map_err(|e| e.to_string())?;
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let (of_file, of_label) = columns(&names).ok_or_else(|| no_columns(&names))?;
        let (files, labels) = (texts(batch.column(of_file))?, texts(batch.column(of_label))?);
        for (name, label) in files.into_iter().zip(labels) {
            let (Some(name), Some(label)) = (name, label) else {
                return Err("a row without file or label".into());
            };
            pairs.push((file(&name), label));
        }
    }
    Ok(pairs)
}

/// A column as text; numbers, which classes may be, as they are written.
fn texts(column: &ArrayRef) -> Result<Vec<Option<String>>, String> {
    fn all<T: ToString>(values: impl Iterator<Item = Option<T>>) -> Vec<Option<String>> {
        values.map(|value| value.map(|value| value.to_string())).collect()
    }
    Ok(match column.data_type() {
        DataType::Utf8 => all(column.as_string::<i32>().iter()),
        DataType::LargeUtf8 => all(column.as_string::<i64>().iter()),
        DataType::Utf8View => all(column.as_string_view().iter()),
        DataType::Int8 => all(column.as_primitive::<Int8Type>().iter()),
        DataType::Int16 => all(column.as_primitive::<Int16Type>().iter()),
        DataType::Int32 => all(column.as_primitive::<Int32Type>().iter()),
        DataType::Int64 => all(column.as_primitive::<Int64Type>().iter()),
        other => return Err(format!("a column of {other}; write it as text")),
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int64Array, RecordBatch, StringArray};
    use arrow_schema::{Field, Schema};

    use super::*;

    fn csv(text: &str) -> Result<Labels> {
        Labels::parse("t.csv", Bytes::copy_from_slice(text.as_bytes()))
    }

    fn why(parsed: Result<Labels>) -> String {
        match parsed {
            Err(Error::Usage(why)) => why,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("taken for a table"),
        }
    }

    #[test]
    fn images_are_found_by_path_and_by_name() {
        let mut labels =
            csv("\u{FEFF}file_name,label\r\na/1.jpg,apple\r\n\"b \"\"x\"\", 2.jpg\",\"pear,\ngreen\"\r\n\r\n./3.jpg,fig").unwrap();
        let mut of = |path: &str| labels.label(path).unwrap().map(|label| label.to_string());
        assert_eq!(of("a/1.jpg").as_deref(), Some("apple"));
        assert_eq!(of("train/b \"x\", 2.jpg").as_deref(), Some("pear,\ngreen"));
        assert_eq!(of("3.jpg").as_deref(), Some("fig"));
        assert_eq!(of("b/1.jpg"), None);
        let note = labels.finish().unwrap().unwrap();
        assert!(note.contains("1 image is not in it, such as b/1.jpg"), "{note}");
        labels.again();
        assert!(labels.finish().is_err());
    }

    #[test]
    fn other_separators_and_columns_are_understood() {
        for text in ["id;Label;Path\n7;fig;a.jpg\n", "class\tx\tfilename\nfig\t\ta.jpg"] {
            assert_eq!(csv(text).unwrap().label("a.jpg").unwrap().as_deref(), Some("fig"), "{text}");
        }
    }

    #[test]
    fn what_is_no_table_or_contradicts_itself_is_refused() {
        assert!(why(csv("a,b\n1,2")).contains("it has: a, b"));
        assert!(why(csv("file_name,label\n\"a,b")).contains("a quote that does not end"));
        assert!(why(csv("file_name,label\na")).contains("record 2 has 1 columns"));
        assert!(why(csv("file_name,label\na,1\na,2")).contains("'1' and '2'"));
        assert!(
            why(Labels::parse("t", Bytes::from_static(b"\xFF\xFE"))).contains("neither Parquet nor text")
        );
        assert!(why(Labels::parse("t", Bytes::from_static(b"PAR1 and no more"))).contains("as Parquet"));
        let mut labels = csv("file_name,label\n1.jpg,a").unwrap();
        labels.label("x/1.jpg").unwrap();
        labels.label("x/1.jpg").unwrap();
        let Err(Error::Usage(two)) = labels.label("y/1.jpg") else { panic!() };
        assert!(two.contains("1.jpg stands for x/1.jpg and for y/1.jpg"), "{two}");
        let none = csv("file_name,label\nimages/1.jpg,a").unwrap().finish().unwrap_err();
        assert!(none.to_string().contains("rows such as images/1.jpg"), "{none}");
    }

    #[test]
    fn a_parquet_table_may_have_numbers_for_labels() {
        let schema = Arc::new(Schema::new(vec![
            parquet::text("file_name", false),
            Field::new("label", DataType::Int64, false),
        ]));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec!["a.jpg"])), Arc::new(Int64Array::from(vec![3]))];
        let bytes = parquet::write(&schema, RecordBatch::try_new(schema.clone(), columns)).unwrap();
        let mut labels = Labels::parse("t.parquet", bytes.into()).unwrap();
        assert_eq!(labels.label("a.jpg").unwrap().as_deref(), Some("3"));
        assert!(labels.finish().unwrap().is_none());
    }
}
