//! IAM: the role that EMR works with, and the role and instance profile of its nodes. Inline policies only, each
//! limited to what this project needs; no managed ones (EMR's version 1 policies are far too wide, and deprecated) but those
//! that `fruitctl.toml` names for the nodes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::bucket;
use super::places::Place;
use crate::aws::iam::{Profile, Role};
use crate::aws::{ApiError, Aws};
use crate::bundle;
use crate::clock;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::hash::sha256;
use crate::stack::change::{Change, Resource};
use crate::stack::names::{Names, PROJECT};
use crate::stack::operator_policy::length;

/// What a role should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Its name, and its profile's.
    pub name: String,
    /// It is somebody else's: only used.
    pub existing: bool,
    /// It has an instance profile.
    pub has_profile: bool,
    description: &'static str,
    trust: Value,
    policies: BTreeMap<String, Value>,
    /// ARNs of managed policies, sorted.
    attached: BTreeSet<String>,
    /// What is attached besides stays.
    keeps_attached: bool,
    /// ARN of the policy that it may not exceed.
    boundary: String,
    /// The boundary is configured: without it, no role is made. Else it is set where there is one.
    is_bounded: bool,
}

/// What there is of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    pub role: Option<Role>,
    /// The instance profile.
    pub profile: Option<Profile>,
    /// The policy that the role may not exceed.
    pub boundary: Presence,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Presence {
    #[default]
    Missing,
    There,
    /// It may not be asked.
    Unknown,
}

impl Spec {
    /// EMR's role.
    pub fn service(names: &Names, config: &Config) -> Spec {
        let document = render(bundle::SERVICE_ROLE, names, &[("node_role", &node_role(names, config))]);
        Spec {
            name: config.roles.service.clone().unwrap_or_else(|| names.service_role()),
            existing: config.roles.service.is_some(),
            has_profile: false,
            description: "EMR works with this role; made by fruitctl",
            trust: trust("elasticmapreduce.amazonaws.com", Some(names)),
            policies: BTreeMap::from([("fruitctl".into(), document)]),
            attached: BTreeSet::new(),
            keeps_attached: false,
            boundary: boundary(names, config),
            is_bounded: config.roles.boundary.is_some(),
        }
    }

    /// The nodes' role.
    pub fn node(names: &Names, config: &Config, bucket: &bucket::Spec) -> Spec {
        let document = render(bundle::NODE_ROLE, names, &[("bucket", &bucket.name)]);
        // Input, output and others may lie in buckets of their own.
        let places = Place::all(config).into_iter().map(|place| (place.policy(), place.document()));
        let keys = keys(names, config).into_iter().map(key_policy);
        Spec {
            name: node_role(names, config),
            existing: config.roles.node.is_some(),
            has_profile: true,
            description: "Nodes of EMR clusters work with this role; made by fruitctl",
            trust: trust("ec2.amazonaws.com", None),
            policies: places.chain(keys).chain([("fruitctl".to_owned(), document)]).collect(),
            attached: config.roles.node_policies.iter().cloned().collect(),
            keeps_attached: false,
            boundary: boundary(names, config),
            is_bounded: config.roles.boundary.is_some(),
        }
    }

    /// The statements of its policies.
    pub fn statements(&self) -> impl Iterator<Item = &Value> {
        self.policies.values().flat_map(|document| document["Statement"].as_array().into_iter().flatten())
    }

