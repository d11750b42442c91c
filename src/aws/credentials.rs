//! Whose credentials a command works with, and why they are not to be had: each source with its own cause.
//!
//! The environment comes first, as in AWS's own tools: keys, `AWS_PROFILE`, a web identity, a container. A profile in
//! `fruitctl.toml` stands in where it has none; `--profile` chooses one of them and no other.
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>.

use std::fmt;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileSet};
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_sts::error::ProvideErrorMetadata;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_types::os_shim_internal::{Env, Fs};

use super::transport::{Transport, causes, find};
use crate::config::{AwsConfig, CredentialsFrom};

/// The longest that credentials may take: a process may ask a person. Longer than one call: who does not answer is told by it.
pub const LONGEST: Duration = Duration::from_secs(90);

/// Who named a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// `--profile`.
    Flag,
    /// `profile` under `[aws]`.
    File,
    /// `AWS_PROFILE`.
    Environment,
    /// Nobody: it is `default`.
    Nobody,
}

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    Keys,
    /// A profile of `~/.aws/config` or `~/.aws/credentials`.
    Profile(String, NamedBy),
    /// `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`.
    WebIdentity,
    /// A container's role.
    Container,
    /// An instance's role, if this is one.
    Instance,
    /// The same, after a profile of `AWS_PROFILE` that says nothing of credentials.
    InstanceAfter(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Source::Keys => f.write_str("the environment (AWS_ACCESS_KEY_ID)"),
            Source::Profile(name, NamedBy::Flag) => write!(f, "profile '{name}' (--profile)"),
            Source::Profile(name, NamedBy::File) => write!(f, "profile '{name}' (fruitctl.toml)"),
            Source::Profile(name, NamedBy::Environment) => write!(f, "profile '{name}' (AWS_PROFILE)"),
            Source::Profile(name, NamedBy::Nobody) => write!(f, "profile '{name}'"),
            Source::WebIdentity => f.write_str("the environment (AWS_WEB_IDENTITY_TOKEN_FILE)"),
            Source::Container => f.write_str("the environment (this container's role)"),
            Source::Instance => f.write_str("this instance's role"),
            Source::InstanceAfter(name) => {
                write!(f, "this instance's role (profile '{name}' of AWS_PROFILE has no credentials in it)")
            }
        }
    }
}

/// Why a source gives no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Nothing names any.
    Nothing,
    /// One variable of two is set.
    Half { set: &'static str, unset: &'static str },
    /// `~/.aws/config` or `~/.aws/credentials` cannot be read.
    Files(String),
    /// There is no such profile; `from`: the profile that names it as its source.
    NoProfile { name: String, from: Option<String> },
    /// The profile says nothing of credentials.
    Empty,
    /// Profiles that are each other's source.
    Loop(Vec<String>),
    /// The session of IAM Identity Center.
    Sso(String),
    /// The session of `aws login`.
    Login(String),
    /// The profile's `credential_process`.
    Process(String),
    /// The token of a web identity.
    TokenFile(String),
    /// STS answered, and said no.
    Refused { action: &'static str, code: String, message: String },
    /// Whoever gives them cannot be reached.
    Unreachable(Transport),
    /// They took longer than [`LONGEST`].
    Slow,
    /// Something else.
    Other(String),
}

/// A source that gives no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub source: Source,
    /// Why.
    pub cause: Cause,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let source = &self.source;
        match &self.cause {
            Cause::Nothing => f.write_str("there are no AWS credentials"),
            Cause::Half { set, unset } => write!(f, "{set} is set and {unset} is not"),
            Cause::Files(words) => write!(f, "{source} cannot be read: {words}"),
            Cause::NoProfile { from: None, .. } => write!(f, "there is no {source}"),
            Cause::NoProfile { name, from: Some(from) } => {
                write!(
                    f,
                    "{source} leads nowhere: '{from}' has source_profile = {name}, and there is no such profile"
                )
            }
            Cause::Empty => write!(f, "{source} has no credentials in it"),
            Cause::Loop(names) => {
                write!(f, "{source} leads in a circle: source_profile goes {}", names.join(" -> "))
            }
            Cause::Sso(words) => write!(f, "{source} has no valid SSO session: {words}"),
            Cause::Login(words) => write!(
                f,
                "{source} is a session of 'aws login', and the AWS CLI gives no credentials for it: {words}"
            ),
            Cause::Process(words) => write!(f, "the credential_process of {source} failed: {words}"),
            Cause::TokenFile(words) => write!(f, "{source} has no token of a web identity: {words}"),
            Cause::Refused { action, code, message } => {
                write!(f, "{source} gets no role: {action} failed: {code}: {message}")
            }
            Cause::Unreachable(transport) => write!(f, "{source} gives no credentials: {transport}"),
            Cause::Slow => write!(f, "{source} gave no credentials within {} seconds", LONGEST.as_secs()),
            Cause::Other(words) => write!(f, "{source} gives no credentials: {words}"),
        }
    }
}

