//! Places, as they are named.

use std::path::{Path, PathBuf};

use url::Url;

use crate::error::{Error, Result};

/// A directory on this machine, or a prefix in an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory; absolute.
    Local(PathBuf),
    /// `s3://bucket/prefix`, `gs://`, `az://`, `abfss://`, `https://`.
    Remote(Url),
}

impl Location {
    /// Reads what a person typed: a path, `file://`, or an object-store URI.
    ///
    /// # Errors
    /// [`Error::Usage`] for a scheme that no store serves.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::Usage("an empty path; name a directory or a URI".into()));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Location::Local(absolute(Path::new(text))?));
        };
        match scheme {
            "file" => Ok(Location::Local(absolute(Path::new(rest))?)),
            "s3" | "s3a" | "gs" | "az" | "azure" | "abfs" | "abfss" | "adl" | "http" | "https" => {
                let wrong = |e| Error::Usage(format!("'{text}' is not a URI: {e}"));
                let is_web = scheme.starts_with("http");
                let (store, key) = if is_web { (text, "") } else { split_key(text, scheme, rest) };
                let mut url = Url::parse(store).map_err(wrong)?;
                if !url.has_host() {
                    return Err(Error::Usage(format!("'{text}' names no bucket: {scheme}://BUCKET/PREFIX")));
                }
                // A key is taken as it stands: '#', '?' and '%' are letters of it, as they are for every client of a store.
                if let (false, Ok(mut segments)) = (is_web, url.path_segments_mut()) {
                    segments.pop_if_empty().extend(key.split('/').filter(|part| !part.is_empty()));
                }
                Ok(Location::Remote(url))
            }
            _ => Err(Error::Usage(format!(
                "'{text}': no store serves {scheme}://; use a directory, s3://, gs://, az:// or abfss://"
            ))),
        }
    }

    /// Whether `self` is `other` or lies below it.
    pub fn within(&self, other: &Location) -> bool {
        self.below(other).is_some()
    }

    /// The path of `self` below `other`, without slashes at its ends; empty when they are the same place.
    pub fn below(&self, other: &Location) -> Option<String> {
        match (self, other) {
            (Location::Local(a), Location::Local(b)) => {
                let (a, b) = (canonical(a), canonical(b));
                Some(a.strip_prefix(b).ok()?.to_str()?.to_owned())
            }
            (Location::Remote(a), Location::Remote(b)) => {
                let same = a.scheme() == b.scheme() && a.host_str() == b.host_str();
                let (a, b) = (decoded(a.path()), decoded(b.path()));
                let (a, b) = (a.trim_matches('/'), b.trim_matches('/'));
                let rest = a.strip_prefix(b).filter(|_| same)?;
                (b.is_empty() || rest.is_empty() || rest.starts_with('/'))
                    .then(|| rest.trim_matches('/').to_owned())
            }
            _ => None,
        }
    }

    /// The last segment of the path, or the bucket: the label of images that lie in no folder.
    pub fn name(&self) -> String {
        match self {
            Location::Local(path) => {
                path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
            }
            Location::Remote(url) => {
                let last = url.path_segments().and_then(|s| s.rev().find(|s| !s.is_empty()));
                last.map(decoded).or(url.host_str().map(str::to_owned)).unwrap_or_default()
            }
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Location::Local(path) => write!(f, "{}", path.display()),
            Location::Remote(url) => {
                // A URI may carry a signature (https) or a password; neither belongs in a log.
                let mut url = url.clone();
                url.set_query(None);
                url.set_fragment(None);
                let _ = url.set_password(None);
                let text = url.as_str().trim_end_matches('/');
                if url.scheme().starts_with("http") {
                    write!(f, "{text}")
                } else {
                    write!(f, "{}", decoded(text))
                }
            }
        }
    }
}

/// `scheme://bucket` and the key behind it.
fn split_key<'a>(text: &'a str, scheme: &str, rest: &'a str) -> (&'a str, &'a str) {
    let bucket = rest.find('/').unwrap_or(rest.len());
    (&text[..scheme.len() + "://".len() + bucket], &rest[bucket..])
}

/// A part of a URI as it was before it was percent-encoded.
fn decoded(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Error::io(&format!("{}", path.display()), e))
}

/// The path with symlinks resolved as far as it exists.
fn canonical(path: &Path) -> PathBuf {
    let mut rest = PathBuf::new();
    for ancestor in path.ancestors() {
        if let Ok(real) = ancestor.canonicalize() {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
        if let Some(name) = ancestor.file_name() {
            rest = Path::new(name).join(&rest);
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Location {
        Location::parse(text).unwrap()
    }

    #[test]
    fn below_tells_nested_places_from_neighbours() {
        let bucket = parse("s3://fruits");
        assert_eq!(parse("s3://fruits/out/").below(&bucket).as_deref(), Some("out"));
        assert_eq!(parse("s3://fruits/").below(&bucket).as_deref(), Some(""));
        assert!(!parse("s3://fruits/data-out").within(&parse("s3://fruits/data")));
        assert!(!parse("gs://fruits/out").within(&bucket));
        assert_eq!(parse("/tmp/x/out").below(&parse("/tmp/x/./")).as_deref(), Some("out"));
        assert!(!parse("/tmp/x-out").within(&parse("/tmp/x")));
    }

    #[test]
    fn a_key_is_taken_as_it_stands() {
        let odd = "s3://fruits/Äpfel [1]/100%/a#b?c=d/%20 {~}";
        let place = parse(odd);
        assert_eq!(place.to_string(), odd);
        assert_eq!(place.name(), "%20 {~}");
        assert_eq!(place.below(&parse("s3://fruits/Äpfel [1]")).as_deref(), Some("100%/a#b?c=d/%20 {~}"));
    }

    #[test]
    fn secrets_are_not_displayed() {
        let shown = parse("https://u:pw@host/model.onnx?X-Amz-Signature=abc").to_string();
        assert_eq!(shown, "https://u@host/model.onnx");
    }

    #[test]
    fn refuses_what_no_store_serves() {
        for bad in ["ftp://x/y", "hdfs://x", "s3:///x", ""] {
            let message = Location::parse(bad).unwrap_err().to_string();
            assert!(!message.is_empty(), "{bad}");
        }
        assert_eq!(parse("s3://bucket/a/Fruits").name(), "Fruits");
        assert_eq!(parse("s3://bucket").name(), "bucket");
    }
}
