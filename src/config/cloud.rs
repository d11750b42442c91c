//! The sections of `fruitctl.toml` that say what exists in AWS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::Classifications;
use crate::facts::{Bound, FACTS};

/// `[aws]`: which account and region.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwsConfig {
    /// The region in which everything is made, such as `eu-west-3`; none is assumed
    /// [default: `AWS_REGION`, or the profile's]
    pub region: Option<String>,
    /// Regions in which anything may be made or read at all, a guard for data that may not leave a place; `*` stands for
    /// anything, as in `eu-*`. Empty: all.
    pub allowed_regions: Vec<String>,
    /// A profile of `~/.aws/config`, where the environment has no credentials
    /// [default: `AWS_PROFILE`, or `default`]
    pub profile: Option<String>,
    /// What `--profile` says.
    #[serde(skip)]
    pub credentials_from: Option<CredentialsFrom>,
    /// Tags of all that is made, beside ours.
    #[serde(deserialize_with = "tags")]
    pub tags: BTreeMap<String, String>,
}

/// Whose credentials are to be used, and no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialsFrom {
    /// Those that AWS's own tools would use here.
    Environment,
    /// A profile's.
    Profile(String),
}

impl From<String> for CredentialsFrom {
    fn from(text: String) -> Self {
        if text == "environment" { CredentialsFrom::Environment } else { CredentialsFrom::Profile(text) }
    }
}

/// `[bucket]`: the project's bucket, and for how long it keeps what.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BucketConfig {
    /// The bucket's name: 3 to 63 of a-z, 0-9 and `-`, with a letter or digit at each end
    /// [default: `fruitctl-PROJECT-ACCOUNT-REGION`]
    #[serde(deserialize_with = "bucket_name")]
    #[schemars(extend("pattern" = "^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"))]
    pub name: Option<String>,
    /// ARN or id of the KMS key to encrypt with [default: S3's own keys]
    pub kms_key: Option<String>,
    /// Days until what lies under `logs/` is deleted.
    pub logs_days: u16,
    /// Days until what lies under `tmp/` is deleted.
    pub tmp_days: u16,
    /// Days for which an object that was replaced or deleted can be restored.
    pub undo_days: u16,
}

impl Default for BucketConfig {
    fn default() -> Self {
        BucketConfig { name: None, kms_key: None, logs_days: 90, tmp_days: 7, undo_days: 30 }
    }
}

/// `[roles]`: roles that exist, where we may not make any, and what those that are made may not exceed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RolesConfig {
    /// EMR's service role, such as `EMR_DefaultRole_V2` [default: one is made]
    #[serde(deserialize_with = "role_name")]
    pub service: Option<String>,
    /// The nodes' role, such as `EMR_EC2_DefaultRole`; their instance profile has the same name [default: one is made]
    #[serde(deserialize_with = "role_name")]
    pub node: Option<String>,
    /// ARN of the policy that no role that is made may exceed
    /// [default: `fruitctl-PROJECT-REGION-boundary`, if the account has it]
    #[serde(deserialize_with = "policy_arn")]
    #[schemars(extend("pattern" = "^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/"))]
    pub boundary: Option<String>,
    /// ARNs of policies that the nodes' role has besides, where one is made. A boundary limits them as it does all others;
    /// each `fruitctl.toml` of a project has to name them, for `up` detaches what its file does not name.
    #[serde(deserialize_with = "policy_arns")]
    pub node_policies: Vec<String>,
}

/// Roles that agree with each other.
pub fn roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RolesConfig, D::Error> {
    let roles = RolesConfig::deserialize(deserializer)?;
    match &roles.node {
        Some(node) if !roles.node_policies.is_empty() => Err(D::Error::custom(format!(
            "node_policies are of a role that fruitctl makes, and '{node}' is yours: attach them to it yourself"
        ))),
        _ => Ok(roles),
    }
}

/// `[places]`: what the nodes may use in S3, beside the project's bucket and the places that `[job]` names. `up` and runs
/// grant it to the nodes' role, and take nothing away that another `fruitctl.toml` of the project has granted.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlacesConfig {
    /// `s3://` URIs below which they may read, as for `--input` and `--model`
    #[serde(deserialize_with = "places")]
    pub read: Vec<String>,
    /// `s3://` URIs below which they may read, write and delete, as for `--output`
    #[serde(deserialize_with = "places")]
    pub write: Vec<String>,
    /// ARNs of the KMS keys that encrypt these places, and those of `[job]`: the nodes may use them, by way of S3 alone
    #[serde(deserialize_with = "key_arns")]
    pub keys: Vec<String>,
}

