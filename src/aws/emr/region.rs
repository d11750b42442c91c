//! What a region has and allows: security configurations, releases, instance types, open ports.

use aws_sdk_emr::operation::describe_security_configuration::DescribeSecurityConfigurationOutput;

use super::super::error::told;
use super::super::{ApiError, Aws, Reason, absent, call};

const DESCRIBE: &str = "elasticmapreduce:DescribeSecurityConfiguration";

type Result<T> = std::result::Result<T, ApiError>;

impl Aws {
    /// Whether there is a security configuration of this name.
    pub async fn has_security_configuration(&self, name: &str) -> Result<bool> {
        Ok(self.describe_security_configuration(name).await?.is_some())
    }

    /// A security configuration's JSON.
    pub async fn security_configuration(&self, name: &str) -> Result<Option<String>> {
        let Some(found) = self.describe_security_configuration(name).await? else { return Ok(None) };
        told(found.security_configuration, "SecurityConfiguration", DESCRIBE, name).map(Some)
    }

    async fn describe_security_configuration(
        &self,
        name: &str,
    ) -> Result<Option<DescribeSecurityConfigurationOutput>> {
        let describe = call(DESCRIBE, name, || self.emr.describe_security_configuration().name(name).send());
        absent(describe.await, &["InvalidRequestException"])
    }

    /// Names of all security configurations of the region.
    pub async fn security_configurations(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut marker = None;
        loop {
            let page = call("elasticmapreduce:ListSecurityConfigurations", &self.region, || {
                self.emr.list_security_configurations().set_marker(marker.clone()).send()
            })
            .await?;
            names.extend(page.security_configurations.unwrap_or_default().into_iter().filter_map(|c| c.name));
            marker = page.marker;
            if marker.is_none() {
                return Ok(names);
            }
        }
    }

    /// Makes a security configuration; one of this name is fine.
    pub async fn create_security_configuration(&self, name: &str, json: &str) -> Result<()> {
        let create = call("elasticmapreduce:CreateSecurityConfiguration", name, || {
            self.emr.create_security_configuration().name(name).security_configuration(json).send()
        });
        match create.await {
            Err(e) if e.reason() == Some(Reason::AlreadyThere) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Deletes a security configuration; one that is gone is fine.
    pub async fn delete_security_configuration(&self, name: &str) -> Result<()> {
        let delete = call("elasticmapreduce:DeleteSecurityConfiguration", name, || {
            self.emr.delete_security_configuration().name(name).send()
        });
        match delete.await {
            Err(e) if e.reason() == Some(Reason::NotThere) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Whether EMR refuses clusters that are open to the world; `None`: it does not say.
    pub async fn blocks_public_access(&self) -> Result<Option<bool>> {
        let answer = call("elasticmapreduce:GetBlockPublicAccessConfiguration", &self.region, || {
            self.emr.get_block_public_access_configuration().send()
        });
        Ok(answer.await?.block_public_access_configuration.and_then(|c| c.block_public_security_group_rules))
    }

    /// Whether a release label is known here.
    pub async fn has_release(&self, label: &str) -> Result<bool> {
        let describe = call("elasticmapreduce:DescribeReleaseLabel", label, || {
            self.emr.describe_release_label().release_label(label).send()
        });
        Ok(absent(describe.await, &["ValidationException", "InvalidRequestException"])?.is_some())
    }

    /// Instance types that a release runs on here.
    pub async fn supported_types(&self, label: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut marker = None;
        loop {
            let page = call("elasticmapreduce:ListSupportedInstanceTypes", label, || {
                self.emr
                    .list_supported_instance_types()
                    .release_label(label)
                    .set_marker(marker.clone())
                    .send()
            })
            .await?;
            names.extend(
                page.supported_instance_types.unwrap_or_default().into_iter().filter_map(|t| t.r#type),
            );
            marker = page.marker;
            if marker.is_none() {
                return Ok(names);
            }
        }
    }
}
