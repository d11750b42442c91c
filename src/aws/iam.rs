//! IAM: roles with inline policies, and instance profiles.

use std::collections::BTreeMap;

use aws_sdk_iam::types::Tag;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{ApiError, Aws, Tags, absent, already, call};
use crate::error::Kind;

type Result<T> = std::result::Result<T, ApiError>;

const GONE: &[&str] = &["NoSuchEntity", "NoSuchEntityException"];
const THERE: &[&str] = &["EntityAlreadyExists", "EntityAlreadyExistsException"];

/// A role as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Role {
    pub tags: Tags,
    /// Who may assume it.
    pub trust: Value,
    /// Its inline policies, by name; `None` where they may not be read.
    pub policies: Option<BTreeMap<String, Value>>,
    /// ARNs of the managed policies that are attached to it; `None` where they may not be read.
    pub attached: Option<Vec<String>>,
    /// ARN of the policy that it may not exceed.
    pub boundary: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: Option<i64>,
}

/// An instance profile as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    pub tags: Tags,
    /// Names of its roles; one at most.
    pub roles: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub created: Option<i64>,
}

impl Aws {
    /// A role with its policies.
    pub async fn role(&self, name: &str) -> Result<Option<Role>> {
        let get = call("iam:GetRole", name, || self.iam.get_role().role_name(name).send());
        let Some(role) = absent(get.await, GONE)?.and_then(|o| o.role) else { return Ok(None) };
        let policies = readable(self.inline_policies(name).await)?;
        let attached = readable(self.attached_policies(name).await)?;
        let trust = document(role.assume_role_policy_document.as_deref().unwrap_or_default());
        let boundary = role.permissions_boundary.and_then(|b| b.permissions_boundary_arn);
        let created = Some(role.create_date.secs());
        let tags = plain(role.tags.unwrap_or_default());
        Ok(Some(Role { tags, trust, policies, attached, boundary, created }))
    }

    async fn inline_policies(&self, name: &str) -> Result<BTreeMap<String, Value>> {
        let list =
            call("iam:ListRolePolicies", name, || self.iam.list_role_policies().role_name(name).send());
        let mut policies = BTreeMap::new();
        for policy in absent(list.await, GONE)?.map(|o| o.policy_names).unwrap_or_default() {
            let get = call("iam:GetRolePolicy", name, || {
                self.iam.get_role_policy().role_name(name).policy_name(&policy).send()
            });
            if let Some(found) = absent(get.await, GONE)? {
                policies.insert(policy.clone(), document(&found.policy_document));
            }
        }
        Ok(policies)
    }

    async fn attached_policies(&self, name: &str) -> Result<Vec<String>> {
        let list = call("iam:ListAttachedRolePolicies", name, || {
            self.iam.list_attached_role_policies().role_name(name).send()
        });
        let attached = absent(list.await, GONE)?.and_then(|o| o.attached_policies).unwrap_or_default();
        Ok(attached.into_iter().filter_map(|policy| policy.policy_arn).collect())
    }

    /// Whether there is a managed policy of this ARN; `None` where that may not be asked.
    pub async fn has_policy(&self, arn: &str) -> Result<Option<bool>> {
        let get = call("iam:GetPolicy", arn, || self.iam.get_policy().policy_arn(arn).send());
        Ok(readable(absent(get.await, GONE))?.map(|found| found.is_some()))
    }

    /// Whether there is a role of this name, and no more: of a service's own role one may see little else.
    pub async fn has_role(&self, name: &str) -> Result<bool> {
        let get = call("iam:GetRole", name, || self.iam.get_role().role_name(name).send());
        Ok(absent(get.await, GONE)?.is_some())
    }

    /// Makes a role, tagged and bounded from its first moment. False: there is one of this name.
    pub async fn create_role(
        &self,
        name: &str,
        trust: &Value,
        description: &str,
        boundary: Option<&str>,
        tags: &Tags,
    ) -> Result<bool> {
        let create = call("iam:CreateRole", name, || {
            self.iam
                .create_role()
                .role_name(name)
                .assume_role_policy_document(trust.to_string())
                .description(description)
                .set_permissions_boundary(boundary.map(str::to_owned))
                .set_tags(Some(sdk(tags)))
                .send()
        });
        Ok(absent(create.await, THERE)?.is_some())
    }

    /// Replaces who may assume it.
    pub async fn put_trust(&self, name: &str, trust: &Value) -> Result<()> {
        call("iam:UpdateAssumeRolePolicy", name, || {
            self.iam.update_assume_role_policy().role_name(name).policy_document(trust.to_string()).send()
        })
        .await
        .map(drop)
    }

    /// Sets the policy that it may not exceed.
    pub async fn put_boundary(&self, name: &str, boundary: &str) -> Result<()> {
        call("iam:PutRolePermissionsBoundary", name, || {
            self.iam.put_role_permissions_boundary().role_name(name).permissions_boundary(boundary).send()
        })
        .await
        .map(drop)
    }

