//! AWS: the only place that sees the SDK. One file a service, with plain types on our side; one table of what is
//! tried again.
//!
//! Every call goes through [`call`], has a name as IAM writes it, and ends: an attempt after 60 seconds, its
//! repetitions by the bounds in [`retry`].

pub mod ec2;
pub mod emr;
mod error;
pub mod iam;
mod regions;
mod retry;
pub mod s3;
pub mod s3_uri;
pub mod vpc;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::config::SharedHttpClient;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{ConnectorBuilder, tls};
use tracing::{debug, info};

use crate::clock;
use crate::config::AwsConfig;
use crate::error::{Error, Result};
pub use error::{ApiError, Reason};
use error::{describe, told};

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
    s3: aws_sdk_s3::Client,
    iam: aws_sdk_iam::Client,
    ec2: aws_sdk_ec2::Client,
    emr: aws_sdk_emr::Client,
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
        if let Some(profile) = &config.profile {
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

/// The SDK's own default, on ring in place of AWS-LC: that is the library which everything else here encrypts with.
fn http_client() -> SharedHttpClient {
    let tls = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = ConnectorBuilder::default().tls_provider(tls.clone());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    })
}

impl Aws {
    /// Finds region and credentials, and who they belong to.
    pub async fn connect(config: &AwsConfig) -> Result<Aws> {
        let (region, region_source) = region(config).await?;
        // We try again ourselves, in one place, by one table.
        let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new(region.clone()))
            .http_client(http_client())
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(10))
                    .operation_timeout(Duration::from_secs(60))
                    .build(),
            );
        if let Some(profile) = &config.profile {
            loader = loader.profile_name(profile);
        }
        let shared = loader.load().await;
        // An emulator or a private endpoint has no host name per bucket.
        let elsewhere =
            ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"].iter().any(|name| std::env::var_os(name).is_some());
        let s3 = aws_sdk_s3::config::Builder::from(&shared).force_path_style(elsewhere).build();
        let sts = aws_sdk_sts::Client::new(&shared);
        const ASK: (&str, &str) = ("sts:GetCallerIdentity", "these credentials");
        let identity = match regions::known(&region) {
            Ok(()) => call(ASK.0, ASK.1, || sts.get_caller_identity().send()).await?,
            // Asked once: the name of a region that is none leads nowhere, however often.
            Err(like) => {
                let answer = Box::pin(sts.get_caller_identity().send()).await;
                answer.map_err(|e| match describe(ASK.0, ASK.1, &e) {
                    error if error.is_lost() => Error::usage(format!(
                        "nobody answers in region '{region}' (from {region_source}), which this version does not know"
                    ))
                    .help(format!("did you mean {like}?")),
                    error => error.into(),
                })?
            }
        };
        Ok(Aws {
            region,
            region_source,
            account: told(identity.account, "Account", ASK.0, ASK.1)?,
            caller: told(identity.arn, "Arn", ASK.0, ASK.1)?,
            s3: aws_sdk_s3::Client::from_conf(s3),
            iam: aws_sdk_iam::Client::new(&shared),
            ec2: aws_sdk_ec2::Client::new(&shared),
            emr: aws_sdk_emr::Client::new(&shared),
        })
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
    fn regions_are_matched_by_pattern() {
        assert!(
            matches("eu-*", "eu-west-3") && matches("*", "us-east-1") && matches("eu-west-3", "eu-west-3")
        );
        assert!(!matches("eu-*", "us-east-1") && !matches("eu-west", "eu-west-3"));
    }
}
