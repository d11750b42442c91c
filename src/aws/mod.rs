//! AWS: the only place that sees the SDK. One file a service, with plain types on our side; one table of what is
//! tried again.
//!
//! Every call goes through [`call`], has a name as IAM writes it, is made while the lock is held that it needs ([`fence`]),
//! and ends: an attempt after 60 seconds, its
//! repetitions by the bounds in [`retry`].

mod credentials;
pub mod ec2;
pub mod emr;
mod error;
pub mod etag;
pub mod fence;
pub mod iam;
mod owner;
mod regions;
mod retry;
pub mod s3;
mod s3_content;
mod s3_empty;
pub mod s3_uri;
mod transport;
pub mod vpc;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::config::IdentityCache;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_types::service_config::ServiceConfigKey;
use tracing::{debug, info};

use crate::clock;
use crate::config::AwsConfig;
use crate::error::{Error, Kind, Result};
use crate::facts::FACTS;
pub use credentials::Source;
use credentials::{Choice, Profiles};
pub use error::{ApiError, Reason};
use error::{describe, told};
use owner::{Ours, OwnerNamed};
pub use transport::ca_bundle;

/// Tags, by key.
pub type Tags = BTreeMap<String, String>;

/// One region of one account.
pub struct Aws {
    pub region: String,
    /// Where that was said.
    pub region_source: &'static str,
    /// The account's number.
    pub account: String,
    /// Who we are to AWS.
    pub caller: String,
    /// Where the credentials come from.
    pub source: Source,
    /// Other credentials that are there and that nobody ruled out, where they are not the same identity's.
    pub other: Option<Other>,
    /// What leads calls elsewhere than to AWS, and where.
    pub endpoints: Vec<(String, String)>,
    /// Certificates that are trusted beside the system's, as PEM.
    pub ca_bundle: Vec<u8>,
    ours: Ours,
    credentials: SharedCredentialsProvider,
    /// Where calls on buckets go, if not to AWS.
    s3_endpoint: Option<String>,
    s3: aws_sdk_s3::Client,
    iam: aws_sdk_iam::Client,
    ec2: aws_sdk_ec2::Client,
    emr: aws_sdk_emr::Client,
}

/// Credentials that are not used.
pub struct Other {
    /// Where they are.
    pub source: Source,
    /// Whose they are, or why that is not known.
    pub caller: Result<String>,
}

impl Other {
    /// That there are two.
    pub fn told(&self, used: &Aws) -> String {
        let theirs = match &self.caller {
            Ok(caller) => format!("is {caller}"),
            Err(error) => format!("cannot be compared with it: {}", error.message),
        };
        format!(
            "there are two sets of credentials: {} is {}, and {} {theirs}",
            used.source, used.caller, self.source
        )
    }
}

/// The services that are called, by the names that settings have for them.
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/ss-endpoints-table.html>.
const SERVICES: [&str; 5] = ["EC2", "EMR", "IAM", S3, "STS"];
const S3: &str = "S3";

/// Where a service's calls go, if something leads them elsewhere than to AWS.
fn endpoint(shared: &SdkConfig, service: &str) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id(service).env("AWS_ENDPOINT_URL").profile("endpoint_url");
    let key = key.build().expect("all three are there");
    let own = shared.service_config().and_then(|settings| settings.load_config(key));
    own.or_else(|| shared.endpoint_url().map(str::to_owned))
}

/// The variables and settings that lead calls elsewhere than to AWS, and where.
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>.
fn endpoints(shared: &SdkConfig) -> Vec<(String, String)> {
    let all = shared.endpoint_url().map(|url| ("AWS_ENDPOINT_URL".to_owned(), String::new(), url.to_owned()));
    let each = SERVICES.into_iter().filter_map(|service| {
        let url = endpoint(shared, service).filter(|url| Some(url.as_str()) != shared.endpoint_url())?;
        Some((format!("AWS_ENDPOINT_URL_{service}"), format!(" of {}", service.to_lowercase()), url))
    });
    let told = |(variable, of, url): (String, String, String)| {
        let is_set = std::env::var_os(&variable).is_some_and(|url| !url.is_empty());
        let name = if is_set { variable } else { format!("endpoint_url{of} in the AWS profile") };
        (name, without_login(&url))
    };
    all.into_iter().chain(each).map(told).collect()
}

