//! Why a cluster ended. EMR has a handful of codes, finer ones in its error details, and says the rest in a sentence;
//! this is the only place that reads that sentence.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ClusterState;

/// A cluster's state.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Status {
    /// How it is.
    pub state: ClusterState,
    /// Why: a code.
    pub code: String,
    /// Why: a sentence.
    pub message: String,
    /// Why: structured, on newer releases.
    pub details: Vec<Detail>,
    /// Seconds since 1970.
    pub created: Option<i64>,
    /// When it was ready for steps.
    pub ready: Option<i64>,
    /// When it ended.
    pub ended: Option<i64>,
}

/// One of EMR's `ErrorDetails`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detail {
    /// Its code.
    pub code: String,
    /// What it is about.
    pub data: BTreeMap<String, String>,
}

/// Why a cluster ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// A role or its profile is not good; or was made a moment ago, and is not known everywhere yet.
    Role,
    /// EMR's service-linked role is missing, and whoever asked for the cluster may not make it.
    EmrRole,
    /// Spot's service-linked role is missing, and the service role may not make it.
    SpotRole,
    /// EC2 has no such instances left in the zone.
    NoCapacity,
    /// The zone has never had such instances.
    NotOffered,
    /// There was no Spot instance for the primary node.
    NoSpotForPrimary,
    /// The account may not have so many instances or volumes.
    Quota,
    /// EC2 asked for patience.
    Throttled,
    /// There is no such key pair.
    KeyPair,
    /// The subnets are of several VPCs.
    SubnetsApart,
    /// The security groups are of another VPC than the subnet.
    GroupsApart,
    /// Too few addresses are free.
    SubnetFull,
    /// A public subnet has no way to the internet.
    NoInternetGateway,
    /// A private subnet needs a service access group with its rules.
    AccessGroup,
    /// A security group lets the internet in.
    PublicRule,
    /// EMR refused it for something else.
    Refused,
    /// A bootstrap action could not be fetched.
    ActionNotFetched,
    /// A bootstrap action, or what EMR installs, took too long.
    BootstrapTimeout,
    /// A bootstrap action, or what EMR installs, failed.
    Bootstrap,
    /// It was idle for as long as it may be.
    Idle,
    /// Somebody terminated it.
    Terminated,
    /// Its work was done.
    Done,
    /// A step failed, and it was to end with it.
    StepFailed,
    /// Its primary node was lost.
    PrimaryLost,
    /// Its instances did not come in time.
    InstancesLate,
    /// EMR could not start it.
    Internal,
    /// EMR does not say, or says what this version does not know.
    Unknown,
}

/// A row of what is told by an error detail's code. Source:
/// https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-troubleshoot-errordetail.html
const DETAILS: &[(&str, EndReason)] = &[
    ("VALIDATION_ERROR_INVALID_SSH_KEY_NAME", EndReason::KeyPair),
    ("VALIDATION_ERROR_SUBNET_NOT_FROM_ONE_VPC", EndReason::SubnetsApart),
    ("VALIDATION_ERROR_SECURITY_GROUP_NOT_FROM_ONE_VPC", EndReason::GroupsApart),
    ("VALIDATION_ERROR_INSTANCE_TYPE_NOT_SUPPORTED", EndReason::NotOffered),
    ("INTERNAL_ERROR_EC2_INSUFFICIENT_CAPACITY_AZ", EndReason::NoCapacity),
    ("INTERNAL_ERROR_SPOT_NO_CAPACITY_PRIMARY", EndReason::NoSpotForPrimary),
    ("INTERNAL_ERROR_SPOT_PRICE_INCREASE_PRIMARY", EndReason::PrimaryLost),
    ("BOOTSTRAP_FAILURE_BA_DOWNLOAD_FAILED_PRIMARY", EndReason::ActionNotFetched),
    ("BOOTSTRAP_FAILURE_FILE_NOT_FOUND_PRIMARY", EndReason::ActionNotFetched),
];

