//! The primary node, as SSH reaches it: only one that shows the host key that it published in the bucket.

use crate::aws::Aws;
use crate::error::{Error, Kind, Result};
use crate::ssh::{self, Target};
use crate::stack::{Spec, bucket};

/// How to reach a cluster's primary node: its address, our key, and the host keys that it published.
pub async fn target(cluster: &str, host: &str, spec: &Spec, aws: &Aws) -> Result<Target> {
    let key = format!("{}{cluster}.pub", bucket::HOST_KEYS);
    let published = aws.get_object(&spec.bucket.name, &key).await?;
    let host_keys =
        published.map(|(body, _)| ssh::parse_host_keys(&String::from_utf8_lossy(&body))).unwrap_or_default();
    if host_keys.is_empty() {
        return Err(Error::new(
            Kind::Failed,
            format!(
                "the node has published no host key (s3://{}/{key}), so nobody can be trusted to be it",
                spec.bucket.name
            ),
        )
        .help("look at the bootstrap action hostkeys.sh of the cluster: fruitctl status"));
    }
    let pair = spec.key_pair.as_ref().ok_or_else(|| {
        Error::usage("port 22 is closed: ssh_cidr is none")
            .help("set ssh_cidr under [network] of fruitctl.toml")
    })?;
    Ok(Target { host: host.to_owned(), port: ssh::port(), key: pair.file.clone(), host_keys })
}
