//! What whoever carries a model must know of its file: that it is one, and which files beside it hold its weights. An
//! exporter writes them there where it is asked to, and torch's new one always.
//!
//! Sources: <https://github.com/onnx/onnx/blob/v1.19.1/onnx/onnx.proto> for fields and numbers,
//! <https://onnx.ai/onnx/repo-docs/ExternalData.html> for the files beside,
//! <https://protobuf.dev/programming-guides/encoding/> for the wire.

use std::collections::BTreeSet;
use std::path::{Component, Path};

/// The most bytes that a model and the files beside it may have together. A run publishes the model in one file, and
/// a protobuf has at most 2 GiB: <https://protobuf.dev/programming-guides/proto-limits/>.
pub const MAX_BYTES: u64 = 2 << 30;

/// Graphs lie in nodes of graphs; nobody nests them deeper than a few.
const MAX_DEPTH: usize = 64;

/// Messages that tensors lie in, and tensors.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
}

impl Message {
    /// What the field holds; `None` where no tensor lies in it.
    fn field(self, number: u64) -> Option<Message> {
        Some(match (self, number) {
            (Message::Model, 7) | (Message::Attribute, 6 | 11) => Message::Graph,
            (Message::Model, 25) => Message::Function,
            (Message::Graph, 1) | (Message::Function, 7) => Message::Node,
            (Message::Node, 5) | (Message::Function, 11) => Message::Attribute,
            (Message::Graph, 15) | (Message::Attribute, 22 | 23) => Message::SparseTensor,
            (Message::Graph, 5) | (Message::Attribute, 5 | 10) | (Message::SparseTensor, 1 | 2) => {
                Message::Tensor
            }
            _ => return None,
        })
    }
}

/// Why bytes are no model.
enum Damage {
    /// They end within a field.
    Cut,
    /// They are something else.
    Other,
    /// They are one that is not to be read; in words.
    Refused(String),
}

/// The files beside the model's that its tensors lie in: each once, as the model names them, relative to its folder.
///
/// # Errors
/// What the file is instead of a model, and a tensor that names no file, or one outside the model's folder.
pub fn files_beside(model: &[u8]) -> Result<Vec<String>, String> {
    if let Some(instead) = instead(model) {
        return Err(instead.into());
    }
    let mut found = BTreeSet::new();
    match visit(model, Message::Model, 0, &mut found) {
        Ok(()) => Ok(found.into_iter().collect()),
        // The version of the format comes first in all that exporters write.
        Err(Damage::Cut) if model.first() == Some(&0x08) => {
            Err("it is cut off: an ONNX file that ends early; copy or download it again".into())
        }
        Err(Damage::Refused(why)) => Err(why),
        Err(Damage::Cut | Damage::Other) => Err("it is not an ONNX file".into()),
    }
}

/// The text whose SHA-256 is that of a model with other files: the hash of its own, and of each other its name and hash.
/// `None` where there is no other, and the model's hash is that of its file.
pub fn hashed_text<'a>(model: &str, beside: impl Iterator<Item = (&'a str, String)>) -> Option<String> {
    let others: Vec<String> =
        beside.map(|(name, sha256)| format!("\n{} {name} {sha256}", name.len())).collect();
    (!others.is_empty()).then(|| format!("{model}{}", others.concat()))
}

/// What is often found in a model's place.
/// Sources: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>, <https://mimesniff.spec.whatwg.org/#identifying-a-resource-with-an-unknown-mime-type>.
pub fn instead(bytes: &[u8]) -> Option<&'static str> {
    let start = &bytes[..bytes.len().min(512)];
    let text =
        String::from_utf8_lossy(start).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    if bytes.is_empty() {
        Some("it is an empty file; copy or download it again")
    } else if text.starts_with("version https://git-lfs.github.com/spec/") {
        Some("it is a Git LFS pointer, which stands for the file; fetch the file itself: git lfs pull")
    } else if ["<!doctype html", "<html", "<head", "<?xml", "<body"].iter().any(|tag| text.starts_with(tag)) {
        Some(
            "it is a web page and not an ONNX file; name the address that gives the file itself \
             (on Hugging Face …/resolve/main/…, on GitHub …/raw/…)",
        )
    } else {
        None
    }
}