/// A row of what is told by code and sentence: this code (empty: any), these pieces of the sentence.
type Row = (&'static str, &'static [&'static str], EndReason);

/// Sources: of the roles, aws/aws-cdk#27736, awslabs/aws-emr-launch#21, determined-ai/determined#1830 and
/// cloud-custodian's recording test_emr_terminate; of groups and subnets, hashicorp/terraform#9518 and #25673 and
/// https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-troubleshoot-error-vpc.html; of capacity and quotas,
/// amzn/intelliflow's test_aws_compute.py and emr-EC2_INSUFFICIENT_CAPACITY-error.html, emr-throttling-error.html of the same guide;
/// of bootstrapping, Yelp/mrjob's tests/logs/test_bootstrap.py. That of an idle cluster is a guess.
const TEXTS: &[Row] = &[
    ("VALIDATION_ERROR", &["EMR service role", "is invalid"], EndReason::Role),
    ("VALIDATION_ERROR", &["requested instance profile", "is invalid"], EndReason::Role),
    ("VALIDATION_ERROR", &["has insufficient EC2 permissions"], EndReason::Role),
    ("", &["AWSServiceRoleForEMRCleanup"], EndReason::EmrRole),
    ("", &["service-linked role for EC2 Spot"], EndReason::SpotRole),
    ("", &["ServiceLinkedRoleCreationNotPermitted"], EndReason::SpotRole),
    ("", &["EC2 is out of capacity"], EndReason::NoCapacity),
    ("", &["requested instance type", "is not supported in the requested"], EndReason::NotOffered),
    ("", &["exceeds the EC2 service quota"], EndReason::Quota),
    ("", &["more vCPU capacity than your current vCPU limit"], EndReason::Quota),
    ("", &["MaxSpotInstanceCountExceeded"], EndReason::Quota),
    ("", &["EBS volume limit was exceeded"], EndReason::Quota),
    ("", &["throttling from Amazon EC2"], EndReason::Throttled),
    ("", &["Throttled from Amazon EC2"], EndReason::Throttled),
    ("VALIDATION_ERROR", &["subnet is not large enough"], EndReason::SubnetFull),
    ("VALIDATION_ERROR", &["Cannot find route to InternetGateway"], EndReason::NoInternetGateway),
    ("VALIDATION_ERROR", &["ServiceAccessSecurityGroup"], EndReason::AccessGroup),
    ("VALIDATION_ERROR", &["which allow public access"], EndReason::PublicRule),
    ("BOOTSTRAP_FAILURE", &["failed to download"], EndReason::ActionNotFetched),
    ("BOOTSTRAP_FAILURE", &["timed out"], EndReason::BootstrapTimeout),
    ("USER_REQUEST", &["idle"], EndReason::Idle),
];

/// What is left, by EMR's code alone. Source:
/// https://docs.aws.amazon.com/emr/latest/APIReference/API_ClusterStateChangeReason.html
const CODES: &[(&str, EndReason)] = &[
    ("VALIDATION_ERROR", EndReason::Refused),
    ("BOOTSTRAP_FAILURE", EndReason::Bootstrap),
    ("USER_REQUEST", EndReason::Terminated),
    ("ALL_STEPS_COMPLETED", EndReason::Done),
    ("STEP_FAILURE", EndReason::StepFailed),
    ("INSTANCE_FAILURE", EndReason::PrimaryLost),
    ("INSTANCE_FLEET_TIMEOUT", EndReason::InstancesLate),
    ("INTERNAL_ERROR", EndReason::Internal),
];

impl Status {
    /// It has not ended.
    pub fn lives(&self) -> bool {
        self.state.lives()
    }

    /// It can be used, now or soon.
    pub fn is_usable(&self) -> bool {
        self.state.is_usable()
    }

    /// Why it ended: the finest that EMR says.
    pub fn reason(&self) -> EndReason {
        let by_detail = self
            .details
            .iter()
            .find_map(|d| DETAILS.iter().find(|(code, _)| *code == d.code))
            .map(|(_, r)| *r);
        let by_text = || {
            let row = TEXTS.iter().find(|(code, pieces, _)| {
                (code.is_empty() || *code == self.code) && pieces.iter().all(|p| self.message.contains(p))
            });
            row.map(|(_, _, reason)| *reason)
        };
        let by_code = || CODES.iter().find(|(code, _)| *code == self.code).map(|(_, reason)| *reason);
        by_detail.or_else(by_text).or_else(by_code).unwrap_or(EndReason::Unknown)
    }

    /// The zone that an error detail names. Where a type is not offered, AWS's member may hold several: then none.
    pub fn zone(&self) -> Option<&str> {
        let data = |key: &str| self.details.iter().find_map(|d| d.data.get(key));
        data("availability-zone")
            .or_else(|| data("availability-zones"))
            .map(String::as_str)
            .filter(|z| !z.contains(','))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: &str, message: &str, detail: &[&str]) -> Status {
        let details = detail.iter().map(|code| Detail { code: (*code).into(), data: BTreeMap::new() });
        Status { code: code.into(), message: message.into(), details: details.collect(), ..Status::default() }
    }

    /// What people and AWS's own code were told, word by word.
    #[test]
    fn reported_ends_are_told_apart() {
        const VALIDATION: &str = "VALIDATION_ERROR";
        for (code, message, reason) in [
            (VALIDATION, "EMR service role arn:aws:iam::123456789012:role/x is invalid", EndReason::Role),
            (
                VALIDATION,
                "Failed to provision ec2 instances because 'The requested instance profile x is invalid'",
                EndReason::Role,
            ),
            (
                VALIDATION,
                "Service role arn:aws:iam::1:role/x has insufficient EC2 permissions. EC2 Message: You are not authorized to perform: ec2:CreateSecurityGroup",
                EndReason::Role,
            ),
            (
                VALIDATION,
                "Service-linked role 'AWSServiceRoleForEMRCleanup' for EMR is required. Please create this role directly or add permission to create it in your IAM entity.",
                EndReason::EmrRole,
            ),
            (
                "INTERNAL_ERROR",
                "EC2 is out of capacity for r5.24xlarge in availability zone us-east-1a.",
                EndReason::NoCapacity,
            ),
            ("INTERNAL_ERROR", "Request exceeds the EC2 service quota for that type.", EndReason::Quota),
            (
                VALIDATION,
                "The requested instance type m6g.xlarge is not supported in the requested availability zone.",
                EndReason::NotOffered,
            ),
            (
                VALIDATION,
                "ServiceAccessSecurityGroup is missing ingress rule from EmrManagedMasterSecurityGroup on port 9443",
                EndReason::AccessGroup,
            ),
            ("INSTANCE_FAILURE", "The master node was terminated. ", EndReason::PrimaryLost),
            ("INTERNAL_ERROR", "Failed to start the job flow due to an internal error", EndReason::Internal),
            (VALIDATION, "", EndReason::Refused),
            ("", "", EndReason::Unknown),
            ("ODD", "EC2 is tired", EndReason::Unknown),
        ] {
            assert_eq!(status(code, message, &[]).reason(), reason, "{code} {message}");
        }
    }

    #[test]
    fn a_detail_says_more_than_the_sentence() {
        let mut ended = status(
            "INTERNAL_ERROR",
            "Failed to start the job flow due to an internal error",
            &["NEW", "INTERNAL_ERROR_EC2_INSUFFICIENT_CAPACITY_AZ"],
        );
        assert_eq!((ended.reason(), ended.zone()), (EndReason::NoCapacity, None));
        ended.details[1].data.insert("availability-zone".into(), "eu-west-3b".into());
        assert_eq!(ended.zone(), Some("eu-west-3b"));
    }
}
