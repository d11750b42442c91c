//! Where a model comes from: a file, an object or a web server, with the files beside it that hold its weights.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use fruitjob_interface::location::Location;
use fruitjob_interface::onnx::{MAX_BYTES, files_beside, hashed_text};
use futures::future::{Either, select};
use object_store::ObjectStoreExt;
use tokio::runtime::Handle;
use url::Url;

use super::web;
use crate::error::{self, Error, Result};
use crate::storage;
use crate::util::hex_sha256;

/// Who fetches a model.
pub(crate) struct Reader<'a> {
    pub runtime: &'a Handle,
    /// An error, once nobody waits for it any more.
    pub stopped: &'a dyn Fn() -> Result<()>,
}

impl Reader<'_> {
    /// Waits for what is fetched, or until a signal.
    fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let stopped = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if let Err(stopped) = (self.stopped)() {
                    return stopped;
                }
            }
        };
        self.runtime.block_on(async {
            match select(Box::pin(work), Box::pin(stopped)).await {
                Either::Left((found, _)) => found,
                Either::Right((stopped, _)) => Err(stopped),
            }
        })
    }
}

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
        let model = hex_sha256(&self.model);
        let beside = self.beside.iter().map(|(name, bytes)| (name.as_str(), hex_sha256(bytes)));
        hashed_text(&model, beside).map_or(model, |text| hex_sha256(text.as_bytes()))
    }
}

/// All files of a model, whole.
///
/// # Errors
/// [`Error::Usage`] when a path cannot be read or is no model, [`Error::Failed`] or [`Error::Denied`] when a server or store
/// does not give it.
pub(super) fn read(name: &str, reader: &Reader<'_>) -> Result<Files> {
    let location = Location::parse(name)?;
    // Displayed without the signature that a URI may carry.
    let doing = format!("model {location}");
    let mut left = MAX_BYTES;
    let model = get(&location, &doing, &mut left, reader).map_err(|e| match e {
        Error::Usage(why) => Error::Usage(format!(
            "{why}; name an ONNX file or URI, or one of 'builtin', 'builtin-1' and 'mobilenet_v2'"
        )),
        other => other,
    })?;
    let names = files_beside(&model).map_err(|why| Error::Usage(format!("{doing}: {why}")))?;
    let mut beside = BTreeMap::new();
    for file in names {
        let doing = format!("{doing}: its weights are in {file} beside it, and that file");
        let bytes = get(&sibling(&location, &file), &doing, &mut left, reader).map_err(|e| {
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
fn get(location: &Location, doing: &str, left: &mut u64, reader: &Reader<'_>) -> Result<Vec<u8>> {
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
            let download = async {
                web::download(url, *left).await.map_err(|why| match why {
                    web::Refused::TooLarge => large(),
                    web::Refused::Address(why) => Error::Usage(format!("{doing}: {why}")),
                    web::Refused::Failed(why) => Error::Failed(format!("{doing}: {why}")),
                })
            };
            reader.wait(download)?
        }
        Location::Remote(url) => {
            let opened = storage::open(url)?;
            let get = async {
                let found = opened.store.get(&opened.prefix).await.map_err(|e| error::store(doing, e))?;
                if found.meta.size > *left {
                    return Err(large());
                }
                found.bytes().await.map_err(|e| error::store(doing, e))
            };
            reader.wait(get)?.into()
        }
    };
    *left -= (bytes.len() as u64).min(*left);
    Ok(bytes)
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
