//! A call that did not work: AWS's code, status and message, and what they mean. Apart from what is tried again (`retry`),
//! how calls fail to get there (`transport`) and why clusters and steps end (`explain`), AWS's text is looked at nowhere else.

use std::fmt;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use super::credentials::{Cause, Failure};
use super::retry;
use super::transport::{self, Transport};
use crate::error::{Error, Kind};

/// A call that did not work.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// `service:Action`.
    pub action: &'static str,
    /// What it was about.
    pub on: String,
    /// AWS's code; empty where there was no answer, or none that could be read.
    pub code: String,
    /// AWS's message, or the transport's.
    pub message: String,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
    /// The region of a bucket that is elsewhere.
    pub bucket_region: Option<Box<str>>,
    /// Why there was no answer that could be used, where that is known.
    pub without: Option<Box<Without>>,
}

/// Why a call has no answer that can be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Without {
    /// No credentials to sign it with: it was not made.
    Credentials(Failure),
    /// It did not get through.
    Transport(Transport),
    /// The answer lacks something that it always has: see [`told`].
    Incomplete,
    /// It was not made: the lock that it needs is not held any more.
    Fenced(Error),
}

impl ApiError {
    /// An error of AWS's, by its code.
    pub fn answer(
        action: &'static str,
        on: String,
        code: String,
        message: String,
        status: Option<u16>,
    ) -> Self {
        ApiError { action, on, code, message, status, bucket_region: None, without: None }
    }

    /// A change that was not made, for want of the lock that it needs.
    pub(super) fn fenced(action: &'static str, on: &str, error: Error) -> Self {
        let message = error.message.clone();
        let without = Some(Box::new(Without::Fenced(error)));
        ApiError { without, ..ApiError::answer(action, on.to_owned(), String::new(), message, None) }
    }

    fn without(&self) -> Option<&Without> {
        self.without.as_deref()
    }

    /// Whether whoever asks is known, and has no right to this.
    pub fn is_without_right(&self) -> bool {
        self.is(&["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"])
    }

    /// Whether AWS may have done what was asked: there was no answer, or one that says that it broke down.
    pub fn is_lost(&self) -> bool {
        let was_made = !self.is_credentials() && !matches!(self.without(), Some(Without::Fenced(_)));
        self.status.is_none_or(|status| status >= 500) && was_made && !retry::is_throttle(self)
    }

    /// Whether the code is one of these.
    pub fn is(&self, codes: &[&str]) -> bool {
        codes.contains(&self.code.as_str())
    }

    /// The action that is not allowed: AWS names it where it is another than the call's, such as iam:PassRole.
    fn denied_action(&self) -> &str {
        let named = self.message.split("not authorized to perform: ").nth(1);
        named.and_then(|rest| rest.split_whitespace().next()).unwrap_or(self.action)
    }

    /// What AWS means, where its code stands for several things.
    pub fn reason(&self) -> Option<Reason> {
        let row = REASONS.iter().find(|row| {
            row.actions.contains(&self.action) && row.code == self.code && self.message.contains(row.text)
        });
        row.map(|row| row.reason)
    }

    /// Whether an organisation's service control policy denies it: no policy of the account's own helps.
    /// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>: "with an explicit deny in
    /// a service control policy", or "because no service control policy allows" it.
    pub fn is_organizations(&self) -> bool {
        let names = ["in a service control policy", "no service control policy allows"];
        self.kind() == Kind::Denied && names.iter().any(|text| self.message.contains(text))
    }

    /// Whether there are no credentials: nothing can be asked at all. Those whose giver cannot be reached may come yet.
    pub fn is_credentials(&self) -> bool {
        matches!(self.without(), Some(Without::Credentials(failure)) if !matches!(failure.cause, Cause::Unreachable(_)))
    }

    /// Whether there was an answer, without something that it always has: see [`told`].
    pub fn is_incomplete(&self) -> bool {
        self.without() == Some(&Without::Incomplete)
    }

    /// What it failed at on its way, or on the way to whoever gives the credentials.
    pub fn transport(&self) -> Option<&Transport> {
        match self.without() {
            Some(Without::Transport(transport)) => Some(transport),
            Some(Without::Credentials(Failure { cause: Cause::Unreachable(transport), .. })) => {
                Some(transport)
            }
            _ => None,
        }
    }

    /// Whether AWS does not know the key, or what was signed with it.
    pub fn is_unknown_key(&self) -> bool {
        self.is(UNKNOWN_KEY)
    }