impl Failure {
    /// Where an instance has no role, what lacks credentials is the profile before it.
    fn of(source: Source, cause: Cause) -> Failure {
        match (source, cause) {
            (Source::InstanceAfter(name), Cause::Nothing) => {
                Failure { source: Source::Profile(name, NamedBy::Environment), cause: Cause::Empty }
            }
            (source, cause) => Failure { source, cause },
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        let profile = match &self.source {
            Source::Profile(name, _) => name,
            _ => "NAME",
        };
        match &self.cause {
            Cause::Nothing => "log in ('aws sso login' or 'aws login'), or set AWS_PROFILE, or profile under [aws] in \
                               fruitctl.toml"
                .into(),
            Cause::Half { set, unset } => format!("set {unset} too, or unset {set}"),
            Cause::Files(_) => "correct ~/.aws/config and ~/.aws/credentials (or what AWS_CONFIG_FILE and \
                                AWS_SHARED_CREDENTIALS_FILE name)"
                .into(),
            Cause::NoProfile { .. } => "aws configure list-profiles (prints those that there are)".into(),
            Cause::Empty => format!("aws configure sso --profile {profile}, or: aws login --profile {profile}"),
            Cause::Loop(_) => "give one of them credentials of its own in ~/.aws/config".into(),
            Cause::Sso(_) => format!("aws sso login --profile {profile}"),
            // Source: https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-sign-in.html
            Cause::Login(_) => format!("aws login --profile {profile} (AWS CLI 2.32 or later)"),
            Cause::Process(_) => format!("aws sts get-caller-identity --profile {profile} (starts the same process)"),
            Cause::TokenFile(_) => "see whether the file that is named holds a token, and whether it may be read".into(),
            Cause::Refused { action: WEB_IDENTITY, .. } => {
                "the role's trust policy has to name the token's issuer, audience and subject; 'fruitctl init --ci' writes one".into()
            }
            Cause::Refused { action, .. } => {
                format!("allow {action} on the role to whoever asks for it, there and in the role's trust policy")
            }
            Cause::Unreachable(transport) => transport.remedy().into(),
            Cause::Slow | Cause::Other(_) => match &self.source {
                Source::Profile(..) => format!("aws sts get-caller-identity --profile {profile}"),
                _ => "aws sts get-caller-identity".into(),
            },
        }
    }
}

const WEB_IDENTITY: &str = "sts:AssumeRoleWithWebIdentity";

/// What a profile takes its credentials from in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Sso,
    Login,
    Process,
    WebIdentity,
    /// Keys, or something that AWS's SDK knows of.
    Else,
}

/// A source, and what gives its credentials.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which.
    pub source: Source,
    /// Its credentials, or a [`Failure`].
    pub provider: SharedCredentialsProvider,
}

/// What there is to work with.
#[derive(Debug)]
pub struct Choice {
    /// This is used.
    pub used: Found,
    /// This is there as well, and nobody chose.
    pub other: Option<Found>,
}

/// The profile that settings such as the region are taken from, if one is chosen.
pub fn profile(config: &AwsConfig) -> Option<&str> {
    match &config.credentials_from {
        Some(CredentialsFrom::Profile(name)) => Some(name),
        Some(CredentialsFrom::Environment) => None,
        None => config.profile.as_deref(),
    }
}

