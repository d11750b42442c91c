//! How calls get to AWS, and how they fail to: names, connections, TLS and proxies.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::IpAddr;

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_async::future::timeout::TimedOutError;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use aws_smithy_http_client::{ConnectorBuilder, tls};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::result::ConnectorError;
use hyper_util::client::proxy::matcher::Matcher;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, RootCertStore};

use crate::error::{Error, Result};

/// Where certificates are named that are trusted beside the system's.
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// What a call failed at on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The host's name has no address.
    Name,
    /// Nobody vouches for the certificate that the other side shows.
    Untrusted,
    /// The certificate is not valid now: one clock of two is wrong.
    Validity,
    /// The certificate is another host's, or TLS broke down otherwise.
    Tls,
    /// The proxy asks who we are.
    ProxyLogin,
    /// The proxy does not let this host through.
    ProxyRefusal,
    /// Nobody listens there.
    Refused,
    /// No way leads there.
    Unreachable,
    /// No connection in time.
    ConnectTimeout,
    /// A connection, and no answer in time.
    Silence,
    /// The connection ended early.
    Broken,
}

/// A call that did not get through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// What it failed at.
    pub fault: Fault,
    /// The proxy on the way, as `host:port`.
    pub proxy: Option<String>,
    /// What was said of it.
    pub words: String,
}

impl Fault {
    /// Whether the next attempt would fail at the same.
    pub fn lasts(self) -> bool {
        match self {
            Fault::Untrusted | Fault::Validity | Fault::Tls | Fault::ProxyLogin | Fault::ProxyRefusal => true,
            Fault::Name
            | Fault::Refused
            | Fault::Unreachable
            | Fault::ConnectTimeout
            | Fault::Silence
            | Fault::Broken => false,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let there = match &self.proxy {
            Some(proxy) => format!("the proxy {proxy}"),
            None => "the endpoint".into(),
        };
        match self.fault {
            Fault::Name => write!(f, "the name of {there} was not found (DNS)")?,
            Fault::Untrusted => {
                f.write_str("TLS: the certificate comes from an authority that is not trusted here")?
            }
            Fault::Validity => f.write_str("TLS: the certificate is not valid now")?,
            Fault::Tls => f.write_str("TLS failed")?,
            Fault::ProxyLogin => write!(f, "{there} asks for a login")?,
            Fault::ProxyRefusal => write!(f, "{there} does not let it through")?,
            Fault::Refused => write!(f, "{there} refuses connections")?,
            Fault::Unreachable => write!(f, "no network leads to {there}")?,
            Fault::ConnectTimeout => write!(f, "no connection to {there} in time")?,
            Fault::Silence => write!(f, "{there} was reached and did not answer in time")?,
            Fault::Broken => write!(f, "the connection to {there} broke")?,
        }
        if self.words.is_empty() { Ok(()) } else { write!(f, ": {}", self.words) }
    }
}

impl Transport {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self.fault {
            Fault::Name if self.proxy.is_some() => "check HTTPS_PROXY, then the same command",
            Fault::Name => {
                "check the region's name and this machine's DNS, then the same command: it goes on from what is there"
            }
            Fault::Untrusted => {
                "where a proxy of your own opens TLS, name its certificate: AWS_CA_BUNDLE=FILE.pem; elsewhere, do not go on"
            }
            Fault::Validity => {
                "check this machine's clock, then the same command: it goes on from what is there"
            }
            Fault::Tls => {
                "check what stands between here and AWS (HTTPS_PROXY, AWS_ENDPOINT_URL), then the same command"
            }
            Fault::ProxyLogin => "HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT, then the same command",
            Fault::ProxyRefusal => {
                "let *.amazonaws.com through the proxy, or name it in NO_PROXY where it can be reached without, then the same command"
            }
            Fault::Refused | Fault::Unreachable | Fault::ConnectTimeout if self.proxy.is_some() => {
                "check HTTPS_PROXY and whether the proxy runs, then the same command: it goes on from what is there"
            }
            Fault::Refused => {
                "check AWS_ENDPOINT_URL and firewalls, then the same command: it goes on from what is there"
            }
            Fault::ConnectTimeout => {
                "check firewalls, and whether a proxy is needed (HTTPS_PROXY), then the same command: it goes on from what is there"
            }
            Fault::Unreachable | Fault::Silence | Fault::Broken => {
                "check the network, then the same command: it goes on from what is there"
            }
        }
    }