    /// Inline policies that a role lacks, or has otherwise; none, where they could not be read. Those of places come before
    /// the one that earlier builds had them in.
    fn to_set<'a>(&'a self, role: &'a Role) -> impl Iterator<Item = (&'a String, &'a Value)> {
        let has = role.policies.as_ref();
        self.policies.iter().rev().filter(move |(k, v)| has.is_some_and(|has| has.get(*k) != Some(v)))
    }

    /// Inline policies that a role has and this configuration does not name.
    fn others<'a>(&'a self, role: &'a Role) -> impl Iterator<Item = (&'a String, &'a Value)> {
        role.policies.iter().flatten().filter(|(k, _)| !self.policies.contains_key(*k))
    }

    /// Inline policies that a role should not have. What another configuration has granted is somebody's who may be at work.
    fn to_delete<'a>(&'a self, role: &'a Role) -> impl Iterator<Item = &'a String> {
        self.others(role).filter(|(k, v)| granted(k, v).is_none()).map(|(k, _)| k)
    }

    /// ARNs of policies that it lacks; none, where they could not be read.
    fn to_attach<'a>(&'a self, role: &'a Role) -> impl Iterator<Item = &'a String> {
        let has = role.attached.as_ref();
        self.attached.iter().filter(move |arn| has.is_some_and(|has| !has.contains(arn)))
    }

    /// ARNs of policies that it should not have.
    fn to_detach<'a>(&'a self, role: &'a Role) -> impl Iterator<Item = &'a String> {
        let attached = role.attached.iter().flatten();
        attached.filter(|arn| !self.keeps_attached && !self.attached.contains(*arn))
    }

    /// The same for a run: a policy that another `fruitctl.toml` names may be what a cluster at work needs.
    pub fn keep_attached(&mut self) {
        self.keeps_attached = true;
    }

    /// The boundary that it should have, as far as is known.
    fn bounded_by(&self, seen: &Observed) -> Option<&str> {
        (self.is_bounded || seen.boundary == Presence::There).then_some(self.boundary.as_str())
    }
}

/// ARN of the policy that the roles may not exceed: the configured one, or that of our name.
pub fn boundary(names: &Names, config: &Config) -> String {
    let ours = || format!("arn:aws:iam::{}:policy/{}", names.account, names.boundary());
    config.roles.boundary.clone().unwrap_or_else(ours)
}

/// What S3 does with the KMS keys of the bucket and of places for whoever asks; and nothing else with these keys.
/// Source: <https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service>.
pub fn keys(names: &Names, config: &Config) -> Vec<Value> {
    let own = config.bucket.kms_key.as_ref().map(|key| {
        if key.starts_with("arn:") {
            key.clone()
        } else {
            format!("arn:aws:kms:{}:{}:key/{key}", names.region, names.account)
        }
    });
    let arns: BTreeSet<String> = own.into_iter().chain(config.places.keys.iter().cloned()).collect();
    arns.iter().map(|arn| use_of(arn)).collect()
}

/// By way of S3 alone, in the key's region.
fn use_of(key: &str) -> Value {
    let region = key.split(':').nth(3).unwrap_or_default();
    json!({
        "Sid": "Key", "Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": key,
        "Condition": { "StringEquals": { "kms:ViaService": format!("s3.{region}.amazonaws.com") } },
    })
}

/// The policy for a key, and its name: of its own, as those of places.
fn key_policy(statement: Value) -> (String, Value) {
    let hash = sha256(statement["Resource"].as_str().unwrap_or_default().as_bytes());
    let document = json!({ "Version": "2012-10-17", "Statement": [statement] });
    (format!("fruitctl-key-{}", &hash[..12]), document)
}

/// What a policy grants, in words, if it is, word by word, one that is written for a place or a key.
fn granted(name: &str, document: &Value) -> Option<String> {
    if let Some(place) = Place::of_policy(name, document) {
        return Some(place.in_words());
    }
    let key = document["Statement"][0]["Resource"].as_str()?;
    let is_one = key.starts_with("arn:aws:kms:") && !key.contains(['*', '?', '$']);
    let (its_name, its_document) = key_policy(use_of(key));
    (is_one && its_name == name && its_document == *document).then(|| format!("key {key}"))
}

fn node_role(names: &Names, config: &Config) -> String {
    config.roles.node.clone().unwrap_or_else(|| names.node_role())
}

/// A key as policies write it, where some letters are patterns or variables.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html>, `${*}`, `${?}` and `${$}`.
pub fn literal(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for c in key.chars() {
        match c {
            '*' | '?' | '$' => text.extend(['$', '{', c, '}']),
            c => text.push(c),
        }
    }
    text
}

