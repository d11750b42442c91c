//! The primary node, as SSH reaches it: only one that shows the host key that it published in the bucket.

use crate::aws::Aws;
use crate::aws::emr::Instance;
use crate::error::{Error, Kind, Result};
use crate::ssh::{self, Target};
use crate::stack::{Spec, bucket};

/// How to reach a cluster's primary node: its address, our key, and the host keys that it published.
pub async fn target(cluster: &str, host: &str, spec: &Spec, aws: &Aws) -> Result<Target> {
    let bucket = &spec.bucket.name;
    let instances = aws.instances(cluster).await?;
    let node = instances.iter().find(|instance| has_name(instance, host)).map(|instance| &*instance.id);
    let (host_keys, place) = match node {
        Some(node) => {
            let place = format!("s3://{bucket}/{}ROLE-ID:{node}.pub", bucket::HOST_KEYS);
            (published_by(node, bucket, aws).await?, place)
        }
        None => (Vec::new(), format!("EMR names no instance of the address {host}")),
    };
    if host_keys.is_empty() {
        return Err(Error::new(
            Kind::Failed,
            format!("the node has published no host key ({place}), so nobody can be trusted to be it"),
        )
        .help("look at the bootstrap action hostkeys.sh of the cluster: fruitctl status"));
    }
    let pair = spec.key_pair.as_ref().ok_or_else(|| {
        Error::usage("port 22 is closed: ssh_cidr is none")
            .help("set ssh_cidr under [network] of fruitctl.toml")
    })?;
    Ok(Target { host: host.to_owned(), port: ssh::port(), key: pair.file.clone(), host_keys })
}

/// Whether an instance is the one of this name: its public one, or the one that has its private address in it.
/// Source: <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-dns.html#vpc-dns-hostnames>.
fn has_name(instance: &Instance, host: &str) -> bool {
    let private = format!("ip-{}.", instance.address.replace('.', "-"));
    !instance.address.is_empty() && (instance.address == host || host.starts_with(&private))
}

/// The host keys that this instance published. It may write under its own name alone, `ROLE-ID:INSTANCE-ID`, by the
/// policy of the nodes' role.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-infotouse>.
async fn published_by(node: &str, bucket: &str, aws: &Aws) -> Result<Vec<String>> {
    let own = format!(":{node}.pub");
    let objects = aws.list_objects(bucket, bucket::HOST_KEYS).await?;
    let mut keys = Vec::new();
    for object in objects.iter().filter(|object| object.key.ends_with(&own)) {
        if let Some((body, _)) = aws.get_object(bucket, &object.key).await? {
            keys.extend(ssh::parse_host_keys(&String::from_utf8_lossy(&body)));
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_known_by_its_public_name_or_its_private_address() {
        let of = |address: &str| Instance {
            id: "i-1".into(),
            kind: "m5.xlarge".into(),
            market: "ON_DEMAND".into(),
            state: crate::aws::emr::InstanceState::of(Some("RUNNING")),
            address: address.into(),
            public: false,
            created: None,
            ready: None,
            ended: None,
        };
        assert!(has_name(
            &of("ec2-203-0-113-7.eu-west-3.compute.amazonaws.com"),
            "ec2-203-0-113-7.eu-west-3.compute.amazonaws.com"
        ));
        assert!(has_name(&of("10.0.0.1"), "ip-10-0-0-1.eu-west-3.compute.internal"));
        assert!(!has_name(&of("10.0.0.1"), "ip-10-0-0-12.eu-west-3.compute.internal"));
        assert!(!has_name(&of(""), "ip-.eu-west-3.compute.internal") && !has_name(&of(""), ""));
    }
}
