//! Models from web servers: by https, within limits, and from nowhere that whoever named the address did not mean. A
//! server that is asked for a model must not be able to have this machine ask its neighbours, or the cloud's metadata.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};
use url::{Host, Url};

/// Why there is no body.
pub(super) enum Refused {
    /// It has more bytes than it may.
    TooLarge,
    /// It is at an address that is not asked; why, without the address.
    Address(String),
    /// The server, or the way there.
    Failed(String),
}

/// Nothing arrives for so long.
const SILENCE: Duration = Duration::from_secs(60);
/// All of it: 2 GiB at 1 MB a second take 36 minutes.
const LONGEST: Duration = Duration::from_secs(3600);
const REDIRECTS: usize = 5;

/// The body of an answer of at most `most` bytes.
pub(super) async fn download(url: &Url, most: u64) -> Result<Vec<u8>, Refused> {
    if !is_private_talk(url) {
        return Err(Refused::Address(
            "models are fetched by https, and by http from this machine alone".into(),
        ));
    }
    let first = url.clone();
    let client = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(SILENCE)
        .timeout(LONGEST)
        .redirect(Policy::custom(move |attempt| follow(attempt, &first)))
        .dns_resolver(Public {
            named: url.host_str().into_iter().map(str::to_owned).chain(proxies()).collect(),
        })
        .build()
        .map_err(failed)?;
    let mut answer =
        client.get(url.clone()).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let mut body = Vec::new();
    if answer.content_length().is_some_and(|length| length > most) {
        return Err(Refused::TooLarge);
    }
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if body.len() as u64 + chunk.len() as u64 > most {
            return Err(Refused::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Whether nobody on the way can put something else in the model's place.
fn is_private_talk(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || is_here
}

/// Where a server may send us: to itself, and to public places by https.
fn follow(attempt: Attempt<'_>, first: &Url) -> reqwest::redirect::Action {
    if attempt.previous().len() > REDIRECTS {
        return attempt.error(format!("it redirects more than {REDIRECTS} times"));
    }
    match may_follow(attempt.url(), first) {
        Ok(()) => attempt.follow(),
        Err(why) => attempt.error(why),
    }
}

fn may_follow(to: &Url, first: &Url) -> Result<(), &'static str> {
    let is_itself = to.host() == first.host() && to.port_or_known_default() == first.port_or_known_default();
    if is_itself && to.scheme() == first.scheme() {
        return Ok(());
    }
    if to.scheme() != "https" {
        return Err("it redirects to an address that is not https");
    }
    let is_inside = match to.host() {
        Some(Host::Ipv4(ip)) => is_inside(ip.into()),
        Some(Host::Ipv6(ip)) => is_inside(ip.into()),
        // Where other names lead is looked at when they are resolved.
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => true,
    };
    if is_inside { Err("it redirects to a private or link-local address") } else { Ok(()) }
}

/// Whether an address is of this machine, its network or its cloud.
/// Sources: RFC 6890 and RFC 4193; <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>.
fn is_inside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || a == 0
                || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => match ip.to_ipv4() {
            Some(ip) => is_inside(ip.into()),
            None => ip.is_unique_local() || ip.is_unicast_link_local(),
        },
    }
}

/// Resolves names; those that the user did not name, to public addresses alone.
struct Public {
    /// The hosts that the user named: the model's, and the proxies'.
    named: Vec<String>,
}

/// Hosts of the proxies that the environment names: they may well be inside.
fn proxies() -> impl Iterator<Item = String> {
    let variables = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    variables.into_iter().filter_map(|name| proxy_host(&std::env::var(name).ok()?))
}

/// The host of a proxy, with or without a scheme.
fn proxy_host(proxy: &str) -> Option<String> {
    let url = if proxy.contains("://") { Url::parse(proxy) } else { Url::parse(&format!("http://{proxy}")) };
    url.ok()?.host_str().map(str::to_owned)
}

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        let is_named = self.named.iter().any(|named| named == name.as_str());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> =
                found.filter(|address| is_named || !is_inside(address.ip())).collect();
            if found.is_empty() {
                return Err("it redirects to a name of private or link-local addresses".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// In words that do not have the address, which may be signed.
fn failed(e: reqwest::Error) -> Refused {
    Refused::Failed(match e.status() {
        Some(status) => format!("the server answers {status}"),
        None => format!("cannot be downloaded: {}", root_cause(&e.without_url())),
    })
}

fn root_cause(err: &dyn std::error::Error) -> String {
    err.source().map_or_else(|| err.to_string(), root_cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_proxy_is_named_by_the_user_too() {
        assert_eq!(proxy_host("http://ana:secret@proxy.corp:3128/").as_deref(), Some("proxy.corp"));
        assert_eq!(proxy_host("proxy.corp:3128").as_deref(), Some("proxy.corp"));
        assert_eq!(proxy_host(""), None);
    }

    #[test]
    fn models_come_by_https() {
        for good in ["https://h/m.onnx", "http://127.0.0.1:1/m", "http://localhost/m", "http://[::1]/m"] {
            assert!(is_private_talk(&url(good)), "{good}");
        }
        for bad in ["http://h/m.onnx", "http://169.254.169.254/m", "http://localhost.evil.org/m"] {
            assert!(!is_private_talk(&url(bad)), "{bad}");
        }
    }

    #[test]
    fn no_server_sends_us_to_its_neighbours() {
        let first = url("https://models.example/m?token=x");
        for good in ["https://models.example/n", "https://cdn.example/m", "https://203.0.113.9/m"] {
            assert_eq!(may_follow(&url(good), &first), Ok(()), "{good}");
        }
        for bad in [
            "http://cdn.example/m",
            "http://models.example/n",
            "https://169.254.169.254/latest/meta-data/",
            "https://[fd00:ec2::254]/latest/",
            "https://10.0.0.1/m",
            "https://100.100.0.1/m",
            "https://127.0.0.1/m",
            "https://[::ffff:127.0.0.1]/m",
            "https://[fe80::1]/m",
            "https://0.0.0.0/m",
            "https://localhost/m",
        ] {
            assert!(may_follow(&url(bad), &first).is_err(), "{bad}");
        }
        // A server of this machine's own, for trying: to itself, and not to the rest of the machine.
        let here = url("http://127.0.0.1:8000/m");
        assert_eq!(may_follow(&url("http://127.0.0.1:8000/n"), &here), Ok(()));
        assert!(may_follow(&url("http://127.0.0.1:9000/n"), &here).is_err());
    }

    #[tokio::test]
    async fn names_that_lead_inside_are_not_resolved() {
        let name = || "localhost".parse::<Name>().unwrap();
        let resolver = |named: &str| Public { named: vec![named.into()] };
        assert!(resolver("models.example").resolve(name()).await.is_err());
        assert!(resolver("localhost").resolve(name()).await.is_ok());
    }
}