/// Collects the places of all tensors in a message.
fn visit(mut bytes: &[u8], kind: Message, depth: usize, found: &mut BTreeSet<String>) -> Result<(), Damage> {
    if depth > MAX_DEPTH {
        return Err(Damage::Other);
    }
    let (mut entries, mut is_external) = (Vec::new(), false);
    while !bytes.is_empty() {
        let (number, value) = field(&mut bytes)?;
        match (kind, number, value) {
            (Message::Tensor, 13, Value::Bytes(entry)) => entries.push(key_and_value(entry)?),
            (Message::Tensor, 14, Value::Number(location)) => is_external = location == 1,
            (_, _, Value::Bytes(inner)) => {
                if let Some(kind) = kind.field(number) {
                    visit(inner, kind, depth + 1, found)?;
                }
            }
            _ => {}
        }
    }
    if is_external {
        let location = entries.into_iter().find(|(key, _)| key == "location").map(|(_, value)| value);
        let location = location.ok_or_else(|| {
            Damage::Refused(
                "a tensor is in another file, and it does not say in which; export it again".into(),
            )
        })?;
        if !is_inside(&location) {
            return Err(Damage::Refused(format!(
                "it has weights in {location:?}, which is not in its folder; save it again with its weights beside it"
            )));
        }
        found.insert(location);
    }
    Ok(())
}

/// Whether it is a path downwards, on every system: a model that somebody sends reads no other files of this machine.
fn is_inside(location: &str) -> bool {
    !location.is_empty()
        && !location.contains(['\\', ':'])
        && !location.contains(char::is_control)
        && !location.ends_with('/')
        && Path::new(location).components().all(|part| matches!(part, Component::Normal(_)))
}

/// A field's value, as far as it matters here.
enum Value<'a> {
    Number(u64),
    /// Of any length; numbers of a fixed length too.
    Bytes(&'a [u8]),
}

/// Takes a field off the front.
fn field<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Value<'a>), Damage> {
    let tag = varint(bytes)?;
    let length = match tag & 7 {
        0 => return Ok((tag >> 3, Value::Number(varint(bytes)?))),
        1 => 8,
        2 => varint(bytes)?,
        5 => 4,
        _ => return Err(Damage::Other),
    };
    let length = usize::try_from(length).map_err(|_| Damage::Cut)?;
    let (value, rest) = bytes.split_at_checked(length).ok_or(Damage::Cut)?;
    *bytes = rest;
    Ok((tag >> 3, Value::Bytes(value)))
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Damage> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Damage::Cut)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Damage::Other)
}

fn key_and_value(mut entry: &[u8]) -> Result<(String, String), Damage> {
    let mut pair = [String::new(), String::new()];
    while !entry.is_empty() {
        if let (number @ (1 | 2), Value::Bytes(text)) = field(&mut entry)? {
            pair[number as usize - 1] = String::from_utf8(text.to_vec()).map_err(|_| Damage::Other)?;
        }
    }
    let [key, value] = pair;
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes.
    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        assert!(number < 16 && content.len() < 128);
        [&[number << 3 | 2, content.len() as u8], content].concat()
    }

    /// A model of one tensor that lies in another file.
    fn model(entries: &[(&str, &str)]) -> Vec<u8> {
        let entry = |(key, value): &(&str, &str)| {
            bytes(13, &[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat())
        };
        let tensor = [entries.iter().flat_map(entry).collect(), vec![14 << 3, 1]].concat();
        [vec![0x08, 10], bytes(7, &bytes(5, &tensor))].concat()
    }

    #[test]
    fn files_are_named_as_the_model_names_them() {
        let placed = model(&[("location", "m.onnx.data"), ("offset", "4"), ("length", "8")]);
        assert_eq!(files_beside(&placed).unwrap(), ["m.onnx.data"]);
        assert_eq!(files_beside(&model(&[("location", "a/b..c")])).unwrap(), ["a/b..c"]);
        assert!(files_beside(&[0x08, 10]).unwrap().is_empty());
    }

    #[test]
    fn no_file_outside_the_folder_is_named() {
        for bad in ["", "/etc/passwd", "../w", "a/../../w", "./../w", "c:\\w", "..\\w", "a/", "w\0"] {
            let why = files_beside(&model(&[("location", bad)])).unwrap_err();
            assert!(why.contains("not in its folder"), "{bad}: {why}");
        }
        assert!(files_beside(&model(&[])).unwrap_err().contains("does not say in which"));
    }

    #[test]
    fn what_is_no_model_is_named() {
        let whole = model(&[("location", "w")]);
        for end in 3..whole.len() {
            let why = files_beside(&whole[..end]).unwrap_err();
            assert!(why.contains("cut off"), "{end}: {why}");
        }
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        for (bytes, word) in [
            (&pointer[..], "git lfs pull"),
            (b"\n<!DOCTYPE html><html>", "web page"),
            (b"<html lang=en>", "web page"),
            (b"", "empty"),
            (b"PK\x03\x04 a zip", "not an ONNX file"),
            (b"hello", "not an ONNX file"),
        ] {
            let why = files_beside(bytes).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }
}