    /// What an error says of the way; `None` where it lies elsewhere.
    pub fn of(error: &(dyn StdError + 'static)) -> Option<Transport> {
        let proxy = proxy();
        let mut fault = None;
        let mut words = String::new();
        // The deepest cause that says something is the best.
        for cause in causes(error) {
            if let Some(found) = Fault::of(cause, proxy.is_some()) {
                (fault, words) = (Some(found), cause.to_string());
            }
        }
        if let Some(ResolveDnsError { .. }) = find::<ResolveDnsError>(error) {
            words = causes(error).last().map(ToString::to_string).unwrap_or_default();
        }
        Some(Transport { fault: fault?, proxy, words })
    }

    /// An attempt took too long as a whole.
    pub fn silence() -> Transport {
        Transport { fault: Fault::Silence, proxy: proxy(), words: String::new() }
    }

    /// HTTP 407: the proxy's own answer.
    pub fn proxy_login() -> Transport {
        Transport { fault: Fault::ProxyLogin, proxy: proxy(), words: "HTTP 407".into() }
    }
}

/// What hyper-util says of a proxy's answer to CONNECT; its type is private.
/// Source: hyperium/hyper-util, src/client/legacy/connect/proxy/tunnel.rs, `TunnelError`.
const TUNNEL: &[(&str, Fault)] = &[
    ("tunnel error: proxy authorization required", Fault::ProxyLogin),
    ("tunnel error: unsuccessful", Fault::ProxyRefusal),
    ("tunnel error: unexpected end of file", Fault::ProxyRefusal),
];

impl Fault {
    /// What one error means, whatever is below it. `proxied`: a proxy is on the way.
    fn of(error: &(dyn StdError + 'static), proxied: bool) -> Option<Fault> {
        if error.is::<ResolveDnsError>() {
            return Some(Fault::Name);
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(match error {
                rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Fault::Untrusted,
                rustls::Error::InvalidCertificate(
                    CertificateError::Expired
                    | CertificateError::ExpiredContext { .. }
                    | CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. },
                ) => Fault::Validity,
                _ => Fault::Tls,
            });
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() {
                ErrorKind::ConnectionRefused => Some(Fault::Refused),
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
                    Some(Fault::Unreachable)
                }
                ErrorKind::TimedOut => Some(Fault::ConnectTimeout),
                ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof => Some(Fault::Broken),
                _ => None,
            };
        }
        if error.is::<TimedOutError>() {
            // No read timeout is set: what times out below a whole attempt is the connecting.
            return Some(Fault::ConnectTimeout);
        }
        if let Some(error) = error.downcast_ref::<ConnectorError>() {
            return match error {
                error if error.is_timeout() => Some(Fault::ConnectTimeout),
                error if error.is_io() || error.is_other() => Some(Fault::Broken),
                _ => None,
            };
        }
        let text = proxied.then(|| error.to_string())?;
        TUNNEL.iter().find(|(words, _)| *words == text).map(|(_, fault)| *fault)
    }
}

/// An error and what is below it, also what an I/O error wraps.
pub fn causes<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    let mut all = vec![error];
    while let Some(&last) = all.last() {
        let wrapped = last.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let Some(next) = wrapped.map(|error| error as &(dyn StdError + 'static)).or_else(|| last.source())
        else {
            break;
        };
        all.push(next);
    }
    all
}

/// The first of a type in an error's causes.
pub fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    causes(error).into_iter().find_map(|cause| cause.downcast_ref())
}

/// The proxy on the way to AWS, as `host:port`: no user, no password.
fn proxy() -> Option<String> {
    let to = std::env::var("AWS_ENDPOINT_URL").unwrap_or_default();
    let to = to.parse().unwrap_or_else(|_| http::Uri::from_static("https://sts.amazonaws.com/"));
    let found = Matcher::from_env().intercept(&to)?;
    let uri = found.uri();
    let host = uri.host().unwrap_or_default();
    Some(uri.port_u16().map_or(host.to_owned(), |port| format!("{host}:{port}")))
}

