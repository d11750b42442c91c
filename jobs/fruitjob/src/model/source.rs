//! Where a model comes from: a file, an object or a web server, with the files beside it that hold its weights.

use std::collections::BTreeMap;

use fruitjob_interface::location::Location;
use fruitjob_interface::onnx::{MAX_BYTES, files_beside};
use object_store::ObjectStoreExt;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use url::Url;

use crate::error::{self, Error, Result};
use crate::storage;
use crate::util::hex_sha256;

/// A model's name without the signature or password that a URI may carry.
pub(crate) fn display_name(name: &str) -> String {
    match Location::parse(name) {
        Ok(remote @ Location::Remote(_)) => remote.to_string(),
        _ => name.to_owned(),
    }
}

/// A model's files.
pub(super) struct Files {
    /// The ONNX file.
    pub model: Vec<u8>,
    /// Files that hold its weights, by the names that it has for them.
    pub beside: BTreeMap<String, Vec<u8>>,
}

impl Files {
    /// The hash of all that makes the model: of its file where there is no other, or else of every file's name and hash.
    pub fn sha256(&self) -> String {
        let mut hash = hex_sha256(&self.model);
        if !self.beside.is_empty() {
            let mut all = Sha256::new();
            all.update(&hash);
            for (name, bytes) in &self.beside {
                all.update(format!("\n{} {name} {}", name.len(), hex_sha256(bytes)));
            }
            hash = fruitjob_interface::hex(&all.finalize());
        }
        hash
    }
}

/// All files of a model, whole.
///
/// # Errors
/// [`Error::Usage`] when a path cannot be read or is no model, [`Error::Failed`] or [`Error::Denied`] when a server or store
/// does not give it.
pub(super) fn read(name: &str, runtime: &Handle) -> Result<Files> {
    let location = Location::parse(name)?;
    // Displayed without the signature that a URI may carry.
    let doing = format!("model {location}");
    let mut left = MAX_BYTES;
    let model = get(&location, &doing, &mut left, runtime).map_err(|e| match e {
        Error::Usage(why) => {
            Error::Usage(format!("{why}; name an ONNX file or URI, or 'builtin' for the one inside"))
        }
        other => other,
    })?;
    let names = files_beside(&model).map_err(|why| Error::Usage(format!("{doing}: {why}")))?;
    let mut beside = BTreeMap::new();
    for file in names {
        let doing = format!("{doing}: its weights are in {file} beside it, and that file");
        let bytes = get(&sibling(&location, &file), &doing, &mut left, runtime).map_err(|e| {
            let with =
                |why: String| format!("{why}; copy both files, which belong together, into one folder");
            match e {
                Error::Usage(why) => Error::Usage(with(why)),
                Error::Failed(why) => Error::Failed(with(why)),
                Error::Denied(why) => Error::Denied(why),
                other => other,
            }
        })?;
        beside.insert(file, bytes);
    }
    Ok(Files { model, beside })
}

/// The place of a file beside another; `name` leads downwards.
fn sibling(location: &Location, name: &str) -> Location {
    match location {
        Location::Local(path) => Location::Local(path.with_file_name(name)),
        Location::Remote(url) => {
            let mut url: Url = url.clone();
            // Its query stays: a token may be for the whole folder.
            if let Ok(mut segments) = url.path_segments_mut() {
                segments.pop().extend(name.split('/'));
            }
            Location::Remote(url)
        }
    }
}

/// One file, of at most `left` bytes, which it is taken from.
fn get(location: &Location, doing: &str, left: &mut u64, runtime: &Handle) -> Result<Vec<u8>> {
    let large = || Error::Usage(format!("{doing}: larger than 2 GiB, the most that an ONNX file may have"));
    let bytes: Vec<u8> = match location {
        Location::Local(path) => {
            let unreadable = |e| Error::Usage(format!("{doing}: {}", error::explain_io(&e)));
            if std::fs::metadata(path).map_err(unreadable)?.len() > *left {
                return Err(large());
            }
            std::fs::read(path).map_err(unreadable)?
        }
        Location::Remote(url) if url.scheme().starts_with("http") => {
            runtime.block_on(download(url, *left)).map_err(|why| match why {
                Some(e) => Error::Failed(format!("{doing}: {}", explain(e))),
                None => large(),
            })?
        }
        Location::Remote(url) => {
            let opened = storage::open(url)?;
            let get = async {
                let found = opened.store.get(&opened.prefix).await?;
                Ok(if found.meta.size > *left { None } else { Some(found.bytes().await?) })
            };
            runtime.block_on(get).map_err(|e| error::store(doing, e))?.ok_or_else(large)?.into()
        }
    };
    *left -= (bytes.len() as u64).min(*left);
    Ok(bytes)
}

/// The body of an answer; `None` as its error where it has more than `most` bytes.
async fn download(url: &Url, most: u64) -> Result<Vec<u8>, Option<reqwest::Error>> {
    let mut answer = reqwest::get(url.clone()).await?.error_for_status()?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() as u64 + chunk.len() as u64 > most {
            return Err(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn explain(e: reqwest::Error) -> String {
    match e.status() {
        Some(status) => format!("the server answers {status}"),
        None => format!("cannot be downloaded: {}", root_cause(&e.without_url())),
    }
}

fn root_cause(err: &dyn std::error::Error) -> String {
    err.source().map_or_else(|| err.to_string(), root_cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beside_another_is_in_the_same_place() {
        let of = |name: &str, file: &str| sibling(&Location::parse(name).unwrap(), file);
        assert_eq!(of("/a/m.onnx", "m.onnx.data"), Location::parse("/a/m.onnx.data").unwrap());
        assert_eq!(of("s3://b/k/m.onnx", "w/1 #?"), Location::parse("s3://b/k/w/1 #?").unwrap());
        let Location::Remote(url) = of("https://h/k/m.onnx?token=x", "m.data") else { panic!() };
        assert_eq!(url.as_str(), "https://h/k/m.data?token=x");
    }

    #[test]
    fn every_file_counts_in_the_hash() {
        let of = |beside: &[(&str, &str)]| {
            let beside = beside.iter().map(|(name, text)| (name.to_string(), text.as_bytes().to_vec()));
            Files { model: b"model".to_vec(), beside: beside.collect() }.sha256()
        };
        assert_eq!(of(&[]), hex_sha256(b"model"));
        let hashes =
            [of(&[]), of(&[("a", "x")]), of(&[("a", "y")]), of(&[("b", "x")]), of(&[("a", "x"), ("b", "")])];
        assert_eq!(hashes.iter().collect::<std::collections::HashSet<_>>().len(), hashes.len());
    }
}