/// Keys that policies can name: by their ids, and in full, without a pattern.
/// Source: <https://docs.aws.amazon.com/kms/latest/developerguide/cmks-in-iam-policies.html>.
fn key_arns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let keys = Vec::<String>::deserialize(deserializer)?;
    match keys.iter().find(|key| !is_key_arn(key)) {
        Some(wrong) => Err(D::Error::custom(format!(
            "'{wrong}' is no KMS key's ARN, such as arn:aws:kms:eu-west-3:123456789012:key/ID; an alias is none"
        ))),
        None => Ok(keys),
    }
}

/// Whether a policy can name this key: `arn:aws:kms:REGION:ACCOUNT:key/ID`.
pub fn is_key_arn(text: &str) -> bool {
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        ["arn", partition, "kms", region, account, key] => {
            [partition, region, account].into_iter().all(word) && key.strip_prefix("key/").is_some_and(word)
        }
        _ => false,
    }
}

fn places<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let places = Vec::<String>::deserialize(deserializer)?;
    match places.iter().find(|place| !is_place(place)) {
        Some(wrong) => Err(D::Error::custom(format!(
            "'{wrong}' is no place in S3, such as s3://our-photos/Training; it may not hold *, ? or $"
        ))),
        None => Ok(places),
    }
}

/// A bucket, or what lies below a prefix, without what policies take for a pattern.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html>.
fn is_place(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("s3://") else { return false };
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    bucket.len() >= 3 && bucket.chars().all(allowed) && !key.contains(['*', '?', '$'])
}

/// `[key]`: who may log in to the nodes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyConfig {
    /// The private key's file, ed25519 or RSA, with its `.pub` beside it; `~/` is the home directory
    /// [default: a key that is made for this machine, in `$XDG_DATA_HOME/fruitctl/keys`]
    pub private_key: Option<String>,
}

/// `[network]`: subnets, and who may log in.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Ids of subnets of one VPC. Empty: those of the default VPC.
    pub subnets: Vec<String>,
    /// Who may reach port 22 of the primary node: `auto`, the address from which this machine is seen; `none`, nobody, so
    /// that there are no live logs; or ranges such as 203.0.113.0/24, of /8 or longer (IPv6: /32), with commas between.
    #[schemars(with = "String", extend("default" = "auto"))]
    pub ssh_cidr: SshCidr,
    /// Ids of additional security groups, of yours, that the primary node is in; they are left as they are
    #[serde(deserialize_with = "group_ids")]
    pub primary_groups: Vec<String>,
    /// Ids of additional security groups, of yours, that core and task nodes are in
    #[serde(deserialize_with = "group_ids")]
    pub worker_groups: Vec<String>,
}

fn group_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let ids = Vec::<String>::deserialize(deserializer)?;
    let bound = &FACTS.bounds.additional_groups;
    if let Some(wrong) = ids.iter().find(|id| !is_id(id, "sg-")) {
        return Err(D::Error::custom(format!("'{wrong}' is no security group's id, such as sg-0123abcd")));
    }
    if ids.len() > bound.most {
        return Err(D::Error::custom(format!(
            "{} security groups, of {} at most; see {}",
            ids.len(),
            bound.most,
            bound.source
        )));
    }
    Ok(ids)
}

/// An id of EC2's.
fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit()))
}

fn image_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if is_id(&text, "ami-") {
        Ok(Some(text))
    } else {
        Err(D::Error::custom(format!("'{text}' is no machine image's id, such as ami-0123abcd")))
    }
}

/// Who may reach port 22.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SshCidr {
    /// The address from which we are seen.
    #[default]
    Auto,
    /// Nobody: no live logs, only those in the bucket.
    Closed,
    /// These addresses; one range at least.
    Ranges(Vec<String>),
}

impl std::str::FromStr for SshCidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(SshCidr::Auto),
            "none" => Ok(SshCidr::Closed),
            _ => {
                text.split(',').map(|range| cidr(range.trim())).collect::<Result<_, _>>().map(SshCidr::Ranges)
            }
        }
    }
}

impl<'de> Deserialize<'de> for SshCidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// `203.0.113.7` or `203.0.113.0/24`, as a CIDR; never a large part of the internet.
fn cidr(text: &str) -> Result<String, String> {
    let wrong =
        || format!("'{text}' is no address, no range like 203.0.113.0/24, and neither 'auto' nor 'none'");
    let range: IpNet = text.parse().or_else(|_| text.parse().map(IpAddr::into)).map_err(|_| wrong())?;
    let least = if range.addr().is_ipv4() { 8 } else { 32 };
    if range.prefix_len() < least {
        return Err(format!(
            "'{text}' opens port 22 to much of the internet; name a range of /{least} or longer"
        ));
    }
    // Without the bits behind its length, as EC2 keeps it.
    // Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpRange.html
    Ok(range.trunc().to_string())
}

