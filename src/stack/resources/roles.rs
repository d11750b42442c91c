//! IAM: the role that EMR works with, and the role and instance profile of its nodes. Inline policies only, each
//! limited to what this project needs; no managed ones (EMR's version 1 policies are far too wide, and deprecated).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::bucket;
use crate::aws::Aws;
use crate::aws::iam::{Profile, Role};
use crate::aws::s3_uri::S3Uri;
use crate::bundle;
use crate::clock;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::stack::change::{Change, Resource};
use crate::stack::names::{Names, PROJECT};

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
}

/// What there is of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    pub role: Option<Role>,
    /// The instance profile.
    pub profile: Option<Profile>,
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
        }
    }

    /// The nodes' role.
    pub fn node(names: &Names, config: &Config, bucket: &bucket::Spec) -> Spec {
        let mut document = render(bundle::NODE_ROLE, names, &[("bucket", &bucket.name)]);
        let statements = document["Statement"].as_array_mut().expect("the template has statements");
        // Input and output may lie in buckets of their own.
        if let Some(S3Uri { bucket: other, key: prefix }) = config.job.input.as_deref().and_then(S3Uri::parse)
        {
            statements.extend(access(&other, &prefix, "Input", &["s3:GetObject"]));
        }
        if let Some(S3Uri { bucket: other, key: prefix }) =
            config.job.output.as_deref().and_then(S3Uri::parse)
        {
            let actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"];
            statements.extend(access(&other, &prefix, "Output", &actions));
        }
        if let Some(S3Uri { bucket: other, key }) = config.job.model.as_deref().and_then(S3Uri::parse) {
            // With the files beside it that hold its weights: exporters begin their names with the model's.
            statements.push(json!({
                "Sid": "Model", "Effect": "Allow", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{other}/{key}*"),
            }));
        }
        if let Some(key) = &config.bucket.kms_key {
            let arn = if key.starts_with("arn:") {
                key.clone()
            } else {
                format!("arn:aws:kms:{}:{}:key/{key}", names.region, names.account)
            };
            statements.push(json!({
                "Sid": "Key", "Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": arn,
            }));
        }
        Spec {
            name: node_role(names, config),
            existing: config.roles.node.is_some(),
            has_profile: true,
            description: "Nodes of EMR clusters work with this role; made by fruitctl",
            trust: trust("ec2.amazonaws.com", None),
            policies: BTreeMap::from([("fruitctl".into(), document)]),
        }
    }
}

fn node_role(names: &Names, config: &Config) -> String {
    config.roles.node.clone().unwrap_or_else(|| names.node_role())
}

/// What is allowed below a prefix, and to list it.
pub fn access(bucket: &str, prefix: &str, sid: &str, actions: &[&str]) -> [Value; 2] {
    let below = if prefix.is_empty() { "*".to_owned() } else { format!("{prefix}/*") };
    let mut list = json!({
        "Sid": format!("List{sid}"), "Effect": "Allow", "Action": "s3:ListBucket", "Resource": format!("arn:aws:s3:::{bucket}"),
    });
    if !prefix.is_empty() {
        list["Condition"] = json!({ "StringLike": { "s3:prefix": [prefix, format!("{prefix}/*")] } });
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
    let (role, profile) = tokio::try_join!(aws.role(&spec.name), profile)?;
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
    Ok(Observed { role, profile })
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
            wrong.extend(
                spec.policies
                    .iter()
                    .filter(|(k, v)| role.policies.get(*k) != Some(v))
                    .map(|(k, _)| format!("set policy '{k}'")),
            );
            wrong.extend(
                role.policies
                    .keys()
                    .filter(|k| !spec.policies.contains_key(*k))
                    .map(|k| format!("delete policy '{k}'")),
            );
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
        if aws.create_role(name, &spec.trust, spec.description, &names.tags()).await? {
            let trust = spec.trust.clone();
            role = Some(Role { tags: names.tags(), trust, ..Role::default() });
        } else {
            // Made by somebody else since we looked, or by us with the answer lost.
            role = observe(names, spec, aws).await?.role;
        }
    }
    let role = role.unwrap_or_default();
    if role.trust != spec.trust {
        aws.put_trust(name, &spec.trust).await?;
        changed = true;
    }
    for (policy, document) in spec.policies.iter().filter(|(k, v)| role.policies.get(*k) != Some(v)) {
        aws.put_role_policy(name, policy, document).await?;
        changed = true;
    }
    for policy in role.policies.keys().filter(|k| !spec.policies.contains_key(*k)) {
        aws.delete_role_policy(name, policy).await?;
        changed = true;
    }
    Ok(changed)
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
        let policy =
            node("[job]\ninput = \"s3://photos/Training\"\noutput = \"s3://vectors\"\n").policies["fruitctl"]
                .to_string();
        assert!(
            policy.contains("arn:aws:s3:::photos/Training/*") && policy.contains("arn:aws:s3:::vectors/*")
        );
        for wide in ["\"s3:*\"", "arn:aws:s3:::*", "\"*\""] {
            assert!(!policy.contains(wide), "{wide} in {policy}");
        }
        assert!(!node("").policies["fruitctl"].to_string().contains("photos"));
    }

    #[test]
    fn drift_is_seen() {
        let spec = node("");
        let role = Role {
            tags: names().tags(),
            trust: spec.trust.clone(),
            policies: spec.policies.clone(),
            created: None,
        };
        let profile = Profile { tags: names().tags(), roles: vec![spec.name.clone()], created: None };
        let good = Observed { role: Some(role), profile: Some(profile) };
        assert_eq!(diff(Resource::NodeRole, &spec, &good).action, Action::Keep);
        let drifts: [fn(&mut Observed); 5] = [
            |o| o.role.as_mut().unwrap().trust = json!({}),
            |o| o.role.as_mut().unwrap().policies.clear(),
            |o| drop(o.role.as_mut().unwrap().policies.insert("more".into(), json!({}))),
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