/// What is allowed below a prefix, and to list it.
pub fn access(bucket: &str, prefix: &str, sid: &str, actions: &[&str]) -> [Value; 2] {
    let prefix = &literal(prefix);
    let below = if prefix.is_empty() { "*".to_owned() } else { format!("{prefix}/*") };
    let mut list = json!({
        "Sid": format!("List{sid}"), "Effect": "Allow", "Action": "s3:ListBucket", "Resource": format!("arn:aws:s3:::{bucket}"),
    });
    if !prefix.is_empty() {
        list["Condition"] = json!({ "StringLike": { "s3:prefix": [prefix, &format!("{prefix}/*")] } });
    }
    [
        list,
        json!({ "Sid": sid, "Effect": "Allow", "Action": actions, "Resource": format!("arn:aws:s3:::{bucket}/{below}") }),
    ]
}

/// Who may assume a role. For EMR, only on behalf of this account: others' clusters cannot borrow it.
fn trust(service: &str, on_behalf_of: Option<&Names>) -> Value {
    let mut statement =
        json!({ "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole" });
    if let Some(names) = on_behalf_of {
        let arn = format!("arn:aws:elasticmapreduce:{}:{}:*", names.region, names.account);
        statement["Condition"] = json!({ "StringEquals": { "aws:SourceAccount": names.account }, "ArnLike": { "aws:SourceArn": arn } });
    }
    json!({ "Version": "2012-10-17", "Statement": [statement] })
}

/// A template with its placeholders filled in.
pub fn render(template: &str, names: &Names, more: &[(&str, &str)]) -> Value {
    let mut text = template.to_owned();
    let common = [
        ("project", &*names.project),
        ("region", &names.region),
        ("account", &names.account),
        ("tag", PROJECT),
    ];
    for (key, value) in common.iter().chain(more) {
        text = text.replace(&format!("{{{{{key}}}}}"), value);
    }
    assert!(!text.contains("{{"), "a placeholder is left: {text}");
    serde_json::from_str(&text).expect("the templates are JSON")
}

/// What there is; an error where it is not ours.
pub async fn observe(names: &Names, spec: &Spec, aws: &Aws) -> Result<Observed> {
    let profile = async { if spec.has_profile { aws.profile(&spec.name).await } else { Ok(None) } };
    let bound = async {
        if spec.existing || spec.is_bounded {
            return Ok(Presence::Missing);
        }
        Ok(match aws.has_policy(&spec.boundary).await? {
            Some(true) => Presence::There,
            Some(false) => Presence::Missing,
            None => Presence::Unknown,
        })
    };
    let (role, profile, boundary) = tokio::try_join!(aws.role(&spec.name), profile, bound)?;
    if spec.existing {
        if role.is_none() || spec.has_profile && profile.is_none() {
            let what = if role.is_none() { "role" } else { "instance profile" };
            return Err(Error::usage(format!(
                "there is no {what} {}, which [roles] of fruitctl.toml names",
                spec.name
            ))
            .help("make it, or leave [roles] out: then fruitctl makes roles"));
        }
    } else {
        if let Some(role) = role.as_ref().filter(|role| !names.owns(&role.tags)) {
            return Err(names.foreign("role", &spec.name, &role.tags));
        }
        if let Some(profile) = profile.as_ref().filter(|profile| !names.owns(&profile.tags)) {
            return Err(names.foreign("instance profile", &spec.name, &profile.tags));
        }
    }
    Ok(Observed { role, profile, boundary })
}