/// Asks the system, and says what it is that failed.
#[derive(Debug, Clone)]
struct Resolver;

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            Ok(found.map(|address| address.ip()).collect::<Vec<IpAddr>>())
        })
    }
}

/// The certificates that `AWS_CA_BUNDLE` names, or `ca_bundle` of the profile, as PEM.
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-gen-config.html>.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage), where there are none.
pub fn ca_bundle(profile: Option<&str>) -> Result<Vec<u8>> {
    let named = std::env::var_os(CA_BUNDLE).filter(|file| !file.is_empty()).map(|file| (CA_BUNDLE, file));
    let Some((by, file)) = named.or(profile.map(|file| ("ca_bundle of the AWS profile", file.into()))) else {
        return Ok(Vec::new());
    };
    let file = std::path::Path::new(&file);
    let bad = |why: String| {
        Error::usage(format!("{by} names {}: {why}", file.display()))
            .help(format!("name a file of certificates in PEM, or take {by} away"))
    };
    let pem = std::fs::read(file).map_err(|e| bad(format!("it cannot be read: {e}")))?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| bad(format!("it is no PEM: {e}")))?;
        store.add(certificate).map_err(|e| bad(format!("a certificate in it is none: {e}")))?;
    }
    if store.is_empty() { Err(bad("no certificate is in it".into())) } else { Ok(pem) }
}

/// The SDK's own default, on ring in place of AWS-LC: that is the library which everything else here encrypts with.
/// `ca_bundle`: certificates that are trusted beside the system's, as PEM.
pub fn http_client(ca_bundle: &[u8]) -> SharedHttpClient {
    let tls = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    let mut trusted = TrustStore::default();
    if !ca_bundle.is_empty() {
        trusted.add_pem_certificate(ca_bundle);
    }
    let context = TlsContext::builder().with_trust_store(trusted).build().expect("it has no server names");
    aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector =
            ConnectorBuilder::default().tls_provider(tls.clone()).tls_context(context.clone());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build_with_resolver(Resolver)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(error: impl StdError + Send + Sync + 'static) -> Option<Fault> {
        Transport::of(&ConnectorError::io(error.into())).map(|t| t.fault)
    }

    #[test]
    fn what_a_call_failed_at_is_told_by_types() {
        let certificate = |error| io::Error::other(rustls::Error::InvalidCertificate(error));
        for (found, wanted) in [
            (fault(ResolveDnsError::new("no such host")), Fault::Name),
            (fault(certificate(CertificateError::UnknownIssuer)), Fault::Untrusted),
            (fault(certificate(CertificateError::Expired)), Fault::Validity),
            (fault(certificate(CertificateError::NotValidForName)), Fault::Tls),
            (fault(io::Error::from(ErrorKind::ConnectionRefused)), Fault::Refused),
            (fault(io::Error::from(ErrorKind::NetworkUnreachable)), Fault::Unreachable),
            (fault(io::Error::from(ErrorKind::TimedOut)), Fault::ConnectTimeout),
            (fault(io::Error::from(ErrorKind::ConnectionReset)), Fault::Broken),
            (fault(io::Error::other("something else")), Fault::Broken),
        ] {
            assert_eq!(found, Some(wanted));
        }
        let slow = ConnectorError::timeout("HTTP connect timeout".into());
        assert_eq!(Transport::of(&slow).unwrap().fault, Fault::ConnectTimeout);
        assert_eq!(Transport::of(&io::Error::other("no file")), None);
    }

    #[test]
    fn a_fault_has_words_and_a_remedy_of_its_own() {
        let all = [
            Fault::Name,
            Fault::Untrusted,
            Fault::Validity,
            Fault::Tls,
            Fault::ProxyLogin,
            Fault::ProxyRefusal,
            Fault::Refused,
            Fault::Unreachable,
            Fault::ConnectTimeout,
            Fault::Silence,
            Fault::Broken,
        ];
        let told = all.map(|fault| Transport { fault, proxy: None, words: String::new() }.to_string());
        assert_eq!(told.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
        let proxied =
            Transport { fault: Fault::Refused, proxy: Some("proxy:3128".into()), words: "os error".into() };
        assert_eq!(proxied.to_string(), "the proxy proxy:3128 refuses connections: os error");
        assert!(proxied.remedy().contains("HTTPS_PROXY"));
    }
}
