//! What a cluster uses of somebody else's: security groups, and a machine image. They are looked at before anything is made,
//! and never changed.

use super::resources::{cluster, network};
use crate::aws::ec2::Image;
use crate::aws::{ApiError, Aws};
use crate::error::{Error, Kind, Result};
use crate::facts::FACTS;
use crate::instances::Arch;

/// What is worth knowing of them.
///
/// # Errors
/// [`Kind::Usage`] where one is not there, or cannot be used.
pub async fn check(network: &network::Spec, cluster: &cluster::Spec, aws: &Aws) -> Result<Vec<String>> {
    let mut notes = groups(network, aws).await?;
    notes.extend(image(cluster, aws).await?);
    Ok(notes)
}

async fn groups(network: &network::Spec, aws: &Aws) -> Result<Vec<String>> {
    let mut ids = [&*network.additional_primary, &*network.additional_workers].concat();
    ids.sort();
    ids.dedup();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let found = aws.groups_of(&ids).await?;
    let wrong = |what: String| {
        Err(Error::usage(what)
            .help("correct primary_groups and worker_groups under [network] in fruitctl.toml"))
    };
    for id in &ids {
        match found.iter().find(|group| group.id == *id) {
            None => return wrong(format!("there is no security group {id} in {}", aws.region)),
            Some(group) if group.vpc != network.vpc() => {
                return wrong(format!(
                    "security group {id} is in {}, and the subnets are in {}",
                    group.vpc,
                    network.vpc()
                ));
            }
            Some(_) => {}
        }
    }
    let notes = found.iter().flat_map(|group| {
        let ssh = group.ssh.iter().filter(|rule| rule.is_worldwide()).map(|rule| format!("SSH from {}", rule.cidr));
        let open = group.open.iter().cloned().chain(ssh);
        open.map(|rule| {
            format!(
                "security group {}, which is not fruitctl's, lets the whole internet in: {rule}; EMR may refuse the cluster",
                group.id
            )
        })
    });
    let mut notes: Vec<_> = notes.collect();
    let bound = &FACTS.bounds.groups_by_default;
    // EMR's own is one of them.
    let most = network.additional_primary.len().max(network.additional_workers.len()) + 1;
    if most > bound.most {
        notes.push(format!(
            "nodes are in {most} security groups, and an account allows {} a network interface unless its quota was raised; see {}",
            bound.most, bound.source
        ));
    }
    Ok(notes)
}

/// Source: <https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-custom-ami.html>.
async fn image(cluster: &cluster::Spec, aws: &Aws) -> Result<Option<String>> {
    let Some(id) = &cluster.image else { return Ok(None) };
    match aws.image(id).await {
        Ok(found) => match unfit(found.as_ref(), cluster) {
            None => Ok(found.filter(|image| image.is_encrypted).map(|_| encrypted(id))),
            Some(why) => Err(Error::usage(format!("the machine image {id} in {}: {why}", aws.region))
                .help("correct image, types or root_gb under [cluster] in fruitctl.toml")),
        },
        Err(error) if is_refused(&error) => {
            Ok(Some(format!("the machine image {id} cannot be looked at, and is taken to fit: {error}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Source: <https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html>.
fn encrypted(id: &str) -> String {
    format!(
        "the machine image {id} is encrypted: if by a key of yours, the service role and its boundary have to allow the key's use \
         for EBS, which fruitctl does not grant (docs/howto/aws.md)"
    )
}

fn is_refused(error: &ApiError) -> bool {
    matches!(error.kind(), Kind::Denied | Kind::Refused) && !error.is_credentials()
}

/// Why no cluster can start from an image. What EC2 does not tell is taken to fit.
fn unfit(image: Option<&Image>, cluster: &cluster::Spec) -> Option<String> {
    let Some(image) = image else { return Some("it is not there, or not for this account".into()) };
    let is = |told: &Option<String>, wanted: &str| told.as_deref().is_none_or(|told| told == wanted);
    if !is(&image.state, "available") {
        return Some(format!("it is {}", image.state.as_deref().unwrap_or_default()));
    }
    if image.is_windows {
        return Some("it is one of Windows, and EMR's nodes run Amazon Linux".into());
    }
    if !is(&image.root, "ebs") {
        return Some("its root is no EBS volume".into());
    }
    for kind in cluster.kinds() {
        let arch = Arch::of(kind);
        if !is(&image.architecture, arch.ec2()) {
            let its = image.architecture.as_deref().unwrap_or_default();
            return Some(format!("it is for {its}, and {kind} is {}", arch.name()));
        }
    }
    match image.root_gb {
        Some(gb) if gb > cluster.root_gb => {
            Some(format!("its root volume has {gb} GiB, and root_gb is {}", cluster.root_gb))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClusterConfig;

    #[test]
    fn an_image_has_to_fit_the_nodes() {
        let cluster = cluster::Spec::new(&ClusterConfig::default()).unwrap();
        let good = Image {
            architecture: Some("arm64".into()),
            state: Some("available".into()),
            root: Some("ebs".into()),
            root_gb: Some(30),
            is_windows: false,
            is_encrypted: false,
        };
        assert_eq!(unfit(Some(&good), &cluster), None);
        assert_eq!(unfit(Some(&Image::default()), &cluster), None);
        let some = |text: &str| Some(text.to_owned());
        for (image, words) in [
            (Image { architecture: some("x86_64"), ..good.clone() }, "for x86_64, and m6g.xlarge is aarch64"),
            (Image { state: some("pending"), ..good.clone() }, "it is pending"),
            (Image { root: some("instance-store"), ..good.clone() }, "no EBS volume"),
            (Image { root_gb: Some(31), ..good.clone() }, "31 GiB, and root_gb is 30"),
            (Image { is_windows: true, ..good }, "Windows"),
        ] {
            let why = unfit(Some(&image), &cluster).unwrap_or_default();
            assert!(why.contains(words), "{why}");
        }
        assert!(unfit(None, &cluster).unwrap().contains("not there"));
    }
}
