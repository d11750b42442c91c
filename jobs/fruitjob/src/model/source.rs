//! Where a model comes from: a file, an object or a web server.

use fruitjob_interface::location::Location;
use object_store::ObjectStoreExt;

use crate::error::{self, Error, Result};
use crate::storage;

/// A model's name without the signature or password that a URI may carry.
pub(crate) fn display_name(name: &str) -> String {
    match Location::parse(name) {
        Ok(remote @ Location::Remote(_)) => remote.to_string(),
        _ => name.to_owned(),
    }
}

/// The bytes of a model's file, whole.
///
/// # Errors
/// [`Error::Usage`] when a path cannot be read, [`Error::Failed`] or [`Error::Denied`] when a server or store does not give it.
pub(super) fn read(name: &str, runtime: &tokio::runtime::Handle) -> Result<Vec<u8>> {
    let location = Location::parse(name)?;
    // Displayed without the signature that a URI may carry.
    let doing = format!("model {location}");
    match &location {
        Location::Local(path) => std::fs::read(path).map_err(|e| {
            let why = error::explain_io(&e);
            Error::Usage(format!("{doing}: {why}; name an ONNX file or URI, or 'builtin' for the one inside"))
        }),
        Location::Remote(url) if url.scheme().starts_with("http") => {
            let get = async { reqwest::get(url.clone()).await?.error_for_status()?.bytes().await };
            runtime.block_on(get).map(Into::into).map_err(|e| {
                let why = match e.status() {
                    Some(status) => format!("the server answers {status}"),
                    None => format!("cannot be downloaded: {}", root_cause(&e.without_url())),
                };
                Error::Failed(format!("{doing}: {why}"))
            })
        }
        Location::Remote(url) => {
            let opened = storage::open(url)?;
            let get = async { opened.store.get(&opened.prefix).await?.bytes().await };
            runtime.block_on(get).map(Into::into).map_err(|e| error::store(&doing, e))
        }
    }
}

fn root_cause(err: &dyn std::error::Error) -> String {
    err.source().map_or_else(|| err.to_string(), root_cause)
}
