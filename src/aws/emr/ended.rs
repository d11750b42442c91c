//! Why a cluster ended. EMR has a handful of codes, finer ones in its error details, and says the rest in a sentence;
//! this is the only place that reads that sentence.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ClusterState;
use super::causes::{Row, causes, coded, find, row};

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
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Detail {
    /// Its code.
    pub code: String,
    /// What it is about.
    pub data: BTreeMap<String, String>,
    /// In words.
    pub message: String,
}

causes! {
    /// Why a cluster ended.
    EndReason {
        /// EMR's service-linked role is missing, and whoever asked for the cluster may not make it.
        EmrRole,
        /// Spot's service-linked role is missing, and the service role may not make it.
        SpotRole,
        /// EMR cannot take on the service role; or it was made a moment ago, and is not known everywhere yet.
        ServiceRole,
        /// EC2 does not know the nodes' instance profile; or not yet.
        Profile,
        /// The service role may not do something in EC2.
        Ec2Permissions,
        /// A key of KMS does not work, or may not be used.
        Kms,
        /// A private subnet needs a service access group.
        AccessGroup,
        /// The service access group does not let the primary node in at port 9443.
        AccessGroupIn,
        /// The service access group does not let EMR out to the nodes at port 8443.
        AccessGroupOut,
        /// A security group lets the internet in.
        PublicRule,
        /// There is no such security group.
        GroupGone,
        /// The security groups are of another VPC than the subnet.
        GroupsApart,
        /// The subnets are of several VPCs.
        SubnetsApart,
        /// There is no such subnet.
        SubnetGone,
        /// Too few addresses are free.
        SubnetFull,
        /// A public subnet has no way to the internet.
        NoInternetGateway,
        /// Something else is wrong with the subnet or its VPC.
        Subnet,
        /// There is no such key pair.
        KeyPair,
        /// EC2 asked for patience.
        Throttled,
        /// The account may not have so many Spot instances.
        SpotQuota,
        /// The account may not have so many volumes, or so large ones.
        VolumeQuota,
        /// The account may not have so many instances.
        Quota,
        /// The zone has never had such instances.
        NotOffered,
        /// There was no Spot instance for the primary node.
        NoSpotForPrimary,
        /// There were no Spot instances.
        NoSpot,
        /// EC2 has no such instances left in the zone.
        NoCapacity,
        /// Its instances did not come in time.
        InstancesLate,
        /// A bootstrap action could not be fetched.
        ActionNotFetched,
        /// A bootstrap action took too long.
        BootstrapTimeout,
        /// EMR could not install or start the applications.
        Provisioning,
        /// A node's root volume was too small for what EMR installs.
        RootFull,
        /// The nodes do not reach Hive's metastore.
        Metastore,
        /// A bootstrap action failed.
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
        /// All of its core nodes were lost.
        CoreLost,
        /// EMR refused it for something else.
        Refused,
        /// EMR could not start it.
        Internal,
        /// EMR does not say, or says what this version does not know.
        Unknown,
    }
}

