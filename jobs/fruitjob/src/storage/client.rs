//! The connection to a store: `object_store`'s own, with listings made fit for its idea of a path, and with an ear for a
//! store that asks for fewer requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use tracing::info;

use super::names;

/// How often stores have asked for fewer requests (S3's SlowDown, Azure's ServerBusy). The client repeats such requests
/// by itself; `-v` shows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Throttled(Arc<AtomicU64>);

impl Throttled {
    /// Answers of that kind so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn note(&self, status: u16) {
        // 503 is SlowDown and ServerBusy, 429 is Google's and that of stores that speak S3's language.
        if matches!(status, 429 | 503) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Makes connections that are listened to.
#[derive(Debug, Default)]
pub(super) struct Connector(pub Throttled);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service { client, throttled: self.0.clone() }))
    }
}

#[derive(Debug)]
struct Service {
    client: HttpClient,
    throttled: Throttled,
}

impl Service {
    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let query = request.uri().query().unwrap_or_default();
        let lists = query.split('&').any(|part| matches!(part, "list-type=2" | "comp=list"));
        let (method, host) = (request.method().clone(), request.uri().host().unwrap_or_default().to_owned());
        let response = self.client.execute(request).await.inspect_err(|error| {
            // Its text may hold a signed address.
            info!(%method, host, kind = ?error.kind(), "no answer of the store: asked again, where that is safe");
        })?;
        let status = response.status().as_u16();
        self.throttled.note(status);
        if matches!(status, 408 | 429 | 500..) {
            info!(%method, host, status, "the store did not do it, and may be asked again");
        }
        if !lists || !response.status().is_success() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        Ok(HttpResponse::from_parts(parts, names::replaced(body.bytes().await?).into()))
    }
}

impl HttpService for Service {
    // What `#[async_trait]` makes of an `async fn`.
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        self.answer(request).boxed()
    }
}