    /// What to do about it.
    fn remedy(&self) -> String {
        match self.without() {
            Some(Without::Credentials(failure)) => return failure.remedy(),
            Some(Without::Transport(transport)) => return transport.remedy().into(),
            Some(Without::Incomplete) => {
                return "the same command, a little later; nothing was changed for want of this answer"
                    .into();
            }
            Some(Without::Fenced(error)) => return error.help.clone().unwrap_or_default(),
            None => {}
        }
        match self.code.as_str() {
            "RequestTimeTooSkewed" => "set this machine's clock, then the same command".into(),
            "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
                "log in again ('aws sso login' or 'aws login'), or renew the keys of the environment, then the same \
                 command: it goes on from here"
                    .into()
            }
            _ if self.is_organizations() => format!(
                "your organisation denies {}, whatever else is allowed: if it asks for a tag, set it under [aws.tags] in \
                 fruitctl.toml, then the same command; else ask who keeps its policies",
                self.denied_action()
            ),
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidSignatureException" => WRONG_KEY.into(),
            _ if self.is_unknown_key() => WRONG_KEY.into(),
            // Source: https://docs.aws.amazon.com/emr/latest/APIReference/CommonErrors.html
            "OptInRequired" => "sign the account up for this service, or turn the region on: \
                                https://console.aws.amazon.com/billing/home#/account"
                .into(),
            _ if self.kind() == Kind::Denied => {
                let action = self.denied_action();
                let is = |actions: &[&str]| actions.iter().any(|start| action.starts_with(start));
                let instead = match () {
                    () if is(MAKING) => "; or let somebody who may do it run 'fruitctl up --no-cluster' first",
                    () if is(OF_A_DOOR) => "; or go without live logs: --ssh-cidr none --no-ssh",
                    () => "",
                };
                format!("allow {action}; 'fruitctl policy' prints all that fruitctl needs{instead}")
            }
            "VcpuLimitExceeded" | "MaxSpotInstanceCountExceeded" | "LimitExceeded" => {
                "ask for a higher quota: https://console.aws.amazon.com/servicequotas/home".into()
            }
            _ if self.kind() == Kind::TimedOut => {
                "check the network, then the same command: it goes on from what is there".into()
            }
            _ => "fruitctl doctor".into(),
        }
    }

    /// Who has to act.
    pub fn kind(&self) -> Kind {
        if let Some(Without::Fenced(error)) = self.without() {
            error.kind
        } else if self.is_credentials() || self.is(DENIED) || self.status == Some(403) {
            Kind::Denied
        } else if self.is_lost() {
            Kind::TimedOut
        } else {
            Kind::Refused
        }
    }
}

const WRONG_KEY: &str = "check the access key and secret in use, and this machine's clock";

/// Codes of a key that is not known, of which a region that is off says the same.
/// Sources: <https://repost.aws/knowledge-center/iam-validate-access-credentials> (AuthFailure); grafana/grafana-aws-sdk,
/// pull request 129 (InvalidClientTokenId); UnrecognizedClientException is what the JSON services call it,
/// <https://docs.aws.amazon.com/emr/latest/APIReference/CommonErrors.html>.
const UNKNOWN_KEY: &[&str] = &["AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException"];

/// Actions that make or change what lasts, which the policy of runs leaves out: how they begin.
const MAKING: &[&str] = &[
    "iam:Create",
    "iam:Put",
    "iam:Tag",
    "iam:Update",
    "iam:AddRole",
    "ec2:Create",
    "ec2:Revoke",
    "s3:CreateBucket",
    "s3:PutBucket",
    "s3:PutEncryption",
    "s3:PutLifecycle",
    "elasticmapreduce:CreateSecurity",
];

/// Actions for this machine's own way to a node, which nobody else can make for it.
const OF_A_DOOR: &[&str] = &["ec2:Import", "ec2:Authorize"];

/// Codes that say that credentials or permission are missing.
const DENIED: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "RequestTimeTooSkewed",
    "RequestExpired",
];

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} on {} failed: ", self.action, self.on)?;
        match (self.without(), self.code.as_str(), self.status) {
            (Some(Without::Credentials(failure)), ..) => write!(f, "{failure}"),
            (Some(Without::Transport(transport)), ..) => write!(f, "no answer: {transport}"),
            (Some(Without::Fenced(_)), ..) => write!(f, "not called: {}", self.message),
            (Some(Without::Incomplete), ..) => write!(f, "AWS's answer is incomplete: {}", self.message),
            (None, "", Some(status)) => write!(f, "HTTP {status}: {}", self.message),
            (None, "", None) => write!(f, "no answer: {}", self.message),
            (None, code, _) => write!(f, "{code}: {}", self.message),
        }
    }
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        if let Some(Without::Fenced(error)) = error.without() {
            return error.clone();
        }
        Error::new(error.kind(), error.to_string()).help(error.remedy())
    }
}