/// Chooses. Nothing is asked yet.
pub async fn choose(config: &AwsConfig, profiles: &Profiles, base: &ProviderConfig) -> Choice {
    let environment = profiles.environment();
    let alone = |used| Choice { used, other: None };
    match (&config.credentials_from, &config.profile) {
        (Some(CredentialsFrom::Profile(name)), _) => alone(profiles.found(name, NamedBy::Flag, base)),
        (Some(CredentialsFrom::Environment), _) | (None, None) => {
            alone(profiles.used(environment, base).await)
        }
        (None, Some(name)) => match environment {
            _ if !environment_names_any() => alone(profiles.found(name, NamedBy::File, base)),
            Source::Profile(same, _) if same == *name => alone(profiles.found(name, NamedBy::File, base)),
            // One that is not on this machine is no other choice.
            there => {
                let other = profiles.has(name).then(|| profiles.found(name, NamedBy::File, base));
                Choice { used: profiles.used(there, base).await, other }
            }
        },
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether the environment says anything of credentials.
fn environment_names_any() -> bool {
    [KEYS.0, KEYS.1, "AWS_PROFILE", TOKEN].iter().chain(&CONTAINER).any(|name| env(name).is_some())
}

/// Of two variables that belong together, one alone.
fn half(pairs: &[(&'static str, &'static str)]) -> Option<Cause> {
    pairs.iter().find_map(|&(a, b)| match (env(a), env(b)) {
        (Some(_), None) => Some(Cause::Half { set: a, unset: b }),
        (None, Some(_)) => Some(Cause::Half { set: b, unset: a }),
        _ => None,
    })
}

const KEYS: (&str, &str) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
const TOKEN: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const CONTAINER: [&str; 2] = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];

/// The profiles of this machine, or why they cannot be read.
pub struct Profiles(Result<ProfileSet, String>);

impl Profiles {
    /// Reads them.
    pub async fn load() -> Profiles {
        let files = EnvConfigFiles::default();
        let read = aws_config::profile::load(&Fs::real(), &Env::real(), &files, None).await;
        Profiles(read.map_err(|e| words(&e)))
    }

    /// A setting of the profile that settings are taken from.
    pub fn setting(&self, config: &AwsConfig, key: &str) -> Option<&str> {
        let named = profile(config).map(str::to_owned).or_else(|| env("AWS_PROFILE"));
        self.0.as_ref().ok()?.get_profile(named.as_deref().unwrap_or("default"))?.get(key)
    }

    fn has(&self, name: &str) -> bool {
        // Files that cannot be read may hold it.
        self.0.as_ref().map_or(true, |profiles| profiles.get_profile(name).is_some())
    }

    /// What the environment leads to, in the SDK's own order.
    fn environment(&self) -> Source {
        let named = env("AWS_PROFILE");
        let profile = named.clone().unwrap_or_else(|| "default".into());
        let is_empty = self.follow(&profile) == Err(Cause::Empty);
        if env(KEYS.0).is_some() || env(KEYS.1).is_some() {
            Source::Keys
        } else if named.is_some() && !is_empty {
            Source::Profile(profile, NamedBy::Environment)
        } else if named.is_none() && self.has(&profile) && !is_empty {
            Source::Profile(profile, NamedBy::Nobody)
        } else if env(TOKEN).is_some() {
            Source::WebIdentity
        } else if CONTAINER.iter().any(|name| env(name).is_some()) {
            Source::Container
        } else if named.is_some() {
            Source::InstanceAfter(profile)
        } else {
            Source::Instance
        }
    }

    /// A source of the environment.
    async fn used(&self, source: Source, base: &ProviderConfig) -> Found {
        let broken = match &source {
            Source::Profile(name, by) => return self.found(name, *by, base),
            Source::Keys => half(&[KEYS]),
            Source::WebIdentity => half(&[(TOKEN, "AWS_ROLE_ARN")]),
            Source::Container | Source::Instance | Source::InstanceAfter(_) => None,
        };
        let origin = if source == Source::WebIdentity { Origin::WebIdentity } else { Origin::Else };
        let chain = DefaultCredentialsChain::builder().configure(base.clone());
        let inner = SharedCredentialsProvider::new(chain.build().await);
        found(source, broken.map_or(Ok(origin), Err), inner)
    }

    /// A profile, and nothing else where it fails.
    fn found(&self, name: &str, by: NamedBy, base: &ProviderConfig) -> Found {
        let origin = self.follow(name);
        let profile = ProfileFileCredentialsProvider::builder().configure(base);
        let inner = match origin {
            Ok(Origin::Login) => {
                // The AWS CLI keeps such a session, renews it, and gives its credentials to others this way. The SDK could
                // read it too; its feature credentials-login costs 19 crates, for a second library of cryptography.
                // Source: https://docs.aws.amazon.com/cli/latest/reference/configure/export-credentials.html
                let name = name.replace('\'', r"'\''");
                let process = format!("aws configure export-credentials --profile '{name}' --format process");
                let file = format!("[default]\ncredential_process = {process}\n");
                let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, file).build();
                // Not the settings that were read: they hold the profile itself.
                ProfileFileCredentialsProvider::builder().profile_files(files).profile_name("default").build()
            }
            _ => profile.profile_name(name).build(),
        };
        found(Source::Profile(name.to_owned(), by), origin, SharedCredentialsProvider::new(inner))
    }

    /// Where a profile's credentials come from. The order is the SDK's.
    /// Source: awslabs/aws-sdk-rust, sdk/aws-config/src/profile/credentials/repr.rs, `resolve_chain`.
    fn follow(&self, name: &str) -> Result<Origin, Cause> {
        let profiles = self.0.as_ref().map_err(|words| Cause::Files(words.clone()))?;
        let mut way: Vec<String> = Vec::new();
        let mut name = name;
        loop {
            let no_profile = || Cause::NoProfile { name: name.to_owned(), from: way.last().cloned() };
            let profile = profiles.get_profile(name).ok_or_else(no_profile)?;
            let is_loop = way.iter().any(|seen| seen == name);
            way.push(name.to_owned());
            if is_loop {
                return Err(Cause::Loop(way));
            }
            let has = |key: &str| profile.get(key).is_some();
            let keys = has("aws_access_key_id") || has("aws_secret_access_key");
            if way.len() > 1 && keys {
                return Ok(Origin::Else);
            }
            if has("role_arn") && !has("web_identity_token_file") {
                match profile.get("source_profile") {
                    Some(next) if next != name => {
                        name = next;
                        continue;
                    }
                    _ => return Ok(Origin::Else),
                }
            }
            return match () {
                () if has("credential_source") => Ok(Origin::Else),
                () if has("web_identity_token_file") => Ok(Origin::WebIdentity),
                () if has("sso_session") || has("sso_start_url") => Ok(Origin::Sso),
                () if has("login_session") => Ok(Origin::Login),
                () if has("credential_process") => Ok(Origin::Process),
                () if keys => Ok(Origin::Else),
                () => Err(Cause::Empty),
            };
        }
    }
}

