//! The network: which subnets, and a pair of security groups of our own. EMR fills in the rules that its nodes need
//! among each other; the only way in from outside is port 22 of the primary node, from the caller's address.

use crate::aws::Aws;
use crate::aws::ec2::{Group, Subnet};
use crate::clock;
use crate::config::{NetworkConfig, SshCidr};
use crate::error::{Error, Kind, Result};
use crate::stack::change::{Action, Change, Resource};
use crate::stack::names::{BY_PROJECT, Names};

/// What it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Where nodes may be; all in one VPC.
    pub subnets: Vec<Subnet>,
    /// Who may reach port 22 of the primary node.
    pub ssh_from: Option<String>,
    /// The primary node's group.
    pub primary: String,
    /// The workers' group.
    pub workers: String,
}

impl Spec {
    /// As configured; subnets and the caller's address are looked up.
    pub async fn resolve(names: &Names, config: &NetworkConfig, aws: &Aws) -> Result<Spec> {
        let subnets = async { subnets(config, aws).await };
        let ssh_from = async {
            match &config.ssh_cidr {
                SshCidr::Auto => own_address().await.map(|address| {
                    Some(format!("{address}/{}", if address.contains(':') { 128 } else { 32 }))
                }),
                SshCidr::Closed => Ok(None),
                SshCidr::Cidr(cidr) => Ok(Some(cidr.clone())),
            }
        };
        let (subnets, ssh_from) = tokio::try_join!(subnets, ssh_from)?;
        Ok(Spec {
            subnets,
            ssh_from,
            primary: format!("{}primary", names.prefix()),
            workers: format!("{}workers", names.prefix()),
        })
    }

    /// The VPC of the subnets.
    pub fn vpc(&self) -> &str {
        self.subnets.first().map_or("", |subnet| &subnet.vpc)
    }
}

/// The configured subnets, or the default VPC's.
async fn subnets(config: &NetworkConfig, aws: &Aws) -> Result<Vec<Subnet>> {
    let subnets = aws.subnets(&config.subnets).await.map_err(|error| {
        if error.code.starts_with("InvalidSubnet") {
            Error::usage(format!("no such subnet in {}: {}", aws.region, error.message)).help(
                "correct subnets under [network] in fruitctl.toml: they have to be in the configured region",
            )
        } else {
            error.into()
        }
    })?;
    let first = subnets.first().ok_or_else(|| {
        Error::usage(format!("{} has no default VPC, or it has no subnets", aws.region))
            .help("name subnets under [network] in fruitctl.toml, or: aws ec2 create-default-vpc")
    })?;
    if let Some(other) = subnets.iter().find(|subnet| subnet.vpc != first.vpc) {
        return Err(Error::usage(format!(
            "the subnets under [network] are of two VPCs: {} is in {}, {} in {}",
            first.id, first.vpc, other.id, other.vpc
        ))
        .help("name subnets of one VPC"));
    }
    Ok(subnets)
}

/// The address from which the internet sees this machine.
pub async fn own_address() -> Result<String> {
    // Elsewhere for tests, and where that service cannot be reached.
    let url =
        std::env::var("FRUITCTL_CHECKIP_URL").unwrap_or_else(|_| "https://checkip.amazonaws.com/".into());
    let unknown = |why: String| {
        Error::new(Kind::Usage, format!("cannot find out from which address port 22 should be reached: {url}: {why}"))
            .help("name it (--ssh-cidr 203.0.113.7/32, or ssh_cidr under [network]), or go without live logs: ssh_cidr = \"none\"")
    };
    let mut why = String::new();
    for attempt in 0..3 {
        if attempt > 0 {
            clock::sleep(1.0).await;
        }
        let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(10)).build();
        let answer = async { client?.get(&url).send().await?.error_for_status()?.text().await };
        match answer.await {
            Ok(text) => match text.trim().parse::<std::net::IpAddr>() {
                Ok(address) => return Ok(address.to_string()),
                Err(_) => return Err(unknown("the answer is no address".into())),
            },
            Err(error) => why = error.without_url().to_string(),
        }
    }
    Err(unknown(why))
}

/// The project's groups; an error if one in the VPC has our name and not our tag.
pub async fn observe(names: &Names, spec: &Spec, aws: &Aws) -> Result<Vec<Group>> {
    let (tagged, primary, workers) = tokio::try_join!(
        aws.groups(BY_PROJECT, &names.project),
        aws.groups("group-name", &spec.primary),
        aws.groups("group-name", &spec.workers),
    )?;
    let foreign = |group: &&Group| group.vpc == spec.vpc() && !names.owns(&group.tags);
    match primary.iter().chain(&workers).find(foreign) {
        Some(group) => Err(names.foreign("security group", &group.name, &group.tags)),
        None => Ok(tagged),
    }
}

/// The group of this name in the right VPC.
pub fn find<'a>(spec: &Spec, name: &str, seen: &'a [Group]) -> Option<&'a Group> {
    seen.iter().find(|group| group.name == name && group.vpc == spec.vpc())
}

