//! Opens the object store that a URI names.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fruitjob_interface::location::Location;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ObjectStore, ObjectStoreExt, ObjectStoreScheme, path::Path as Key};
use tokio::runtime::Handle;
use url::Url;

use super::client::{Connector, Throttled};
use crate::error::{self, Error, Result};

/// A store that is open.
pub(crate) struct Opened {
    pub store: Arc<dyn ObjectStore>,
    /// What the URI names in it.
    pub prefix: Key,
    /// Whether it asks for fewer requests.
    pub throttled: Throttled,
}

/// What [`lend`] was given.
static LENT: OnceLock<Vec<(String, String)>> = OnceLock::new();

/// Has this process open AWS's stores by these options, in the place of what the environment says: `AWS_ACCESS_KEY_ID` and others,
/// by the names of their variables. For who has chosen credentials by other rules; only the first call counts.
pub fn lend(options: Vec<(String, String)>) {
    LENT.get_or_init(|| options);
}

/// Opens the object store behind a URI, with credentials and endpoint from the usual environment
/// variables (`AWS_*`, `GOOGLE_*`, `AZURE_*`) or the machine's role.
pub(crate) fn open(url: &Url) -> Result<Opened> {
    let location = Location::Remote(url.clone());
    let wrong = |e: object_store::Error| error::store(&location.to_string(), e);
    let (scheme, prefix) = ObjectStoreScheme::parse(url).map_err(|e| wrong(e.into()))?;
    let throttled = Throttled::default();
    let store = build(scheme, url, Connector(throttled.clone())).map_err(wrong)?;
    let store = store.ok_or_else(|| {
        Error::Usage(format!(
            "{location}: a web server can serve a model, not images or results; use a directory or an object store"
        ))
    })?;
    Ok(Opened { store, prefix, throttled })
}

/// The client, as `object_store::parse_url_opts` makes it, but for the connection; `None` for what is no object store.
fn build(
    scheme: ObjectStoreScheme,
    url: &Url,
    connector: Connector,
) -> object_store::Result<Option<Arc<dyn ObjectStore>>> {
    let lent = LENT.get();
    let kinds = if lent.is_some() { &["GOOGLE_", "AZURE_"][..] } else { &["AWS_", "GOOGLE_", "AZURE_"] };
    let mut options: Vec<(String, String)> =
        std::env::vars().filter(|(k, _)| kinds.iter().any(|p| k.starts_with(p))).collect();
    options.extend(lent.into_iter().flatten().cloned());
    // A plain-http endpoint is only ever set on purpose: an emulator.
    if options.iter().any(|(k, v)| k.contains("ENDPOINT") && v.starts_with("http://")) {
        options.push(("allow_http".into(), "true".into()));
    }
    // The builders have no trait in common.
    macro_rules! built {
        ($builder:ty) => {{
            let builder = <$builder>::new().with_url(url.to_string()).with_http_connector(connector);
            let set =
                |builder: $builder, (key, value): (String, String)| match key.to_ascii_lowercase().parse() {
                    Ok(key) => builder.with_config(key, value),
                    Err(_) => builder,
                };
            Some(Arc::new(options.into_iter().fold(builder, set).build()?) as Arc<dyn ObjectStore>)
        }};
    }
    Ok(match scheme {
        ObjectStoreScheme::AmazonS3 => built!(AmazonS3Builder),
        ObjectStoreScheme::GoogleCloudStorage => built!(GoogleCloudStorageBuilder),
        ObjectStoreScheme::MicrosoftAzure => built!(MicrosoftAzureBuilder),
        _ => None,
    })
}

/// The bytes of a file that is held in memory, whole.
///
/// # Errors
/// [`Error::Usage`] when a path cannot be read, [`Error::Failed`] or [`Error::Denied`] when a store does not give it.
pub(crate) fn read(location: &Location, runtime: &Handle) -> Result<Bytes> {
    match location {
        Location::Local(path) => std::fs::read(path)
            .map(Into::into)
            .map_err(|e| Error::Usage(format!("{location}: {}", error::explain_io(&e)))),
        Location::Remote(url) => {
            let opened = open(url)?;
            let get = async { opened.store.get(&opened.prefix).await?.bytes().await };
            runtime.block_on(get).map_err(|e| error::store(&location.to_string(), e))
        }
    }
}