/// What is told by an error detail's code: all codes of
/// <https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-troubleshoot-error-errordetail.html> and its pages.
pub(super) const DETAILS: &[(&str, EndReason)] = &[
    ("BOOTSTRAP_FAILURE_PRIMARY_WITH_NON_ZERO_CODE", EndReason::Bootstrap),
    ("BOOTSTRAP_FAILURE_BA_DOWNLOAD_FAILED_PRIMARY", EndReason::ActionNotFetched),
    ("BOOTSTRAP_FAILURE_FILE_NOT_FOUND_PRIMARY", EndReason::ActionNotFetched),
    ("BOOTSTRAP_FAILURE_INSUFFICIENT_DISK_SPACE_PRIMARY", EndReason::RootFull),
    ("BOOTSTRAP_FAILURE_INSUFFICIENT_DISK_SPACE_WORKER", EndReason::RootFull),
    ("BOOTSTRAP_FAILURE_HIVE_METASTORE_CONNECTION_ERROR_PRIMARY", EndReason::Metastore),
    ("BOOTSTRAP_FAILURE_HIVE_METASTORE_CONNECTION_ERROR_WORKER", EndReason::Metastore),
    ("INTERNAL_ERROR_EC2_INSUFFICIENT_CAPACITY_AZ", EndReason::NoCapacity),
    ("INTERNAL_ERROR_SPOT_PRICE_INCREASE_PRIMARY", EndReason::PrimaryLost),
    ("INTERNAL_ERROR_SPOT_NO_CAPACITY_PRIMARY", EndReason::NoSpotForPrimary),
    ("VALIDATION_ERROR_SUBNET_NOT_FROM_ONE_VPC", EndReason::SubnetsApart),
    ("VALIDATION_ERROR_SECURITY_GROUP_NOT_FROM_ONE_VPC", EndReason::GroupsApart),
    ("VALIDATION_ERROR_INVALID_SSH_KEY_NAME", EndReason::KeyPair),
    ("VALIDATION_ERROR_INSTANCE_TYPE_NOT_SUPPORTED", EndReason::NotOffered),
];

// Sources that several rows have.
const AWS_VPC: &str =
    "https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-troubleshoot-error-vpc.html";
const AWS_CAPACITY: &str =
    "https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-EC2_INSUFFICIENT_CAPACITY-error.html";
const AWS_QUOTA: &str = "https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-EC2.html";
const AWS_THROTTLING: &str =
    "https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-throttling-error.html";
const AWS_TYPE: &str =
    "https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-INSTANCE_TYPE_NOT_SUPPORTED-error.html";
const AWS_EC2: &str = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html";
const INTELLIFLOW: &str = "amzn/rheoceros test_aws_compute.py";
const MRJOB: &str = "Yelp/mrjob tests/logs/test_bootstrap.py";