/// A URL without the name and password that it may hold: it is printed.
fn without_login(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{}{path}", host.rsplit('@').next().unwrap_or_default())
}

/// Who AWS says that somebody is.
#[derive(Debug)]
struct Identity {
    account: String,
    arn: String,
}

impl Identity {
    /// Whether both may do the same: a role's sessions may, and the session is the last part of its ARN.
    /// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html>.
    fn is_same(&self, other: &Identity) -> bool {
        let principal = |arn: &str| match arn.rsplit_once('/') {
            Some((role, _)) if arn.contains(":assumed-role/") => role.to_owned(),
            _ => arn.to_owned(),
        };
        self.account == other.account && principal(&self.arn) == principal(&other.arn)
    }
}

/// The region to work in, and where it was said. There is no default: data may not leave where it belongs.
pub async fn region(config: &AwsConfig) -> Result<(String, &'static str)> {
    let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let found = if let Some(region) = &config.region {
        (region.clone(), "fruitctl.toml or --region")
    } else if let Some(region) = env("AWS_REGION").or_else(|| env("AWS_DEFAULT_REGION")) {
        (region, "the environment")
    } else {
        let mut provider = aws_config::profile::ProfileFileRegionProvider::builder();
        if let Some(profile) = credentials::profile(config) {
            provider = provider.profile_name(profile);
        }
        use aws_config::meta::region::ProvideRegion;
        match provider.build().region().await {
            Some(region) => (region.to_string(), "the AWS profile"),
            None => {
                return Err(Error::usage("no region, and none is assumed: what is made has to be somewhere")
                    .help("set region under [aws] in fruitctl.toml, or --region, or AWS_REGION"));
            }
        }
    };
    regions::tried(&found.0, found.1)?;
    if !is_allowed(config, &found.0) {
        return Err(Error::usage(format!(
            "region {} (from {}) is not among the allowed_regions of fruitctl.toml: {}; data may not leave them",
            found.0,
            found.1,
            config.allowed_regions.join(", ")
        ))
        .help("choose another region, or change allowed_regions under [aws]"));
    }
    Ok(found)
}

/// Whether data may be in this region.
pub fn is_allowed(config: &AwsConfig, region: &str) -> bool {
    let allowed = &config.allowed_regions;
    allowed.is_empty() || allowed.iter().any(|pattern| matches(pattern, region))
}

/// `eu-*`.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| rest.ends_with(after)),
        None => pattern == text,
    }
}

const WHO: (&str, &str) = ("sts:GetCallerIdentity", "these credentials");

/// A region that is on in every account.
/// Source: <https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html>.
const ALWAYS_ON: &str = "us-east-1";

impl Aws {
    /// Finds region and credentials, and who they belong to.
    pub async fn connect(config: &AwsConfig) -> Result<Aws> {
        let (region, region_source) = region(config).await?;
        let Loaded { shared, choice, ca_bundle } = load(config, &region).await?;
        // An emulator or a private endpoint has no host name per bucket.
        let elsewhere = endpoint(&shared, S3).is_some();
        let Identity { account, arn } = identify(&shared, &region, region_source).await?;
        let ours = Ours::default();
        let s3 = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(elsewhere)
            .interceptor(OwnerNamed::new(&account, &ours))
            .build();
        let other = match choice.other {
            Some(other) => {
                let theirs = shared.to_builder().credentials_provider(other.provider).build();
                let known = identify(&theirs, &region, region_source).await;
                let ours = Identity { account: account.clone(), arn: arn.clone() };
                let is_same = known.as_ref().is_ok_and(|known| known.is_same(&ours));
                (!is_same).then(|| Other { source: other.source, caller: known.map(|known| known.arn) })
            }
            None => None,
        };
        Ok(Aws {
            region,
            region_source,
            account,
            caller: arn,
            source: choice.used.source,
            other,
            endpoints: endpoints(&shared),
            ca_bundle,
            ours,
            credentials: choice.used.provider,
            s3_endpoint: endpoint(&shared, S3),
            s3: aws_sdk_s3::Client::from_conf(s3),
            iam: aws_sdk_iam::Client::new(&shared),
            ec2: aws_sdk_ec2::Client::new(&shared),
            emr: aws_sdk_emr::Client::new(&shared),
        })
    }
}