/// What there is to do.
pub fn diff(resource: Resource, spec: &Spec, seen: &Observed) -> Change {
    if spec.existing {
        return Change::of(resource, &spec.name, true, Vec::new());
    }
    let mut wrong = Vec::new();
    match &seen.role {
        None => wrong.push("make the role".to_owned()),
        Some(role) => {
            if role.trust != spec.trust {
                wrong.push("change who may assume it".to_owned());
            }
            if let Some(boundary) = spec.bounded_by(seen).filter(|arn| role.boundary.as_deref() != Some(arn))
            {
                let old = role.boundary.as_deref().map_or("none", plain_name);
                wrong.push(format!("permissions boundary {old} -> {}", plain_name(boundary)));
            }
            wrong.extend(spec.to_set(role).map(|(k, _)| format!("set policy '{k}'")));
            wrong.extend(spec.to_delete(role).map(|k| format!("delete policy '{k}'")));
            wrong.extend(spec.to_attach(role).map(|arn| format!("attach policy {arn}")));
            wrong.extend(spec.to_detach(role).map(|arn| format!("detach policy {arn}")));
        }
    }
    if spec.has_profile {
        match &seen.profile {
            None => wrong.push("make the instance profile".to_owned()),
            Some(profile) if profile.roles != [spec.name.clone()] => {
                wrong.push("put the role into its profile".to_owned())
            }
            Some(_) => {}
        }
    }
    Change::of(resource, &spec.name, seen.role.is_some() || seen.profile.is_some(), wrong)
}