/// What AWS means, where one code stands for several things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is something of this name already.
    AlreadyThere,
    /// There is nothing of this name or id.
    NotThere,
    /// The cluster has ended or is ending: it takes no more steps.
    ClusterEnding,
    /// The instance profile is not there, has no role, or may not be handed on.
    InstanceProfile,
    /// The service role is not there, or may not be assumed by EMR.
    ServiceRole,
    /// There is no such release.
    Release,
    /// The release does not run on this instance type.
    InstanceType,
}

/// How a reason is told by: the calls, AWS's code, and what its message holds.
struct Row {
    actions: &'static [&'static str],
    code: &'static str,
    text: &'static str,
    reason: Reason,
}

const RUN: &[&str] = &["elasticmapreduce:RunJobFlow"];

/// EMR has two codes for nearly everything that it refuses; the rest is in its message.
/// Sources: terraform-provider-aws, internal/service/emr: cluster.go for "Invalid InstanceProfile" and for the denied
/// "Failed to authorize instance profile", managed_scaling_policy.go and instance_fleet.go for "may not be modified", under
/// either code. The other rows are guesses, and without a source: what they miss is told in AWS's own words.
const REASONS: &[Row] = &[
    Row {
        actions: &["elasticmapreduce:CreateSecurityConfiguration"],
        code: "InvalidRequestException",
        text: "already exists",
        reason: Reason::AlreadyThere,
    },
    Row {
        actions: &["elasticmapreduce:DeleteSecurityConfiguration"],
        code: "InvalidRequestException",
        text: "does not exist",
        reason: Reason::NotThere,
    },
    Row {
        actions: &["elasticmapreduce:DescribeCluster", "elasticmapreduce:DescribeStep"],
        code: "InvalidRequestException",
        text: "is not valid",
        reason: Reason::NotThere,
    },
    Row {
        actions: &["elasticmapreduce:AddJobFlowSteps"],
        code: "ValidationException",
        text: "may not be modified",
        reason: Reason::ClusterEnding,
    },
    Row {
        actions: &["elasticmapreduce:AddJobFlowSteps"],
        code: "InvalidRequestException",
        text: "may not be modified",
        reason: Reason::ClusterEnding,
    },
    Row {
        actions: RUN,
        code: "ValidationException",
        text: "Invalid InstanceProfile",
        reason: Reason::InstanceProfile,
    },
    Row {
        actions: RUN,
        code: "AccessDeniedException",
        text: "Failed to authorize instance profile",
        reason: Reason::InstanceProfile,
    },
    Row {
        actions: RUN,
        code: "ValidationException",
        text: "Failed to authorize instance profile",
        reason: Reason::InstanceProfile,
    },
    Row { actions: RUN, code: "ValidationException", text: "ServiceRole", reason: Reason::ServiceRole },
    Row { actions: RUN, code: "ValidationException", text: "release label", reason: Reason::Release },
    Row { actions: RUN, code: "ValidationException", text: "Instance type", reason: Reason::InstanceType },
];

/// A member that AWS's answer always has, and that something rests on: without it, nothing is known. An absent tag is not
/// a cluster of somebody else's.
///
/// # Errors
/// Where the answer lacks it; like one that cannot be read.
pub(super) fn told<T>(member: Option<T>, name: &str, action: &'static str, on: &str) -> Result<T, ApiError> {
    member.ok_or_else(|| ApiError {
        without: Some(Box::new(Without::Incomplete)),
        ..ApiError::answer(action, on.to_owned(), String::new(), format!("it has no {name}"), None)
    })
}

/// The SDK's error as ours.
pub(super) fn describe<E>(action: &'static str, on: &str, error: &SdkError<E, HttpResponse>) -> ApiError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let raw = error.raw_response();
    let status = raw.map(|response| response.status().as_u16());
    let bucket_region = raw.and_then(|r| r.headers().get("x-amz-bucket-region")).map(Box::from);
    let (code, message) = match error.as_service_error() {
        Some(service) => {
            (service.code().unwrap_or_default(), service.message().unwrap_or_default().to_owned())
        }
        None => (
            "",
            DisplayErrorContext(error).to_string().split(" (").next().unwrap_or_default().replace('\n', " "),
        ),
    };
    ApiError {
        without: without(error, status).map(Box::new),
        bucket_region,
        ..ApiError::answer(action, on.to_owned(), code.to_owned(), message, status)
    }
}