/// What is told by the sentence, the finer before the coarser: a key of KMS may be one that the service role may not use,
/// and a request for Spot capacity may be over a quota.
pub(super) const TEXTS: &[Row<EndReason>] = &[
    row(&["service-linked role", "spot"], EndReason::SpotRole, "hashicorp/terraform-provider-aws#14788"),
    row(&["awsserviceroleforec2spot"], EndReason::SpotRole, "hashicorp/terraform-provider-aws#14788"),
    row(&["servicelinkedrolecreationnotpermitted"], EndReason::SpotRole, AWS_EC2),
    row(&["awsserviceroleforemrcleanup"], EndReason::EmrRole, "awslabs/aws-emr-launch#21"),
    row(&["service-linked role"], EndReason::EmrRole, "awslabs/aws-emr-launch#21"),
    row(&["service linked role"], EndReason::EmrRole, "guess"),
    row(&["kms key"], EndReason::Kms, "gchq/sleeper#3447"),
    row(&["kmskey"], EndReason::Kms, "CiscoDevNet/cloud-cml#8"),
    row(&["kms:"], EndReason::Kms, "cisagov/XFD#1371"),
    row(&["customer master key"], EndReason::Kms, "ministryofjustice/modernisation-platform#3468"),
    row(&["client error on launch"], EndReason::Kms, "aws-quickstart/quickstart-redhat-openshift#130"),
    row(&["serviceaccesssecuritygroup", "9443"], EndReason::AccessGroupIn, "hashicorp/terraform#25673"),
    row(
        &["serviceaccesssecuritygroup", "missing ingress"],
        EndReason::AccessGroupIn,
        "hashicorp/terraform#25673",
    ),
    row(&["serviceaccesssecuritygroup", "8443"], EndReason::AccessGroupOut, "guess"),
    row(&["serviceaccesssecuritygroup", "missing egress"], EndReason::AccessGroupOut, "guess"),
    row(&["service access", "9443"], EndReason::AccessGroupIn, "guess"),
    row(&["service access", "8443"], EndReason::AccessGroupOut, "guess"),
    row(&["serviceaccesssecuritygroup"], EndReason::AccessGroup, "hashicorp/terraform#9518"),
    row(&["service access security group"], EndReason::AccessGroup, "guess"),
    row(
        &["allow public access"],
        EndReason::PublicRule,
        "https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-block-public-access.html",
    ),
    row(
        &["insufficient ec2 permissions"],
        EndReason::Ec2Permissions,
        "terraform-aws-modules/terraform-aws-emr#3",
    ),
    row(&["not authorized to perform: sts:assumerole"], EndReason::ServiceRole, "guess"),
    row(&["not authorized to perform"], EndReason::Ec2Permissions, AWS_EC2),
    row(&["unauthorizedoperation"], EndReason::Ec2Permissions, AWS_EC2),
    row(
        &["instance profile", "invalid"],
        EndReason::Profile,
        "cloud-custodian/cloud-custodian test_emr_terminate",
    ),
    row(&["instance profile", "not exist"], EndReason::Profile, "guess"),
    row(&["instance profile", "not found"], EndReason::Profile, "guess"),
    row(&["instance profile", "not authorize"], EndReason::Profile, "guess"),
    row(&["instance profile", "required"], EndReason::Profile, "guess"),
    row(&["instanceprofile"], EndReason::Profile, "ambiata/ivory#666"),
    row(&["iaminstanceprofile"], EndReason::Profile, AWS_EC2),
    row(&["service role", "invalid"], EndReason::ServiceRole, "aws/aws-cdk#27736"),
    row(&["service role", "not exist"], EndReason::ServiceRole, "guess"),
    row(&["assume", "role"], EndReason::ServiceRole, "guess"),
    row(&["throttl"], EndReason::Throttled, AWS_THROTTLING),
    row(&["requestlimitexceeded"], EndReason::Throttled, AWS_EC2),
    row(&["request limit exceeded"], EndReason::Throttled, AWS_EC2),
    row(&["rate exceeded"], EndReason::Throttled, "guess"),
    row(&["ebs", "limit"], EndReason::VolumeQuota, INTELLIFLOW),
    row(&["volumelimitexceeded"], EndReason::VolumeQuota, AWS_EC2),
    row(&["maxiopslimitexceeded"], EndReason::VolumeQuota, AWS_EC2),
    row(&["volume", "limit"], EndReason::VolumeQuota, AWS_EC2),
    row(&["volume", "quota"], EndReason::VolumeQuota, "guess"),
    row(&["maximum", "volume"], EndReason::VolumeQuota, AWS_EC2),
    row(&["storage limit"], EndReason::VolumeQuota, "guess"),
    row(&["maxspotinstancecountexceeded"], EndReason::SpotQuota, "eniac/faas#7"),
    row(&["max spot instance count"], EndReason::SpotQuota, "aws/aws-parallelcluster#340"),
    row(&["spotmaxpricetoolow"], EndReason::NoSpot, AWS_EC2),
    row(&["spot", "price"], EndReason::NoSpot, AWS_EC2),
    row(&["spot", "quota"], EndReason::SpotQuota, "guess"),
    row(&["spot", "limit"], EndReason::SpotQuota, AWS_EC2),
    row(&["vcpu", "limit"], EndReason::Quota, AWS_EC2),
    row(&["instance limit"], EndReason::Quota, AWS_EC2),
    row(&["instances", "your limit"], EndReason::Quota, "guess"),
    row(&["limitexceeded"], EndReason::Quota, AWS_EC2),
    row(&["service limit"], EndReason::Quota, AWS_QUOTA),
    row(&["quota"], EndReason::Quota, AWS_QUOTA),
    row(&["subnet", "not large enough"], EndReason::SubnetFull, INTELLIFLOW),
    row(&["insufficientfreeaddresses"], EndReason::SubnetFull, AWS_EC2),
    row(&["not enough free addresses"], EndReason::SubnetFull, AWS_EC2),
    row(&["insufficient", "addresses"], EndReason::SubnetFull, "guess"),
    row(&["route to internetgateway"], EndReason::NoInternetGateway, AWS_VPC),
    row(&["no route to any external"], EndReason::NoInternetGateway, "hashicorp/terraform#15117"),
    row(&["internet gateway"], EndReason::NoInternetGateway, AWS_VPC),
    row(&["subnet", "no route"], EndReason::NoInternetGateway, "guess"),
    row(&["subnet", "not exist"], EndReason::SubnetGone, "Wittline/pyspark-on-aws-emr#3"),
    row(&["invalidsubnetid"], EndReason::SubnetGone, AWS_EC2),
    row(&["security group", "not exist"], EndReason::GroupGone, AWS_EC2),
    row(&["invalidgroup"], EndReason::GroupGone, AWS_EC2),
    row(&["invalidsecuritygroupid"], EndReason::GroupGone, AWS_EC2),
    row(&["belong to different networks"], EndReason::GroupsApart, AWS_EC2),
    row(&["subnet configuration was invalid"], EndReason::Subnet, AWS_VPC),
    row(&["subnet is required"], EndReason::Subnet, "RetailMeNotSandbox/dart#74"),
    row(&["key pair"], EndReason::KeyPair, AWS_EC2),
    row(&["invalidkeypair"], EndReason::KeyPair, AWS_EC2),
    row(&["ssh key"], EndReason::KeyPair, "guess"),
    row(&["not supported in", "availability zone"], EndReason::NotOffered, AWS_TYPE),
    row(&["instance type", "not support"], EndReason::NotOffered, AWS_TYPE),
    row(&["instance type", "not available"], EndReason::NotOffered, "guess"),
    row(&["instance type", "not offered"], EndReason::NotOffered, "guess"),
    row(&["configuration is currently not supported"], EndReason::NotOffered, AWS_EC2),
    row(&["spot", "capacity"], EndReason::NoSpot, AWS_EC2),
    row(&["capacity-not-available"], EndReason::NoSpot, AWS_EC2),
    row(&["out of capacity"], EndReason::NoCapacity, AWS_CAPACITY),
    row(&["sufficient", "capacity"], EndReason::NoCapacity, AWS_EC2),
    row(&["insufficientinstancecapacity"], EndReason::NoCapacity, AWS_EC2),
    row(&["unfulfillablecapacity"], EndReason::NoCapacity, "guess"),
    row(&["not enough", "capacity"], EndReason::NoCapacity, "guess"),
    row(&["fulfill", "capacity"], EndReason::NoCapacity, "guess"),
    row(&["no capacity"], EndReason::NoCapacity, "guess"),
    row(&["attempting to download"], EndReason::ActionNotFetched, "aws-samples/emr-bootstrap-actions#220"),
    row(&["failed to download"], EndReason::ActionNotFetched, MRJOB),
    row(&["application provisioning"], EndReason::Provisioning, INTELLIFLOW),
    row(&["failed to launch"], EndReason::Provisioning, "snowplow/snowplow#354"),
    row(&["bootstrap action", "timed out"], EndReason::BootstrapTimeout, "snowplow/snowplow#354"),
    row(&["bootstrap action"], EndReason::Bootstrap, MRJOB),
    row(&["fleet", "timed out"], EndReason::InstancesLate, "guess"),
    row(&["fleet", "timeout"], EndReason::InstancesLate, "guess"),
    row(&["master node was terminated"], EndReason::PrimaryLost, "Yelp/mrjob mrjob/emr.py"),
    row(&["primary node was terminated"], EndReason::PrimaryLost, "guess"),
    row(&["all slaves"], EndReason::CoreLost, "guess"),
    row(&["all core"], EndReason::CoreLost, "guess"),
    row(
        &["no_slave_left"],
        EndReason::CoreLost,
        "https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-cluster-NO_SLAVE_LEFT-FAILED_BY_MASTER.html",
    ),
    row(&["auto-terminat"], EndReason::Idle, "guess"),
    row(&["idle timeout"], EndReason::Idle, "guess"),
    coded("USER_REQUEST", &["idle"], EndReason::Idle, "guess"),
];