/// What there is to do.
pub fn diff(spec: &Spec, seen: &[Group]) -> Vec<Change> {
    let mut changes = Vec::new();
    for (resource, name) in [(Resource::PrimaryGroup, &spec.primary), (Resource::WorkerGroup, &spec.workers)]
    {
        let found = find(spec, name, seen);
        let wanted = spec.ssh_from.as_ref().filter(|_| resource == Resource::PrimaryGroup);
        let mut wrong = Vec::new();
        if let Some(group) = found {
            if group.ssh_from.iter().ne(wanted) {
                let list = |cidrs: Vec<&String>| match &cidrs[..] {
                    [] => "nobody".to_owned(),
                    some => some.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", "),
                };
                wrong.push(format!(
                    "SSH from {} -> {}",
                    list(group.ssh_from.iter().collect()),
                    list(wanted.into_iter().collect())
                ));
            }
            wrong.extend(group.open.iter().map(|open| format!("close {open}")));
        }
        changes.push(Change::of(resource, name, found.is_some(), wrong));
    }
    // Of a VPC that is not the configured one any more.
    for group in seen.iter().filter(|group| group.vpc != spec.vpc()) {
        let resource =
            if group.name == spec.primary { Resource::PrimaryGroup } else { Resource::WorkerGroup };
        changes.push(Change::new(
            resource,
            &group.id,
            Action::Delete,
            vec![format!("it is in {}", group.vpc)],
        ));
    }
    changes
}

/// Makes the groups and sets who may log in.
pub async fn apply(names: &Names, spec: &Spec, seen: &[Group], aws: &Aws) -> Result<()> {
    let primary = async {
        let group =
            ensure(names, spec, &spec.primary, "The primary node of fruitctl clusters", seen, aws).await?;
        for cidr in group.ssh_from.iter().filter(|cidr| Some(*cidr) != spec.ssh_from.as_ref()) {
            aws.forbid_ssh(&group.id, cidr).await?;
        }
        if let Some(cidr) = spec.ssh_from.as_ref().filter(|cidr| !group.ssh_from.contains(cidr)) {
            aws.allow_ssh(&group.id, cidr).await?;
        }
        Ok::<_, Error>(aws.close(&group).await?)
    };
    let workers = async {
        let group =
            ensure(names, spec, &spec.workers, "The core and task nodes of fruitctl clusters", seen, aws)
                .await?;
        for cidr in &group.ssh_from {
            aws.forbid_ssh(&group.id, cidr).await?;
        }
        Ok(aws.close(&group).await?)
    };
    tokio::try_join!(primary, workers)?;
    let old: Vec<Group> = seen.iter().filter(|group| group.vpc != spec.vpc()).cloned().collect();
    remove(&old, aws).await
}

/// The group, made if it is not there.
async fn ensure(
    names: &Names,
    spec: &Spec,
    name: &str,
    about: &str,
    seen: &[Group],
    aws: &Aws,
) -> Result<Group> {
    if let Some(group) = find(spec, name, seen) {
        return Ok(group.clone());
    }
    match aws.create_group(name, about, spec.vpc(), &names.tags()).await? {
        Some(id) => Ok(Group::new(&id, name, spec.vpc(), names.tags())),
        // Made by somebody else since we looked, or by us with the answer lost; the look tells whose it is.
        None => {
            let groups = observe(names, spec, aws).await?;
            find(spec, name, &groups).cloned().ok_or_else(|| {
                Error::new(Kind::Refused, format!("security group {name} exists, and cannot be seen"))
                    .help("the same command again")
            })
        }
    }
}

/// Deletes all of the project's groups. Their clusters have to be gone.
pub async fn destroy(names: &Names, aws: &Aws) -> Result<()> {
    let groups = aws.groups(BY_PROJECT, &names.project).await?;
    remove(&groups, aws).await
}

/// First the rules by which groups name each other, then the groups.
async fn remove(groups: &[Group], aws: &Aws) -> Result<()> {
    for group in groups {
        aws.disentangle(group).await?;
    }
    for group in groups {
        aws.delete_group(&group.id).await.map_err(|error| {
            Error::from(error.clone())
                .leftover(format!("security group {} ({}) in {}", group.name, group.id, aws.region))
                .help("end what uses it (aws ec2 describe-network-interfaces --filters Name=group-id,Values=ID), then: fruitctl down")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        let subnet =
            Subnet { id: "subnet-1".into(), vpc: "vpc-1".into(), zone: "a".into(), free: 9, public: true };
        Spec {
            subnets: vec![subnet],
            ssh_from: Some("203.0.113.7/32".into()),
            primary: "fruitctl-fruits-primary".into(),
            workers: "fruitctl-fruits-workers".into(),
        }
    }

    fn groups(spec: &Spec) -> Vec<Group> {
        let group = |name: &str| Group::new(name, name, "vpc-1", Default::default());
        let mut groups = vec![group(&spec.primary), group(&spec.workers)];
        groups[0].ssh_from = spec.ssh_from.iter().cloned().collect();
        groups
    }

    #[test]
    fn another_address_and_an_open_port_are_drift() {
        let spec = spec();
        let actions = |seen: &[Group]| diff(&spec, seen).iter().map(|c| c.action).collect::<Vec<_>>();
        let mut seen = groups(&spec);
        assert_eq!(actions(&seen), [Action::Keep, Action::Keep]);
        assert_eq!(actions(&[]), [Action::Create, Action::Create]);
        seen[0].ssh_from = vec!["198.51.100.9/32".into()];
        seen[1].open = vec!["ports 0-65535 from 0.0.0.0/0".into()];
        let changes = diff(&spec, &seen);
        assert_eq!(changes[0].reasons, ["SSH from 198.51.100.9/32 -> 203.0.113.7/32"]);
        assert_eq!(changes[1].reasons, ["close ports 0-65535 from 0.0.0.0/0"]);
        seen[1].vpc = "vpc-2".into();
        assert_eq!(actions(&seen), [Action::Update, Action::Create, Action::Delete]);
    }
}
