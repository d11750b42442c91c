//! The security configuration: instance metadata by IMDSv2 only, so that a program that can be made to fetch an
//! address cannot be made to hand out the role's credentials.
//!
//! EMR does not tag these. Ours are known by their name, which ends in the hash of their content: what has such a
//! name and other content is not ours.

use serde_json::{Value, json};

use crate::aws::Aws;
use crate::error::Result;
use crate::hash::sha256;
use crate::stack::change::{Change, Resource};
use crate::stack::names::Names;

/// What it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its name, which ends in the hash of its content.
    pub name: String,
    pub json: String,
}

impl Spec {
    /// The one there is.
    pub fn new(names: &Names) -> Spec {
        // Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-create-security-configuration.html
        let json = json!({
            "InstanceMetadataServiceConfiguration": {
                "MinimumInstanceMetadataServiceVersion": 2,
                "HttpPutResponseHopLimit": 1,
            },
        })
        .to_string();
        Spec { name: name(names, &json), json }
    }
}

fn name(names: &Names, json: &str) -> String {
    format!("{}{}", names.prefix(), &sha256(json.as_bytes())[..16])
}

/// Whether a security configuration of this name and content is this project's: the name is that of the content as EMR
/// gives it, or as we wrote it, or it is the present one's, and the content holds all that this one says.
fn is_ours(names: &Names, found: &str, json: &str) -> bool {
    let Ok(content) = serde_json::from_str::<Value>(json) else { return false };
    let spec = Spec::new(names);
    name(names, json) == found
        || name(names, &content.to_string()) == found
        || spec.name == found && serde_json::from_str(&spec.json).is_ok_and(|wanted| holds(&content, &wanted))
}

/// Whether all that is in `wanted` is in `content` too.
fn holds(content: &Value, wanted: &Value) -> bool {
    match (content, wanted) {
        (Value::Object(content), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| content.get(name).is_some_and(|value| holds(value, wanted)))
        }
        _ => content == wanted,
    }
}

/// Whether it is there. One that has its name has its content: the name says so.
pub async fn observe(spec: &Spec, aws: &Aws) -> Result<bool> {
    Ok(aws.has_security_configuration(&spec.name).await?)
}

/// What there is to do.
pub fn diff(spec: &Spec, seen: bool) -> Change {
    Change::of(Resource::SecurityConfiguration, &spec.name, seen, Vec::new())
}

/// Makes it.
pub async fn apply(spec: &Spec, seen: bool, aws: &Aws) -> Result<()> {
    if !seen {
        aws.create_security_configuration(&spec.name, &spec.json).await?;
    }
    Ok(())
}

/// All of this project's, those of earlier versions too. The present one is known by its name alone.
pub async fn all(names: &Names, aws: &Aws) -> Result<Vec<String>> {
    let present = Spec::new(names).name;
    let mut ours = Vec::new();
    for name in aws.security_configurations().await?.into_iter().filter(|n| n.starts_with(&names.prefix())) {
        let is_ours = match aws.security_configuration(&name).await {
            Ok(json) => json.is_some_and(|json| is_ours(names, &name, &json)),
            Err(error) if error.is_incomplete() && name == present => true,
            Err(error) => return Err(error.into()),
        };
        if is_ours {
            ours.push(name);
        }
    }
    Ok(ours)
}

/// Deletes all of them.
pub async fn destroy(names: &Names, aws: &Aws) -> Result<()> {
    for name in all(names, aws).await? {
        aws.delete_security_configuration(&name).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_proves_the_content() {
        let names = Names {
            project: "fruits".into(),
            region: "eu-west-3".into(),
            account: "1".into(),
            more_tags: [].into(),
        };
        let spec = Spec::new(&names);
        assert!(is_ours(&names, &spec.name, &spec.json));
        assert!(!is_ours(&names, &spec.name, "{}") && !is_ours(&names, &spec.name, ""));
        // EMR may write it otherwise, and say what holds where we say nothing.
        let other = r#"{ "InstanceMetadataServiceConfiguration": { "MinimumInstanceMetadataServiceVersion": 2, "HttpPutResponseHopLimit": 1, "More": null } }"#;
        assert!(is_ours(&names, &spec.name, other));
        assert!(!is_ours(&names, &spec.name, &other.replace('2', "1")));
        assert!(!is_ours(&Names { project: "other".into(), ..names }, &spec.name, &spec.json));
    }
}