/// Why there is no answer to use.
fn without<E>(error: &SdkError<E, HttpResponse>, status: Option<u16>) -> Option<Without>
where
    E: std::error::Error + 'static,
{
    if status == Some(407) {
        return Some(Without::Transport(Transport::proxy_login()));
    }
    if let Some(failure) = transport::find::<Failure>(error) {
        return Some(Without::Credentials(failure.clone()));
    }
    let transport = match error {
        SdkError::ServiceError(_) => None,
        SdkError::TimeoutError(_) => Some(Transport::silence()),
        _ if status.is_some() => None,
        error => Transport::of(error),
    };
    transport.map(Without::Transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(action: &'static str, code: &str, message: &str, status: Option<u16>) -> ApiError {
        ApiError::answer(action, "it".into(), code.to_owned(), message.to_owned(), status)
    }

    #[test]
    fn one_code_has_several_reasons() {
        let run = "elasticmapreduce:RunJobFlow";
        for (action, code, message, reason) in [
            (run, "ValidationException", "Invalid InstanceProfile: fruits.", Some(Reason::InstanceProfile)),
            (run, "ValidationException", "ServiceRole is not valid", Some(Reason::ServiceRole)),
            (run, "ValidationException", "The supplied release label is invalid", Some(Reason::Release)),
            (
                run,
                "ValidationException",
                "Instance type 'm1.big' is not supported",
                Some(Reason::InstanceType),
            ),
            (run, "ThrottlingException", "ServiceRole", None),
            ("iam:CreateRole", "ValidationException", "ServiceRole", None),
            (
                "elasticmapreduce:AddJobFlowSteps",
                "ValidationException",
                "A job flow that is shutting down, terminated, or finished may not be modified.",
                Some(Reason::ClusterEnding),
            ),
            (
                "elasticmapreduce:DescribeCluster",
                "InvalidRequestException",
                "Cluster id 'j-1' is not valid.",
                Some(Reason::NotThere),
            ),
        ] {
            assert_eq!(error(action, code, message, Some(400)).reason(), reason, "{action} {message}");
        }
    }

    #[test]
    fn who_has_to_act() {
        for (code, status, kind, lost) in [
            ("AccessDenied", Some(403), Kind::Denied, false),
            ("Odd", Some(403), Kind::Denied, false),
            ("ExpiredToken", Some(400), Kind::Denied, false),
            ("ValidationException", Some(400), Kind::Refused, false),
            ("", None, Kind::TimedOut, true),
            ("InternalError", Some(500), Kind::TimedOut, true),
            ("SlowDown", Some(503), Kind::Refused, false),
        ] {
            let error = error("s3:PutObject", code, "", status);
            assert_eq!((error.kind(), error.is_lost()), (kind, lost), "{code} {status:?}");
        }
    }

    #[test]
    fn the_action_that_is_not_allowed_may_be_another() {
        let message = "User: arn:aws:iam::1:user/a is not authorized to perform: iam:PassRole on resource: x";
        let denied =
            Error::from(error("elasticmapreduce:RunJobFlow", "AccessDeniedException", message, Some(400)));
        assert!(denied.help.unwrap().starts_with("allow iam:PassRole;"));
        let denied = Error::from(error("s3:GetObject", "AccessDenied", "Access Denied", Some(403)));
        assert!(denied.help.unwrap().starts_with("allow s3:GetObject;"));
    }

    /// As users report it of IAM, S3 and EMR, and of EC2.
    #[test]
    fn an_organisations_denial_is_not_for_the_account_to_allow() {
        let denial = "User: arn:aws:iam::1:user/a is not authorized to perform: ec2:CreateSecurityGroup on resource: x \
                      with an explicit deny in a service control policy";
        for message in [
            format!("{denial}: arn:aws:organizations::1:policy/o-1/service_control_policy/p-1"),
            format!(
                "You are not authorized to perform this operation. {denial}. Encoded authorization failure message: x"
            ),
            "User: arn:aws:iam::1:user/a is not authorized to perform: ec2:CreateSecurityGroup because no service control \
             policy allows the ec2:CreateSecurityGroup action"
                .into(),
        ] {
            let denied = error("ec2:CreateSecurityGroup", "UnauthorizedOperation", &message, Some(403));
            let help = Error::from(denied).help.unwrap();
            assert!(
                help.starts_with("your organisation denies ec2:CreateSecurityGroup,")
                    && help.contains("[aws.tags]"),
                "{help}"
            );
        }
    }

    #[test]
    fn an_error_says_what_failed_on_what() {
        for (code, status, words) in [
            ("NoSuchBucket", Some(404), "s3:GetObject on it failed: NoSuchBucket: gone"),
            ("", Some(502), "s3:GetObject on it failed: HTTP 502: gone"),
            ("", None, "s3:GetObject on it failed: no answer: gone"),
        ] {
            assert_eq!(error("s3:GetObject", code, "gone", status).to_string(), words);
        }
    }
}