fn found(source: Source, origin: Result<Origin, Cause>, inner: SharedCredentialsProvider) -> Found {
    let provider = SharedCredentialsProvider::new(Told { source: source.clone(), origin, inner });
    Found { source, provider }
}

/// A provider whose failures say where they come from.
#[derive(Debug)]
struct Told {
    source: Source,
    origin: Result<Origin, Cause>,
    inner: SharedCredentialsProvider,
}

impl ProvideCredentials for Told {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let failed = |cause| CredentialsError::provider_error(Failure::of(self.source.clone(), cause));
            let origin = self.origin.as_ref().map_err(|cause| failed(cause.clone()))?;
            match tokio::time::timeout(LONGEST, self.inner.provide_credentials()).await {
                Ok(answer) => answer.map_err(|error| failed(cause(*origin, &error))),
                Err(_) => Err(failed(Cause::Slow)),
            }
        })
    }
}

/// What the SDK's error means, of credentials that come from there.
fn cause(origin: Origin, error: &CredentialsError) -> Cause {
    let refused = |action, found: &dyn ProvideErrorMetadata| Cause::Refused {
        action,
        code: found.code().unwrap_or_default().to_owned(),
        message: found.message().unwrap_or_default().to_owned(),
    };
    if let Some(found) = find::<AssumeRoleError>(error) {
        return refused("sts:AssumeRole", found);
    }
    if let Some(found) = find::<AssumeRoleWithWebIdentityError>(error) {
        return refused(WEB_IDENTITY, found);
    }
    if let (Origin::Else, CredentialsError::CredentialsNotLoaded(_)) = (origin, error) {
        return Cause::Nothing;
    }
    if let Some(transport) = Transport::of(error) {
        return Cause::Unreachable(transport);
    }
    let words = words(error);
    match origin {
        Origin::Sso => Cause::Sso(words),
        Origin::Login => Cause::Login(words),
        Origin::Process => Cause::Process(words),
        Origin::WebIdentity => Cause::TokenFile(words),
        Origin::Else => Cause::Other(words),
    }
}

/// An error and its causes in a line. The outermost says only that there was one.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut all: Vec<String> = causes(error).into_iter().skip(1).map(|cause| cause.to_string()).collect();
    if all.is_empty() {
        all.push(error.to_string());
    }
    all.dedup();
    all.join(": ").split_whitespace().collect::<Vec<_>>().join(" ")
}