impl Aws {
    /// What another client of S3 in this process is told to do as we do, by the names of the environment's variables. Keys are
    /// among it: for that client alone.
    ///
    /// # Errors
    /// [`Kind::Denied`] where the credentials cannot be had any more.
    pub async fn store_options(&self) -> Result<Vec<(String, String)>> {
        let keys = self.credentials.provide_credentials().await.map_err(|e| {
            Error::new(Kind::Denied, format!("the credentials of {} cannot be had: {e}", self.source))
                .help("fruitctl doctor")
        })?;
        let options = [
            ("AWS_ACCESS_KEY_ID", Some(keys.access_key_id())),
            ("AWS_SECRET_ACCESS_KEY", Some(keys.secret_access_key())),
            ("AWS_SESSION_TOKEN", keys.session_token()),
            ("AWS_REGION", Some(&*self.region)),
            ("AWS_ENDPOINT_URL", self.s3_endpoint.as_deref()),
        ];
        Ok(options
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect())
    }
}

/// What calls are made with.
struct Loaded {
    /// The SDK's settings, and the credentials in them.
    shared: SdkConfig,
    choice: Choice,
    ca_bundle: Vec<u8>,
}

/// Reads the SDK's settings, and chooses credentials.
async fn load(config: &AwsConfig, region: &str) -> Result<Loaded> {
    let profiles = Profiles::load().await;
    let ca_bundle = transport::ca_bundle(profiles.setting(config, "ca_bundle"))?;
    let http = transport::http_client(&ca_bundle);
    let region = aws_config::Region::new(region.to_owned());
    // We try again ourselves, in one place, by one table.
    let retries = RetryConfig::disabled();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(10))
        .operation_timeout(Duration::from_secs(60))
        .build();
    let base = ProviderConfig::without_region()
        .with_region(Some(region.clone()))
        .with_http_client(http.clone())
        .with_retry_config(retries.clone())
        .with_timeout_config(timeouts.clone());
    let choice = credentials::choose(config, &profiles, &base).await;
    let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(region)
        .http_client(http)
        .retry_config(retries)
        .timeout_config(timeouts)
        // The time that they may take is ours to say.
        .identity_cache(IdentityCache::lazy().load_timeout(2 * credentials::LONGEST).build())
        .credentials_provider(choice.used.provider.clone());
    if let Source::Profile(profile, _) = &choice.used.source {
        loader = loader.profile_name(profile);
    }
    Ok(Loaded { shared: loader.load().await, choice, ca_bundle })
}

/// Whose credentials these are.
async fn identify(shared: &SdkConfig, region: &str, region_source: &str) -> Result<Identity> {
    let sts = aws_sdk_sts::Client::new(shared);
    let answer = match regions::known(region) {
        Ok(()) => call(WHO.0, WHO.1, || sts.get_caller_identity().send()).await,
        // Asked once: the name of a region that is none leads nowhere, however often.
        Err(like) => {
            let answer = Box::pin(sts.get_caller_identity().send()).await;
            match answer.map_err(|e| describe(WHO.0, WHO.1, &e)) {
                Err(error) if error.is_lost() => {
                    return Err(Error::usage(format!(
                        "nobody answers in region '{region}' (from {region_source}), which this version does not know: {error}"
                    ))
                    .help(format!("did you mean {like}?")));
                }
                answer => answer,
            }
        }
    };
    let identity = match answer {
        Err(error) if error.is_unknown_key() && FACTS.regions.opt_in.iter().any(|name| name == region) => {
            return Err(off(shared, region, error).await);
        }
        answer => answer?,
    };
    Ok(Identity {
        account: told(identity.account, "Account", WHO.0, WHO.1)?,
        arn: told(identity.arn, "Arn", WHO.0, WHO.1)?,
    })
}