/// What of it could not be compared.
pub fn note(spec: &Spec, seen: &Observed) -> Option<String> {
    let role = seen.role.as_ref().filter(|_| !spec.existing)?;
    let unread: Vec<&str> = [
        role.policies.is_none().then_some("inline policies (iam:ListRolePolicies, iam:GetRolePolicy)"),
        role.attached.is_none().then_some("attached policies (iam:ListAttachedRolePolicies)"),
        (seen.boundary == Presence::Unknown).then_some("permissions boundary (iam:GetPolicy)"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!unread.is_empty()).then(|| {
        format!(
            "role {}: not compared, for this identity may not read them: {}",
            spec.name,
            unread.join(", ")
        )
    })
}

/// What others' configurations have granted.
pub fn note_of_places(spec: &Spec, seen: &Observed) -> Option<String> {
    let role = seen.role.as_ref().filter(|_| !spec.existing)?;
    let more: Vec<String> = spec
        .others(role)
        .filter_map(|(name, document)| Some(format!("{}: {name}", granted(name, document)?)))
        .collect();
    (!more.is_empty()).then(|| {
        format!(
            "role {0} has places or keys that this fruitctl.toml does not name, by policies of their own: {1}; one that nobody needs \
             goes by: aws iam delete-role-policy --role-name {0} --policy-name NAME",
            spec.name,
            more.join(", ")
        )
    })
}

/// The name that an ARN ends with.
fn plain_name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// Seconds for which a role that was made or changed is not known everywhere: AWS's own samples wait as long before they
/// ask for a cluster. Source: awsdocs/aws-doc-sdk-examples, python/example_code/emr/emr_usage_demo.py.
const SETTLES: f64 = 10.0;

/// Makes what is missing and changes what is wrong; returns when a cluster can be asked for with it.
pub async fn apply(names: &Names, spec: &Spec, seen: &Observed, aws: &Aws) -> Result<()> {
    let mut changed = false;
    if !spec.existing {
        changed = apply_role(names, spec, seen, aws).await?;
        changed |= spec.has_profile && apply_profile(names, spec, seen, aws).await?;
    }
    let made = [seen.role.as_ref().and_then(|r| r.created), seen.profile.as_ref().and_then(|p| p.created)];
    clock::sleep(unsettled(changed, made.into_iter().flatten().max(), clock::now())).await;
    Ok(())
}

/// Seconds until what was made then, or changed now, is known everywhere. An earlier process may have been killed after it
/// made it.
fn unsettled(changed: bool, made: Option<i64>, now: i64) -> f64 {
    match made {
        _ if changed => SETTLES,
        // Two clocks may differ: no more than the whole time.
        Some(made) => (SETTLES - (now - made) as f64 / clock::pace()).clamp(0.0, SETTLES),
        None => 0.0,
    }
}

/// The role; whether anything had to be done.
async fn apply_role(names: &Names, spec: &Spec, seen: &Observed, aws: &Aws) -> Result<bool> {
    let name = &spec.name;
    let mut changed = false;
    let mut role = seen.role.clone();
    if role.is_none() {
        changed = true;
        let boundary = spec.bounded_by(seen);
        let made = aws.create_role(name, &spec.trust, spec.description, boundary, &names.tags()).await;
        if made.map_err(|error| without_boundary(error, spec, seen))? {
            role = Some(Role {
                tags: names.tags(),
                trust: spec.trust.clone(),
                policies: Some(BTreeMap::new()),
                attached: Some(Vec::new()),
                boundary: boundary.map(str::to_owned),
                ..Role::default()
            });
        } else {
            // Made by somebody else since we looked, or by us with the answer lost.
            role = observe(names, spec, aws).await?.role;
        }
    }
    let role = role.unwrap_or_default();
    // First: what follows is allowed under it alone.
    if let Some(boundary) = spec.bounded_by(seen).filter(|arn| role.boundary.as_deref() != Some(arn)) {
        aws.put_boundary(name, boundary).await?;
        changed = true;
    }
    if role.trust != spec.trust {
        aws.put_trust(name, &spec.trust).await?;
        changed = true;
    }
    check_room(spec, &role)?;
    for (policy, document) in spec.to_set(&role) {
        aws.put_role_policy(name, policy, document).await?;
        changed = true;
    }
    for policy in spec.to_delete(&role) {
        aws.delete_role_policy(name, policy).await?;
        changed = true;
    }
    // First: there may be room for one only when another has gone.
    for arn in spec.to_detach(&role) {
        aws.detach_role_policy(name, arn).await?;
        changed = true;
    }
    for arn in spec.to_attach(&role) {
        aws.attach_role_policy(name, arn).await?;
        changed = true;
    }
    Ok(changed)
}

/// The characters that the inline policies of a role may have together, white space aside.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>; it cannot be raised.
const ROOM: usize = 10_240;

/// Before anything is written.
///
/// # Errors
/// [`Kind::Refused`], where places of all configurations together are more than a role may have.
fn check_room(spec: &Spec, role: &Role) -> Result<()> {
    let kept = spec.others(role).filter(|(name, document)| granted(name, document).is_some());
    let others: Vec<_> = kept.collect();
    let documents = spec.policies.values().chain(others.iter().map(|(_, document)| *document));
    let needed: usize = documents.map(length).sum();
    if needed <= ROOM {
        return Ok(());
    }
    let places =
        others.iter().filter_map(|(name, document)| Some(format!("{}: {name}", granted(name, document)?)));
    Err(Error::new(
        Kind::Refused,
        format!(
            "the policies of role {} would have {needed} characters, and IAM allows {ROOM}: too many places",
            spec.name
        ),
    )
    .help(format!(
        "name fewer places, a prefix above several, in fruitctl.toml; what other configurations named, and perhaps nobody \
         needs ({}), goes by: aws iam delete-role-policy --role-name {} --policy-name NAME",
        places.collect::<Vec<_>>().join(", "),
        spec.name
    )))
}

/// A role that was not made: the policy of `up` allows it with the boundary alone.
fn without_boundary(error: ApiError, spec: &Spec, seen: &Observed) -> Error {
    let is_ours = error.kind() == Kind::Denied && !error.is_credentials() && !error.is_organizations();
    if !is_ours || spec.bounded_by(seen).is_some() {
        return error.into();
    }
    let name = plain_name(&spec.boundary);
    Error::new(Kind::Denied, error.to_string()).help(match seen.boundary {
        Presence::Unknown => format!(
            "allow iam:GetPolicy on {name}, and iam:CreateRole, as 'fruitctl policy' does; or let somebody who may do it \
             run 'fruitctl up --no-cluster' first"
        ),
        _ => format!(
            "let an administrator make the policy {name}, without which 'fruitctl policy' lets nobody make roles: \
             'fruitctl doctor' has the commands; or allow iam:CreateRole without it"
        ),
    })
}

/// Its instance profile; whether anything had to be done.
async fn apply_profile(names: &Names, spec: &Spec, seen: &Observed, aws: &Aws) -> Result<bool> {
    let name = &spec.name;
    let mut profile = seen.profile.clone();
    if profile.is_none() && !aws.create_profile(name, &names.tags()).await? {
        profile = observe(names, spec, aws).await?.profile;
    }
    let roles = profile.unwrap_or_default().roles;
    if roles == [name.clone()] {
        return Ok(seen.profile.is_none());
    }
    for other in &roles {
        aws.empty_profile(name, other).await?;
    }
    aws.fill_profile(name).await?;
    Ok(true)
}

/// Deletes role and profile, if they are ours: the profile first, for a role that is in one cannot go.
pub async fn destroy(names: &Names, name: &str, aws: &Aws) -> Result<()> {
    let (role, profile) = tokio::try_join!(aws.role(name), aws.profile(name))?;
    if let Some(profile) = profile.filter(|profile| names.owns(&profile.tags)) {
        for role in &profile.roles {
            aws.empty_profile(name, role).await?;
        }
        aws.delete_profile(name).await?;
    }
    if role.is_some_and(|role| names.owns(&role.tags)) {
        aws.delete_role(name).await.map_err(|error| {
            let kind = if error.kind() == Kind::Refused { Kind::LeftBehind } else { error.kind() };
            Error::new(kind, error.to_string()).leftover(format!("role {name}")).help("fruitctl down")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::change::Action;

    fn names() -> Names {
        Names {
            project: "fruits".into(),
            region: "eu-west-3".into(),
            account: "123456789012".into(),
            more_tags: [].into(),
        }
    }

    fn node(text: &str) -> Spec {
        let config = Config::parse(text, std::path::Path::new("f.toml")).unwrap();
        Spec::node(&names(), &config, &bucket::Spec::new(&names(), &config.bucket))
    }

    #[test]
    fn a_node_may_only_touch_what_the_job_names() {
        let policy = format!(
            "{:?}",
            node("[job]\ninput = \"s3://photos/Training\"\noutput = \"s3://vectors\"\n").policies
        );
        assert!(
            policy.contains("arn:aws:s3:::photos/Training/*") && policy.contains("arn:aws:s3:::vectors/*")
        );
        for wide in ["\"s3:*\"", "arn:aws:s3:::*", "\"*\""] {
            assert!(!policy.contains(wide), "{wide} in {policy}");
        }
        assert!(!node("").policies["fruitctl"].to_string().contains("photos"));
    }

    #[test]
    fn places_of_all_configurations_have_to_fit() {
        let spec = node("");
        let place =
            |i: usize| Place::new(crate::stack::Use::Write, Some(&format!("s3://photos/day-{i}"))).unwrap();
        let role = |places: usize| Role {
            policies: Some((0..places).map(|i| (place(i).policy(), place(i).document())).collect()),
            ..Role::default()
        };
        assert!(check_room(&spec, &role(10)).is_ok());
        let error = check_room(&spec, &role(40)).unwrap_err();
        assert!(error.message.contains("IAM allows 10240"), "{}", error.message);
        assert!(error.help.unwrap().contains("s3://photos/day-7 (write): fruitctl-place-"));
    }

    #[test]
    fn drift_is_seen() {
        let spec = node("");
        let role = Role {
            tags: names().tags(),
            trust: spec.trust.clone(),
            policies: Some(spec.policies.clone()),
            attached: Some(Vec::new()),
            boundary: Some(spec.boundary.clone()),
            created: None,
        };
        let profile = Profile { tags: names().tags(), roles: vec![spec.name.clone()], created: None };
        let good = Observed { role: Some(role), profile: Some(profile), boundary: Presence::There };
        assert_eq!(diff(Resource::NodeRole, &spec, &good).action, Action::Keep);
        let drifts: [fn(&mut Observed); 8] = [
            |o| o.role.as_mut().unwrap().trust = json!({}),
            |o| o.role.as_mut().unwrap().policies = Some(BTreeMap::new()),
            |o| drop(o.role.as_mut().unwrap().policies.as_mut().unwrap().insert("more".into(), json!({}))),
            |o| {
                o.role.as_mut().unwrap().attached =
                    Some(vec!["arn:aws:iam::aws:policy/AdministratorAccess".into()])
            },
            |o| o.role.as_mut().unwrap().boundary = None,
            |o| o.role.as_mut().unwrap().boundary = Some("arn:aws:iam::123456789012:policy/wide".into()),
            |o| o.profile.as_mut().unwrap().roles.clear(),
            |o| o.profile = None,
        ];
        for drift in drifts {
            let mut seen = good.clone();
            drift(&mut seen);
            let change = diff(Resource::NodeRole, &spec, &seen);
            assert_eq!((change.action, change.reasons.len()), (Action::Update, 1), "{change:?}");
        }
        assert_eq!(diff(Resource::NodeRole, &spec, &Observed::default()).action, Action::Create);
        assert_eq!(note(&spec, &good), None);
    }

    /// What another configuration has granted stays, and is told.
    #[test]
    fn places_add_up() {
        let (ours, theirs) =
            (node("[places]\nread = [\"s3://ours\"]\n"), node("[job]\ninput = \"s3://theirs/in\"\n"));
        let role = |spec: &Spec| Role {
            tags: names().tags(),
            trust: spec.trust.clone(),
            policies: Some(spec.policies.clone()),
            attached: Some(Vec::new()),
            ..Role::default()
        };
        let profile = Profile { tags: names().tags(), roles: vec![ours.name.clone()], created: None };
        let seen = Observed { role: Some(role(&theirs)), profile: Some(profile), ..Observed::default() };
        let change = diff(Resource::NodeRole, &ours, &seen);
        assert!(
            change.reasons.len() == 1 && change.reasons[0].starts_with("set policy 'fruitctl-place-"),
            "{change:?}"
        );
        let note = note_of_places(&ours, &seen).unwrap();
        assert!(note.contains("s3://theirs/in (read): fruitctl-place-"), "{note}");
        assert_eq!(note_of_places(&theirs, &seen), None);
        // So does the use of a key; but not one that was written wider.
        let with_key = node("[bucket]\nkms_key = \"1234abcd\"\n");
        let seen = Observed { role: Some(role(&with_key)), ..seen };
        let note = note_of_places(&theirs, &seen).unwrap();
        assert!(
            note.contains("key arn:aws:kms:eu-west-3:123456789012:key/1234abcd: fruitctl-key-"),
            "{note}"
        );
        for wide in [key_policy(use_of("*")), key_policy(use_of("arn:aws:kms:*"))] {
            assert_eq!(granted(&wide.0, &wide.1), None);
        }
    }

    #[test]
    fn what_may_not_be_read_is_told_and_not_taken_for_wrong() {
        let spec = node("");
        let role = Role { tags: names().tags(), trust: spec.trust.clone(), ..Role::default() };
        let profile = Profile { tags: names().tags(), roles: vec![spec.name.clone()], created: None };
        let seen = Observed { role: Some(role), profile: Some(profile), boundary: Presence::Unknown };
        assert_eq!(diff(Resource::NodeRole, &spec, &seen).action, Action::Keep);
        let note = note(&spec, &seen).unwrap();
        for action in ["iam:ListRolePolicies", "iam:ListAttachedRolePolicies", "iam:GetPolicy"] {
            assert!(note.contains(action), "{note}");
        }
    }

    #[test]
    fn a_new_role_is_waited_for() {
        assert_eq!(unsettled(true, Some(0), 1000), SETTLES);
        assert_eq!(unsettled(false, None, 1000), 0.0);
        // Made 3 and 3,000 seconds ago; and in an hour, by a clock that differs.
        assert_eq!([997, 0, 4600].map(|made| unsettled(false, Some(made), 1000)), [7.0, 0.0, SETTLES]);
    }

    #[test]
    fn roles_that_exist_are_left_alone() {
        let spec = node("[roles]\nnode = \"EMR_EC2_DefaultRole\"\n");
        assert_eq!(spec.name, "EMR_EC2_DefaultRole");
        assert_eq!(diff(Resource::NodeRole, &spec, &Observed::default()).action, Action::Keep);
    }
}
