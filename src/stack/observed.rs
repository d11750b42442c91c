//! What exists of it, as AWS says.

use super::resources::{bootstrap, bucket, cluster, key_pair, network, roles, security_configuration};
use super::spec::Spec;
use crate::aws::Aws;
use crate::aws::ec2::{Group, KeyPair};
use crate::aws::emr::Existing;
use crate::aws::s3::BucketSettings;
use crate::error::Result;

/// What exists of it.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pub bucket: Option<BucketSettings>,
    /// EMR's role.
    pub service_role: roles::Observed,
    /// The nodes' role and profile.
    pub node_role: roles::Observed,
    /// Key pairs of this project.
    pub key_pairs: Vec<KeyPair>,
    /// Security groups of this project.
    pub groups: Vec<Group>,
    /// Whether the security configuration is there.
    pub security_configuration: bool,
    /// Keys of the bootstrap actions that are in the bucket.
    pub bootstrap: Vec<String>,
    /// The project's clusters that live.
    pub clusters: Vec<Existing>,
}

impl Observed {
    /// Looks at everything, side by side.
    pub async fn look(spec: &Spec, aws: &Aws) -> Result<Observed> {
        let names = &spec.names;
        let bucket_and_bootstrap = async {
            let bucket = bucket::observe(names, &spec.bucket.name, aws).await?;
            let bootstrap = match &bucket {
                Some(_) => bootstrap::observe(&spec.bootstrap, &spec.bucket.name, aws).await?,
                None => Vec::new(),
            };
            Ok((bucket, bootstrap))
        };
        let (
            (bucket, bootstrap),
            service_role,
            node_role,
            key_pairs,
            groups,
            security_configuration,
            clusters,
        ) = tokio::try_join!(
            bucket_and_bootstrap,
            roles::observe(names, &spec.service_role, aws),
            roles::observe(names, &spec.node_role, aws),
            key_pair::observe(names, spec.key_pair.as_ref(), aws),
            network::observe(names, &spec.network, aws),
            security_configuration::observe(&spec.security_configuration, aws),
            cluster::observe(names, aws),
        )?;
        Ok(Observed {
            bucket,
            service_role,
            node_role,
            key_pairs,
            groups,
            security_configuration,
            bootstrap,
            clusters,
        })
    }
}