/// What it means that an opt-in region does not know the key: that it is wrong, or that the region is off.
async fn off(shared: &SdkConfig, region: &str, error: ApiError) -> Error {
    let shared = shared.to_builder().region(aws_config::Region::new(ALWAYS_ON)).build();
    let sts = aws_sdk_sts::Client::new(&shared);
    match call(WHO.0, WHO.1, || sts.get_caller_identity().send()).await {
        // Source, of both causes: https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html
        Ok(known) => Error::new(
            Kind::Denied,
            format!(
                "region {region} does not know the credentials of {}, and {ALWAYS_ON} does: it is an opt-in region that is \
                 off in this account, or they are a session of the global STS endpoint, which is not valid there ({error})",
                known.arn.unwrap_or_default()
            ),
        )
        .help(format!(
            "aws account get-region-opt-status --region-name {region}; \
             where it is DISABLED, turn it on: https://console.aws.amazon.com/billing/home#/account"
        )),
        Err(_) => error.into(),
    }
}

/// Makes a call, again where the table says so, until it works or a bound is reached.
pub(super) async fn call<T, E, F, Fut>(action: &'static str, on: &str, request: F) -> Result<T, ApiError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let start = Instant::now();
    for attempt in 1.. {
        fence::before(action, on).await?;
        debug!(action, on, attempt, "call");
        // Boxed: the SDK's futures are large, and callers run many side by side.
        let error = match Box::pin(request()).await {
            Ok(result) => return Ok(result),
            Err(error) => describe(action, on, &error),
        };
        let Some(wait) = retry::wait(&error) else { return Err(error) };
        if attempt >= retry::LEAST && start.elapsed() > clock::paced(wait.total) {
            info!(action, on, attempt, code = error.code, status = error.status, "given up");
            return Err(error);
        }
        let seconds = wait.before(attempt);
        info!(action, on, attempt, code = error.code, status = error.status, seconds, "tried again");
        clock::sleep(seconds).await;
    }
    unreachable!("attempts are counted without end")
}

/// `Ok(None)` where the error's code says that there is no such thing.
fn absent<T>(result: Result<T, ApiError>, codes: &[&str]) -> Result<Option<T>, ApiError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is(codes) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `Ok(())` where the error's code says that it is as wanted already.
fn already<T>(result: Result<T, ApiError>, codes: &[&str]) -> Result<(), ApiError> {
    absent(result, codes).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_a_role_are_one_identity() {
        let who = |arn: &str| Identity { account: "1".into(), arn: arn.into() };
        let session = who("arn:aws:sts::1:assumed-role/ops/a");
        assert!(session.is_same(&who("arn:aws:sts::1:assumed-role/ops/b")));
        assert!(!session.is_same(&who("arn:aws:sts::1:assumed-role/dev/a")));
        assert!(!who("arn:aws:iam::1:user/team/a").is_same(&who("arn:aws:iam::1:user/team/b")));
        let elsewhere = Identity { account: "2".into(), arn: session.arn.clone() };
        assert!(!session.is_same(&elsewhere));
    }

    #[test]
    fn regions_are_matched_by_pattern() {
        assert!(
            matches("eu-*", "eu-west-3") && matches("*", "us-east-1") && matches("eu-west-3", "eu-west-3")
        );
        assert!(!matches("eu-*", "us-east-1") && !matches("eu-west", "eu-west-3"));
    }

    #[test]
    fn a_url_is_printed_without_its_password() {
        for (url, printed) in [
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("https://ana:s3cr@et@host:8/a@b", "https://host:8/a@b"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_login(url), printed);
        }
    }
}
