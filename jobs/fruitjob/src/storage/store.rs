//! Opens the object store that a URI names.

use std::sync::Arc;

use fruitjob_interface::location::Location;
use object_store::{ObjectStore, ObjectStoreScheme, path::Path as Key};
use url::Url;

use crate::error::{self, Error, Result};

/// Opens the object store behind a URI, with credentials and endpoint from the usual environment
/// variables (`AWS_*`, `GOOGLE_*`, `AZURE_*`) or the machine's role.
pub(crate) fn open(url: &Url) -> Result<(Arc<dyn ObjectStore>, Key)> {
    if let Ok((ObjectStoreScheme::Http, _)) = ObjectStoreScheme::parse(url) {
        let location = Location::Remote(url.clone());
        return Err(Error::Usage(format!(
            "{location}: a web server can serve a model, not images or results; use a directory or an object store"
        )));
    }
    let mut options: Vec<(String, String)> = std::env::vars()
        .filter(|(k, _)| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|p| k.starts_with(p)))
        .collect();
    // A plain-http endpoint is only ever set on purpose: an emulator.
    if options.iter().any(|(k, v)| k.contains("ENDPOINT") && v.starts_with("http://")) {
        options.push(("allow_http".into(), "true".into()));
    }
    let (store, path) = object_store::parse_url_opts(url, options)
        .map_err(|e| error::store(&format!("{}", Location::Remote(url.clone())), e))?;
    Ok((store.into(), path))
}
