//! What people are told of a cluster's end: one row a cause.

use super::Told;
use crate::aws::emr::EndReason;

/// What happened, and what to do about it.
///
/// A remedy never sends in a circle: what does not pass by itself asks for a change before the next `fruitctl up`, and
/// `fruitctl doctor` is named only for what it looks at. Longer than a function should be, because it is a table.
pub fn told(reason: EndReason) -> Told {
    use EndReason as R;
    let (what, next) = match reason {
        R::EmrRole => (
            "the account has no service-linked role of EMR, and you may not make it",
            "aws iam create-service-linked-role --aws-service-name elasticmapreduce.amazonaws.com, then: fruitctl up",
        ),
        R::SpotRole => (
            "the account has no service-linked role of Spot, and the service role may not make it",
            "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com, then: fruitctl up",
        ),
        R::ServiceRole => (
            "EMR does not take its service role",
            "fruitctl plan: if the service role is to be changed, fruitctl up does it; a role under [roles] has to let \
             elasticmapreduce.amazonaws.com assume it: aws iam get-role --role-name {role}",
        ),
        R::Profile => (
            "EMR does not take its nodes' instance profile: EC2 does not know it, or EMR may not use it",
            "fruitctl plan: if the node role is to be changed, fruitctl up does it; a role under [roles] needs an \
             instance profile of the same name: aws iam get-instance-profile --instance-profile-name {profile}",
        ),
        R::Ec2Permissions => (
            "the service role may not do in EC2 what EMR needs",
            "see what was denied: {denied}; allow that to {role}, or ask who keeps the organisation's policies; \
             then: fruitctl up",
        ),
        R::Kms => (
            "a key of KMS does not work, or the service role may not use it",
            "enable the key, and let {role} use it by the key's policy; the account's own for volumes: \
             aws ec2 get-ebs-default-kms-key-id --region {region}; what was denied: {denied}; then: fruitctl up",
        ),
        R::AccessGroup => (
            "its subnet is private, and the cluster has no service access group",
            "fruitctl doctor says whether its subnets are private; if they are, fruitctl up makes the group",
        ),
        R::AccessGroupIn => (
            "port 9443 is not open from the primary node to the service access group",
            "fruitctl plan shows the rule as missing, and fruitctl up adds it; who took it away: aws cloudtrail \
             lookup-events --region {region} --lookup-attributes AttributeKey=EventName,AttributeValue=RevokeSecurityGroupIngress",
        ),
        R::AccessGroupOut => (
            "port 8443 is not open from the service access group to the nodes",
            "fruitctl plan shows the rule as missing, and fruitctl up adds it; who took it away: aws cloudtrail \
             lookup-events --region {region} --lookup-attributes AttributeKey=EventName,AttributeValue=RevokeSecurityGroupEgress",
        ),
        R::PublicRule => (
            "a security group lets the internet in",
            "take that rule off the group, then: fruitctl up; what is allowed: \
             aws emr get-block-public-access-configuration --region {region}",
        ),
        R::GroupGone => (
            "one of its security groups does not exist",
            "fruitctl plan shows it as missing, and fruitctl up makes it again",
        ),
        R::GroupsApart => (
            "its security groups are of another VPC than its subnet",
            "name subnets of the groups' VPC under [network]; or begin again in the new one: fruitctl down, then: fruitctl up",
        ),
        R::SubnetsApart => {
            ("its subnets are of several VPCs", "name subnets of one VPC under [network], then: fruitctl up")
        }
        R::SubnetGone => (
            "its subnet does not exist",
            "name others under [network], of: aws ec2 describe-subnets --region {region}; then: fruitctl up",
        ),
        R::SubnetFull => (
            "its subnet has too few free addresses",
            "name larger subnets under [network], or fewer nodes under [cluster], then: fruitctl up",
        ),
        R::NoInternetGateway => (
            "its subnet has no way to the internet",
            "add a route for 0.0.0.0/0 to an internet gateway to the subnet's route table, and enable DNS hostnames in \
             the VPC; or name other subnets under [network]; then: fruitctl up",
        ),
        R::Subnet => (
            "EMR does not accept its subnet, or the VPC",
            "fruitctl doctor says what routes and addresses there are; change that, or name other subnets under \
             [network]; then: fruitctl up",
        ),
        R::KeyPair => (
            "its key pair does not exist",
            "fruitctl plan shows it as missing, and fruitctl up imports it again",
        ),
        R::Throttled => ("EC2 was asked too often", "wait a few minutes, then: fruitctl up"),
        R::SpotQuota => (
            "the account's quota of Spot instances is too small for it",
            "set spot = false under [cluster.core] and [cluster.task], or use fewer or smaller nodes, then: fruitctl up; or ask for a higher quota: \
             https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas",
        ),
        R::VolumeQuota => (
            "the account's quota of volumes is too small for it",
            "use fewer nodes or a smaller ebs_gb under [cluster], then: fruitctl up; or ask for a higher quota: \
             https://console.aws.amazon.com/servicequotas/home/services/ebs/quotas",
        ),
        R::Quota => (
            "the account's quota of instances is too small for it",
            "use fewer or smaller nodes under [cluster], then: fruitctl up; clusters that ended within 20 minutes may still \
             count; or ask for a higher quota: https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas",
        ),
        R::NotOffered => (
            "this availability zone has no such instances",
            "name other instance types under [cluster], or subnets of other zones under [network], then: fruitctl up; \
             fruitctl doctor says which zones have them",
        ),
        R::NoSpotForPrimary => (
            "there was no Spot instance for the primary node",
            "set spot = false under [cluster.primary], then: fruitctl up",
        ),
        R::NoSpot => (
            "AWS has no such Spot instances left in this availability zone",
            "set spot = false, or name more instance types or subnets, in fruitctl.toml, then: fruitctl up",
        ),
        R::NoCapacity => (
            "AWS has no such instances left in this availability zone",
            "name more instance types or subnets in fruitctl.toml, then: fruitctl up",
        ),
        R::InstancesLate => (
            "its instances did not come in time",
            "name more instance types or subnets in fruitctl.toml, or set spot = false, then: fruitctl up",
        ),
        R::ActionNotFetched => (
            "a bootstrap action could not be fetched from the bucket",
            "fruitctl plan: if the script or the node role is to be changed, fruitctl up does it; else see whether a \
             policy of the bucket or of a VPC endpoint denies it",
        ),
        R::BootstrapTimeout => (
            "a bootstrap action took longer than EMR waits",
            "see what it waited for, and do less in it, then: fruitctl up",
        ),
        R::Provisioning => (
            "EMR could not install or start the applications",
            "correct [cluster.configurations] or [[cluster.bootstrap]], or name larger instance types, then: fruitctl up",
        ),
        R::RootFull => {
            ("a node's root volume is too small", "raise root_gb under [cluster], then: fruitctl up")
        }
        R::Metastore => (
            "its nodes do not reach Hive's metastore",
            "correct hive-site under [cluster.configurations], and let the nodes reach it, then: fruitctl up",
        ),
        R::Bootstrap => {
            ("a bootstrap action failed", "fix the script under [[cluster.bootstrap]], then: fruitctl up")
        }
        R::Idle => (
            "it was idle for as long as idle_minutes allows",
            "fruitctl up starts another; idle_minutes under [cluster] says how long it waits",
        ),
        R::Terminated => (
            "somebody terminated it",
            "fruitctl up starts another; who it was: aws cloudtrail lookup-events --region {region} \
             --lookup-attributes AttributeKey=EventName,AttributeValue=TerminateJobFlows",
        ),
        R::Done => ("its work was done", "fruitctl up starts another"),
        R::StepFailed => (
            "a step failed, and the cluster was to end with it",
            "fruitctl logs says why; fix that, then: fruitctl run",
        ),
        R::PrimaryLost => (
            "its primary node was lost (a Spot instance taken back, or a failure)",
            "fruitctl up starts another; if it was a Spot instance, set spot = false under [cluster.primary] before",
        ),
        R::CoreLost => (
            "all of its core nodes were lost (Spot instances taken back, or their disks full)",
            "raise ebs_gb under [cluster], or set spot = false under [cluster.core], then: fruitctl up",
        ),
        R::Refused => (
            "EMR refused it for a reason that this version does not know",
            "see what failed for {role}: {denied}; it shows some minutes later, also at {console}; fix that, then: fruitctl up",
        ),
        R::Internal => (
            "EMR could not start it, and does not say why",
            "fruitctl up, once; if another ends like this, name other instance types, or see what failed for {role}: {denied}",
        ),
        R::Unknown => (
            "",
            "see what failed for {role}: {denied}; it shows some minutes later, also at {console}; \
             if nothing did: fruitctl up, once",
        ),
    };
    Told { what, next }
}