    /// Attaches a managed policy.
    pub async fn attach_role_policy(&self, name: &str, arn: &str) -> Result<()> {
        call("iam:AttachRolePolicy", name, || {
            self.iam.attach_role_policy().role_name(name).policy_arn(arn).send()
        })
        .await
        .map(drop)
    }

    /// Detaches a managed policy; one that is not attached is fine.
    pub async fn detach_role_policy(&self, name: &str, arn: &str) -> Result<()> {
        let detach = call("iam:DetachRolePolicy", name, || {
            self.iam.detach_role_policy().role_name(name).policy_arn(arn).send()
        });
        already(detach.await, GONE)
    }

    /// Sets an inline policy.
    pub async fn put_role_policy(&self, name: &str, policy: &str, document: &Value) -> Result<()> {
        call("iam:PutRolePolicy", name, || {
            self.iam
                .put_role_policy()
                .role_name(name)
                .policy_name(policy)
                .policy_document(document.to_string())
                .send()
        })
        .await
        .map(drop)
    }

    /// Deletes an inline policy; one that is gone is fine.
    pub async fn delete_role_policy(&self, name: &str, policy: &str) -> Result<()> {
        let delete = call("iam:DeleteRolePolicy", name, || {
            self.iam.delete_role_policy().role_name(name).policy_name(policy).send()
        });
        already(delete.await, GONE)
    }

    /// Deletes a role with all that hangs on it; one that is gone is fine.
    pub async fn delete_role(&self, name: &str) -> Result<()> {
        for arn in self.attached_policies(name).await? {
            self.detach_role_policy(name, &arn).await?;
        }
        let inline =
            call("iam:ListRolePolicies", name, || self.iam.list_role_policies().role_name(name).send());
        for policy in absent(inline.await, GONE)?.map(|o| o.policy_names).unwrap_or_default() {
            self.delete_role_policy(name, &policy).await?;
        }
        let delete = call("iam:DeleteRole", name, || self.iam.delete_role().role_name(name).send());
        already(delete.await, GONE)
    }

    /// An instance profile.
    pub async fn profile(&self, name: &str) -> Result<Option<Profile>> {
        let get = call("iam:GetInstanceProfile", name, || {
            self.iam.get_instance_profile().instance_profile_name(name).send()
        });
        let found = absent(get.await, GONE)?.and_then(|o| o.instance_profile);
        Ok(found.map(|p| Profile {
            tags: plain(p.tags.unwrap_or_default()),
            roles: p.roles.into_iter().map(|r| r.role_name).collect(),
            created: Some(p.create_date.secs()),
        }))
    }

    /// Makes an instance profile, tagged from its first moment. False: there is one of this name.
    pub async fn create_profile(&self, name: &str, tags: &Tags) -> Result<bool> {
        let create = call("iam:CreateInstanceProfile", name, || {
            self.iam.create_instance_profile().instance_profile_name(name).set_tags(Some(sdk(tags))).send()
        });
        Ok(absent(create.await, THERE)?.is_some())
    }

    /// Puts the role of the same name into it; one that holds a role already is fine here, and looked at again.
    pub async fn fill_profile(&self, name: &str) -> Result<()> {
        let add = call("iam:AddRoleToInstanceProfile", name, || {
            self.iam.add_role_to_instance_profile().instance_profile_name(name).role_name(name).send()
        });
        already(add.await, &["LimitExceeded", "LimitExceededException", "EntityAlreadyExists"])
    }

    /// Takes a role out of a profile.
    pub async fn empty_profile(&self, name: &str, role: &str) -> Result<()> {
        let remove = call("iam:RemoveRoleFromInstanceProfile", name, || {
            self.iam.remove_role_from_instance_profile().instance_profile_name(name).role_name(role).send()
        });
        already(remove.await, GONE)
    }

    /// Deletes an empty instance profile; one that is gone is fine.
    pub async fn delete_profile(&self, name: &str) -> Result<()> {
        let delete = call("iam:DeleteInstanceProfile", name, || {
            self.iam.delete_instance_profile().instance_profile_name(name).send()
        });
        already(delete.await, GONE)
    }
}

/// `Ok(None)`, where it may not be asked: it is not known then.
fn readable<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind() == Kind::Denied && !error.is_credentials() => Ok(None),
        result => result.map(Some),
    }
}

fn plain(tags: Vec<Tag>) -> Tags {
    tags.into_iter().map(|t| (t.key, t.value)).collect()
}

fn sdk(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(k, v)| Tag::builder().key(k).value(v).build().expect("key and value are there"))
        .collect()
}

/// IAM hands documents out percent-encoded (RFC 3986).
fn document(text: &str) -> Value {
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_percent_encoded() {
        assert_eq!(document("%7B%22a%22%3A%20%22%C3%A9%22%7D"), serde_json::json!({ "a": "é" }));
        assert_eq!(document("{\"a\":1}"), serde_json::json!({ "a": 1 }));
        assert_eq!(document("nonsense%"), Value::Null);
    }
}