/// What is left, by EMR's code alone. Source:
/// <https://docs.aws.amazon.com/emr/latest/APIReference/API_ClusterStateChangeReason.html>.
pub(super) const CODES: &[(&str, EndReason)] = &[
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

    /// Why it ended: the finest that EMR says. Codes come before text.
    pub fn reason(&self) -> EndReason {
        let in_details =
            |d: &Detail| DETAILS.iter().find(|(code, _)| *code == d.code).map(|(_, reason)| *reason);
        // A detail that is not known yet begins with the code of its kind.
        let codes = std::iter::once(&self.code).chain(self.details.iter().map(|d| &d.code));
        let kind = |code: &String| CODES.iter().find(|(kind, _)| code.starts_with(kind));
        let by_code = codes.clone().find_map(kind);
        // What somebody or the work itself ended failed for nothing else, whatever words are in the sentence.
        let is_planned =
            matches!(self.code.as_str(), "USER_REQUEST" | "ALL_STEPS_COMPLETED" | "STEP_FAILURE");
        let by_text = || {
            let found = find(TEXTS, &self.code, &self.words());
            found.filter(|reason| !is_planned || *reason == EndReason::Idle)
        };
        self.details
            .iter()
            .find_map(in_details)
            .or_else(by_text)
            .or(by_code.map(|(_, reason)| *reason))
            .unwrap_or(EndReason::Unknown)
    }

    /// All that EMR says of it, as it is: sentences, or else codes. Empty: nothing.
    pub fn words(&self) -> String {
        let told = |text: &str| !text.trim_matches(['.', ' ', '\n']).is_empty();
        let mut words: Vec<&str> = Vec::new();
        for text in std::iter::once(&self.message).chain(self.details.iter().map(|d| &d.message)) {
            if told(text) && !words.contains(&text.as_str()) {
                words.push(text);
            }
        }
        if words.is_empty() {
            let codes = self.details.iter().map(|d| &d.code).chain([&self.code]);
            words.extend(codes.map(String::as_str).find(|code| told(code)));
        }
        words.join(" ")
    }

    /// The zone that an error detail names. Where a type is not offered, AWS's member may hold several: then none.
    pub fn zone(&self) -> Option<&str> {
        let data = |key: &str| self.details.iter().find_map(|d| d.data.get(key));
        data("availability-zone")
            .or_else(|| data("availability-zones"))
            .map(String::as_str)
            .filter(|z| !z.contains(','))
    }

    /// The nodes on which it failed: those of the details, or of the sentence. It may name only some of them.
    pub fn nodes(&self) -> Vec<String> {
        let ids = |text: &str| -> Vec<String> {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            words.filter(|word| is_instance(word)).map(str::to_owned).collect()
        };
        // primary-instance-id, or worker-instance-ids.
        let named = self.details.iter().flat_map(|d| &d.data).filter(|(key, _)| key.contains("instance-id"));
        let mut nodes: Vec<String> = named.flat_map(|(_, value)| ids(value)).collect();
        if nodes.is_empty() {
            // "On the master instance (i-...), ...", "On 2 slave instances (including i-... and i-...), ..."
            nodes = ids(&self.words());
        }
        nodes.dedup();
        nodes
    }

    /// The number of the bootstrap action that failed, from 1.
    pub fn action(&self) -> Option<usize> {
        let data = self.details.iter().find_map(|d| d.data.get("bootstrap-action"));
        let words = self.words().to_lowercase();
        let text = || {
            let rest = words.split_once("bootstrap action ")?.1;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        data.and_then(|number| number.parse().ok()).or_else(text).filter(|number| *number > 0)
    }
}

/// `i-`, and hexadecimal digits.
fn is_instance(word: &str) -> bool {
    word.strip_prefix("i-").is_some_and(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::aws::emr::causes::is_source;

    fn status(code: &str, message: &str, detail: &[&str]) -> Status {
        let details = detail.iter().map(|code| Detail { code: (*code).into(), ..Detail::default() });
        Status { code: code.into(), message: message.into(), details: details.collect(), ..Status::default() }
    }

    #[test]
    fn rows_are_in_lower_case_and_have_sources() {
        for row in TEXTS {
            assert!(row.pieces.iter().all(|piece| *piece == piece.to_lowercase()), "{:?}", row.pieces);
            assert!(is_source(row.source), "{}", row.source);
        }
    }

    /// Every cause can be told by something, or it is not a cause.
    #[test]
    fn every_cause_has_a_row() {
        for cause in EndReason::ALL {
            let told = TEXTS.iter().any(|row| row.cause == *cause)
                || DETAILS.iter().chain(CODES).any(|(_, reason)| reason == cause);
            assert!(told || *cause == EndReason::Unknown, "{cause:?}");
        }
    }

    #[test]
    fn no_reason_is_unknown() {
        for (code, message) in [("", ""), ("", " ."), ("ODD", "EC2 is tired")] {
            assert_eq!(status(code, message, &[]).reason(), EndReason::Unknown);
        }
        assert_eq!(status("VALIDATION_ERROR", "", &[]).reason(), EndReason::Refused);
        assert_eq!(status("", "", &["BOOTSTRAP_FAILURE_NEW"]).reason(), EndReason::Bootstrap);
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

    /// A name in the sentence is no cause: a cluster that somebody terminated was not out of capacity.
    #[test]
    fn who_ended_it_goes_before_what_is_in_the_sentence() {
        assert_eq!(
            status("USER_REQUEST", "Terminated by user quota-bot", &[]).reason(),
            EndReason::Terminated
        );
        assert_eq!(status("USER_REQUEST", "Cluster was idle for 60 minutes", &[]).reason(), EndReason::Idle);
    }

    #[test]
    fn the_failed_action_is_found_in_details_and_in_text() {
        let text = status(
            "BOOTSTRAP_FAILURE",
            "On the master instance (i-0ab), bootstrap action 2 returned a non-zero return code",
            &[],
        );
        assert_eq!((text.nodes(), text.action()), (vec!["i-0ab".to_owned()], Some(2)));
        let several = "On 2 slave instances (including i-105af6bf and i-b659f519), bootstrap action 1 returned a non-zero return code";
        let several = status("BOOTSTRAP_FAILURE", several, &[]);
        assert_eq!((several.nodes().len(), several.action()), (2, Some(1)));
        let mut detailed =
            status("BOOTSTRAP_FAILURE", "odd", &["BOOTSTRAP_FAILURE_PRIMARY_WITH_NON_ZERO_CODE"]);
        assert_eq!((detailed.nodes().len(), detailed.action()), (0, None));
        detailed.details[0].data = [("primary-instance-id", "i-1"), ("bootstrap-action", "3")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
        assert_eq!((detailed.nodes(), detailed.action()), (vec!["i-1".to_owned()], Some(3)));
    }

    proptest! {
        #[test]
        fn any_status_has_a_reason_and_instances_that_are_some(
            code in "(BOOTSTRAP_FAILURE|VALIDATION_ERROR|INTERNAL_ERROR|USER_REQUEST|[A-Z_]{1,20})",
            message in "(\\PC{0,40}|\\PC{0,9}\\(\\PC{0,9}\\)?\\PC{0,9}bootstrap action [0-9]{0,21} ?\\PC{0,9})",
            details in vec(("[A-Z_]{0,30}", "\\PC{0,9}", "-?[0-9]{0,21}"), 0..3),
        ) {
            let details = details.into_iter().map(|(code, instance, number)| Detail {
                code,
                data: [("primary-instance-id".into(), instance), ("bootstrap-action".into(), number)].into(),
                ..Detail::default()
            });
            let status = Status { code, message, details: details.collect(), ..Status::default() };
            status.reason();
            prop_assert!(status.action().is_none_or(|number| number > 0));
            prop_assert!(status.nodes().iter().all(|node| node.starts_with("i-")));
        }
    }
}