/// `[cluster]`: the EMR cluster, its nodes and its end.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterConfig {
    /// The EMR release: 5.30 or 6.1 at least, unless `idle_minutes` is 0.
    pub release: String,
    /// Applications to install beside Hadoop.
    pub applications: Vec<String>,
    /// The id of a machine image (AMI) of yours, of Amazon Linux and for the nodes' kind of processor, that all nodes start
    /// from [default: the release's own]
    #[serde(deserialize_with = "image_id")]
    pub image: Option<String>,
    /// The primary node. A run on one machine runs here.
    pub primary: Nodes,
    /// Nodes that hold HDFS and compute; `count` may be 0.
    pub core: Nodes,
    /// Nodes that only compute.
    pub task: Option<Nodes>,
    /// Minutes without work after which the cluster ends itself, a week at most; 0: never.
    pub idle_minutes: u32,
    /// Hours after which `fruitctl sweep` ends the cluster, whatever it does; 1 at least.
    #[schemars(range(min = 1))]
    pub max_hours: u32,
    /// EMR refuses to terminate the cluster while this is set; `fruitctl down` does so all the same.
    pub termination_protection: bool,
    /// GiB of data disk per node, in one gp3 volume.
    #[serde(deserialize_with = "ebs_gb")]
    pub ebs_gb: u16,
    /// GiB of root volume per node.
    #[serde(deserialize_with = "root_gb")]
    pub root_gb: u16,
    /// Bounds within which EMR chooses the number of core and task nodes.
    pub managed_scaling: Option<Scaling>,
    /// Scripts that run on every node before anything else, in this order.
    pub bootstrap: Vec<BootstrapConfig>,
    /// EMR configurations: a table of properties for each classification, such as `[cluster.configurations.spark-defaults]`;
    /// one inside another is a table in its table, such as `[cluster.configurations.hadoop-env.export]`.
    #[serde(deserialize_with = "super::classification::all")]
    pub configurations: Classifications,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            release: "emr-7.13.0".into(),
            applications: vec!["Spark".into()],
            image: None,
            primary: Nodes::default(),
            core: Nodes::default(),
            task: None,
            idle_minutes: 30,
            max_hours: 24,
            termination_protection: false,
            ebs_gb: 32,
            root_gb: 30,
            managed_scaling: None,
            bootstrap: Vec::new(),
            configurations: Classifications::new(),
        }
    }
}

impl ClusterConfig {
    /// Fleets, not groups: several types, or Spot with a fallback.
    pub fn uses_fleets(&self) -> bool {
        let core = Some(&self.core).filter(|core| core.count > 0);
        [Some(&self.primary), core, self.task.as_ref()]
            .into_iter()
            .flatten()
            .any(|nodes| nodes.spot || nodes.types.len() > 1)
    }
}

/// A kind of nodes.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Nodes {
    /// Instance types, all of one kind of processor. EMR takes of several what there is; several, or Spot, make the cluster
    /// one of instance fleets.
    pub types: Vec<String>,
    /// Number of instances; of primary nodes, 1.
    pub count: u32,
    /// Spot instances, or on-demand ones if there are none within ten minutes.
    pub spot: bool,
}

impl Default for Nodes {
    fn default() -> Self {
        Nodes { types: vec!["m6g.xlarge".into()], count: 1, spot: false }
    }
}

/// `[cluster.managed_scaling]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, try_from = "Limits")]
pub struct Scaling {
    /// Core and task instances at least.
    pub min: u32,
    /// Core and task instances at most.
    pub max: u32,
}

/// Bounds of the number of core and task nodes, as written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// Core and task nodes at least.
    min: u32,
    /// Core and task nodes at most.
    max: u32,
}

impl TryFrom<Limits> for Scaling {
    type Error = String;

    fn try_from(Limits { min, max }: Limits) -> Result<Self, String> {
        if min == 0 || min > max || max > i32::MAX as u32 {
            return Err(format!(
                "managed scaling is from 1 node or more to as many or more, not {min} to {max}"
            ));
        }
        Ok(Scaling { min, max })
    }
}

/// `[[cluster.bootstrap]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BootstrapConfig {
    /// The script's file on this machine, relative to `fruitctl.toml`.
    pub script: String,
    /// Arguments that the script is called with.
    #[serde(default)]
    pub args: Vec<String>,
}

/// `[prices]`: prices that differ from the list prices that fruitctl carries.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PricesConfig {
    /// Dollars an hour on demand, by instance type.
    #[serde(deserialize_with = "by_type")]
    pub ec2: BTreeMap<String, f64>,
    /// EMR's fee in dollars an hour, by instance type.
    #[serde(deserialize_with = "by_type")]
    pub emr: BTreeMap<String, f64>,
    /// Dollars per GB-month of gp3 [default: by the list]
    #[serde(deserialize_with = "price")]
    pub ebs: Option<f64>,
}

