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
            "aws iam create-service-linked-role --aws-service-name elasticmapreduce.amazonaws.com, then: {again}",
        ),
        R::SpotRole => (
            "the account has no service-linked role of Spot, and the service role may not make it",
            "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com, then: {again}",
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
             then: {again}",
        ),
        R::Kms => (
            "a key of KMS does not work, or the service role may not use it",
            "enable the key, and let {role} use it by the key's policy; the account's own for volumes: \
             aws ec2 get-ebs-default-kms-key-id --region {region}; what was denied: {denied}; then: {again}",
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
            "take that rule off the group, then: {again}; what is allowed: \
             aws emr get-block-public-access-configuration --region {region}",
        ),
        R::GroupGone => (
            "one of its security groups does not exist",
            "fruitctl plan shows it as missing, and fruitctl up makes it again",
        ),
        R::GroupsApart => (
            "its security groups are of another VPC than its subnet",
            "name subnets of the groups' VPC under [network]; or begin again in the new one: fruitctl down, then: {again}",
        ),
        R::SubnetsApart => {
            ("its subnets are of several VPCs", "name subnets of one VPC under [network], then: {again}")
        }
        R::SubnetGone => (
            "its subnet does not exist",
            "name others under [network], of: aws ec2 describe-subnets --region {region}; then: {again}",
        ),
        R::SubnetFull => (
            "its subnet has too few free addresses",
            "name larger subnets under [network], or fewer nodes under [cluster], then: {again}",
        ),
        R::NoInternetGateway => (
            "its subnet has no way to the internet",
            "add a route for 0.0.0.0/0 to an internet gateway to the subnet's route table, and enable DNS hostnames in \
             the VPC; or name other subnets under [network]; then: {again}",
        ),
        R::Subnet => (
            "EMR does not accept its subnet, or the VPC",
            "fruitctl doctor says what routes and addresses there are; change that, or name other subnets under \
             [network]; then: {again}",
        ),
        R::KeyPair => (
            "its key pair does not exist",
            "fruitctl plan shows it as missing, and fruitctl up imports it again",
        ),
        R::Throttled => ("EC2 was asked too often", "wait a few minutes, then: {again}"),
        R::SpotQuota => (
            "the account's quota of Spot instances is too small for it",
            "set spot = false under [cluster.core] and [cluster.task], or use fewer or smaller nodes, then: {again}; or ask for a higher quota: \
             https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas",
        ),
        R::VolumeQuota => (
            "the account's quota of volumes is too small for it",
            "use fewer nodes or a smaller ebs_gb under [cluster], then: {again}; or ask for a higher quota: \
             https://console.aws.amazon.com/servicequotas/home/services/ebs/quotas",
        ),
        R::Quota => (
            "the account's quota of instances is too small for it",
            "use fewer or smaller nodes under [cluster], then: {again}; clusters that ended within 20 minutes may still \
             count; or ask for a higher quota: https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas",
        ),
        R::NotOffered => (
            "this availability zone has no such instances",
            "name other instance types under [cluster], or subnets of other zones under [network], then: {again}; \
             fruitctl doctor says which zones have them",
        ),
        R::NoSpotForPrimary => (
            "there was no Spot instance for the primary node",
            "set spot = false under [cluster.primary], then: {again}",
        ),
        R::NoSpot => (
            "AWS has no such Spot instances left in this availability zone",
            "set spot = false, or name more instance types or subnets, in fruitctl.toml, then: {again}",
        ),
        R::NoCapacity => (
            "AWS has no such instances left in this availability zone",
            "name more instance types or subnets in fruitctl.toml, then: {again}",
        ),
        R::InstancesLate => (
            "its instances did not come in time",
            "name more instance types or subnets in fruitctl.toml, or set spot = false, then: {again}",
        ),
        R::ActionNotFetched => (
            "a bootstrap action could not be fetched from the bucket",
            "fruitctl plan: if the script or the node role is to be changed, fruitctl up does it; else see whether a \
             policy of the bucket or of a VPC endpoint denies it",
        ),
        R::BootstrapTimeout => (
            "a bootstrap action took longer than EMR waits",
            "see what it waited for, and do less in it, then: {again}",
        ),
        R::Provisioning => (
            "EMR could not install or start the applications",
            "correct [cluster.configurations] or [[cluster.bootstrap]], or name larger instance types, then: {again}",
        ),
        R::RootFull => ("a node's root volume is too small", "raise root_gb under [cluster], then: {again}"),
        R::Metastore => (
            "its nodes do not reach Hive's metastore",
            "correct hive-site under [cluster.configurations], and let the nodes reach it, then: {again}",
        ),
        R::Bootstrap => {
            ("a bootstrap action failed", "fix the script under [[cluster.bootstrap]], then: {again}")
        }
        R::Idle => (
            "it was idle for as long as idle_minutes allows",
            "{again} starts another; idle_minutes under [cluster] says how long it waits",
        ),
        R::Terminated => (
            "somebody terminated it",
            "{again} starts another; who it was: aws cloudtrail lookup-events --region {region} \
             --lookup-attributes AttributeKey=EventName,AttributeValue=TerminateJobFlows",
        ),
        R::Done => ("its work was done", "{again} starts another"),
        R::StepFailed => (
            "a step failed, and the cluster was to end with it",
            "fruitctl logs says why; fix that, then: fruitctl run",
        ),
        R::PrimaryLost => (
            "its primary node was lost (a Spot instance taken back, or a failure)",
            "{again} starts another; if it was a Spot instance, set spot = false under [cluster.primary] before",
        ),
        R::CoreLost => (
            "all of its core nodes were lost (Spot instances taken back, or their disks full)",
            "raise ebs_gb under [cluster], or set spot = false under [cluster.core], then: {again}",
        ),
        R::Refused => (
            "EMR refused it for a reason that this version does not know",
            "see what failed for {role}: {denied}; it shows some minutes later, also at {console}; fix that, then: {again}",
        ),
        R::Internal => (
            "EMR could not start it, and does not say why",
            "{again}, once; if another ends like this, name other instance types, or see what failed for {role}: {denied}",
        ),
        R::Unknown => (
            "",
            "see what failed for {role}: {denied}; it shows some minutes later, also at {console}; \
             if nothing did: {again}, once",
        ),
    };
    Told { what, next }
}