fn by_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let prices = BTreeMap::<String, f64>::deserialize(deserializer)?;
    match prices.iter().find(|(_, dollars)| !is_price(**dollars)) {
        Some((kind, dollars)) => Err(D::Error::custom(format!("{kind}: {dollars} is no price in dollars"))),
        None => Ok(prices),
    }
}

fn price<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let dollars = f64::deserialize(deserializer)?;
    if is_price(dollars) {
        Ok(Some(dollars))
    } else {
        Err(D::Error::custom(format!("{dollars} is no price in dollars")))
    }
}

/// TOML has `nan` and `inf`.
fn is_price(dollars: f64) -> bool {
    dollars.is_finite() && dollars >= 0.0
}

/// Lower-case letters, digits and dashes, 2 to 20 of them: it becomes part of every name.
pub fn project_name(text: &str) -> Result<String, String> {
    let good = (2..=20).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if good {
        Ok(text.to_owned())
    } else {
        Err("a project is 2 to 20 of a-z, 0-9 and '-', beginning with a letter".into())
    }
}

/// A name that [`project_name`] accepts.
pub fn project<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    project_name(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn root_gb<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    within(&FACTS.bounds.root_gb, u16::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn ebs_gb<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    within(&FACTS.bounds.ebs_gb, u16::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn within(bound: &Bound, gb: u16) -> Result<u16, String> {
    let Bound { least, most, source, .. } = bound;
    if (*least..=*most).contains(&gb) {
        Ok(gb)
    } else {
        Err(format!("{gb} GiB: it is from {least} to {most}; see {source}"))
    }
}

/// Tags of the project's cluster that are ours: whose it is, who started it, for which run, and until when.
const OUR_TAGS: usize = 4;

fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let tags = BTreeMap::deserialize(deserializer)?;
    check_tags(&tags)
        .map_err(|what| D::Error::custom(format!("{what}; see {}", FACTS.bounds.tags.source)))?;
    Ok(tags)
}

/// What EC2, EMR, IAM and S3 all take. IAM does not tell keys apart by case.
/// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html, and that of the bounds.
fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), String> {
    let bounds = &FACTS.bounds.tags;
    if tags.len() + OUR_TAGS > bounds.count {
        return Err(format!(
            "{} tags: with {OUR_TAGS} of fruitctl's own, a resource has {} at most",
            tags.len(),
            bounds.count
        ));
    }
    let mut seen = BTreeSet::new();
    for (key, value) in tags {
        let lower = key.to_lowercase();
        if lower.starts_with("aws:") || lower.starts_with("fruitctl:") {
            return Err(format!(
                "the tag '{key}': keys that begin with aws: or fruitctl: are not yours to give"
            ));
        }
        if value.to_lowercase().starts_with("aws:") {
            return Err(format!("the tag '{key}': its value begins with aws:, which is AWS's own"));
        }
        for (what, text, least, most) in [("key", key, 1, bounds.key), ("value", value, 0, bounds.value)] {
            let length = text.chars().count();
            if !(least..=most).contains(&length) {
                return Err(format!(
                    "the tag '{key}': its {what} has {length} characters, of {most} at most"
                ));
            }
            if let Some(c) = text.chars().find(|c| !c.is_alphanumeric() && !" _.:/=+-@".contains(*c)) {
                return Err(format!(
                    "the tag '{key}': its {what} has a '{c}', and may have letters, digits, spaces and _.:/=+-@"
                ));
            }
        }
        if !seen.insert(lower) {
            return Err(format!("the tag '{key}' is there twice, but for its case"));
        }
    }
    Ok(())
}

/// A role is known by its name, as IAM's calls take it; of an ARN, that is the end.
fn role_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.strip_prefix("arn:") {
        Some(_) => Err(D::Error::custom(format!(
            "a role is named by its name and not by its ARN: write \"{}\"",
            text.rsplit(['/', ':']).next().unwrap_or_default()
        ))),
        None => Ok(Some(text)),
    }
}

fn policy_arn<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    is_policy_arn(String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn policy_arns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let arns = Vec::<String>::deserialize(deserializer)?;
    arns.into_iter().map(is_policy_arn).collect::<Result<_, _>>().map_err(D::Error::custom)
}

fn is_policy_arn(text: String) -> Result<String, String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "iam", "", _, policy]
            if policy.starts_with("policy/") && !policy.contains(['*', '?', '$']) =>
        {
            Ok(text)
        }
        _ => Err("a policy is named by its ARN, such as arn:aws:iam::123456789012:policy/NAME".into()),
    }
}

/// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
fn bucket_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let good = (3..=63).contains(&text.len())
        && ends(text.chars().next())
        && ends(text.chars().last())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if good {
        Ok(Some(text))
    } else {
        Err(D::Error::custom("a bucket is 3 to 63 of a-z, 0-9 and '-', with a letter or digit at each end"))
    }
}

#[cfg(test)]
mod tests;
