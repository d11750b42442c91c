//! The network: which subnets, and a pair of security groups of our own. EMR fills in the rules that its nodes need
//! among each other; the only way in from outside is port 22 of the primary node, from where `ssh_cidr` says: by default from
//! the caller's address, which a web service tells. [`expire`] closes what nobody needs any more, of other projects too.
//!
//! In private subnets there is a third group, by which EMR reaches the nodes. EMR adds no rule to it, and refuses clusters
//! where one is missing: <https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-man-sec-groups.html>.
//! Groups of somebody else's that nodes are in besides are named here, and looked at in `borrowed`.

use std::collections::BTreeSet;

use super::door::{Door, has_expired};
use crate::aws::ec2::{Direction, Group, Link, Subnet};
use crate::aws::emr::{Existing, Setting};
use crate::aws::vpc::routes_of;
use crate::aws::{ApiError, Aws};
use crate::clock;
use crate::config::{NetworkConfig, SshCidr};
use crate::error::{Error, Kind, Result};
use crate::stack::change::{Action, Change, Resource};
use crate::stack::names::{BY_PROJECT, Names, PROJECT};

/// What it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Where nodes may be; all in one VPC, and all public or all private.
    pub subnets: Vec<Subnet>,
    /// The subnets are private.
    pub is_private: bool,
    /// Why it is not known whether they are, where it is not; `is_private` is then a guess, see [`guess_private`].
    pub unread: Option<String>,
    /// Who may reach port 22 of the primary node.
    pub door: Door,
    /// The primary node's group.
    pub primary: String,
    /// The workers' group.
    pub workers: String,
    /// The group by which EMR reaches the nodes; there is one only if the subnets are private.
    pub access: String,
    /// Ids of somebody else's groups that the primary node is in besides, sorted.
    pub additional_primary: Vec<String>,
    /// The same of the workers.
    pub additional_workers: Vec<String>,
}

impl Spec {
    /// As configured; subnets and the caller's address are looked up. `key`: the key pair of this machine.
    pub async fn resolve(
        names: &Names,
        config: &NetworkConfig,
        key: Option<&str>,
        aws: &Aws,
    ) -> Result<Spec> {
        let subnets = async { subnets(config, aws).await };
        let ssh_from = async {
            match &config.ssh_cidr {
                SshCidr::Auto => own_address(aws).await.map(|address| {
                    vec![format!("{address}/{}", if address.contains(':') { 128 } else { 32 })]
                }),
                SshCidr::Closed => Ok(Vec::new()),
                SshCidr::Ranges(ranges) => Ok(ranges.clone()),
            }
        };
        let ((subnets, unread), ssh_from) = tokio::try_join!(subnets, ssh_from)?;
        let is_private = is_private(&subnets)?;
        Ok(Spec {
            is_private: is_private.unwrap_or_else(|| guess_private(&subnets)),
            unread: is_private.is_none().then(|| unread.map_or("EC2 does not say".into(), |e| e.to_string())),
            subnets,
            door: Door::new(ssh_from, key, aws),
            primary: format!("{}primary", names.prefix()),
            workers: format!("{}workers", names.prefix()),
            access: format!("{}access", names.prefix()),
            additional_primary: sorted(&config.primary_groups),
            additional_workers: sorted(&config.worker_groups),
        })
    }

    /// The VPC of the subnets.
    pub fn vpc(&self) -> &str {
        self.subnets.first().map_or("", |subnet| &subnet.vpc)
    }

    /// The groups that there should be, by name.
    fn groups(&self) -> Vec<(Resource, &str)> {
        let mut groups = vec![
            (Resource::PrimaryGroup, self.primary.as_str()),
            (Resource::WorkerGroup, self.workers.as_str()),
        ];
        if self.is_private {
            groups.push((Resource::AccessGroup, self.access.as_str()));
        }
        groups
    }

    /// The rules of the access group: each with the name of the other group. `ids` finds a group's id by its name;
    /// empty for one that is not there yet.
    fn links(&self, ids: impl Fn(&str) -> String) -> Vec<(Link, &str)> {
        let rules = [
            (Direction::In, 9443, self.primary.as_str()),
            (Direction::Out, 8443, self.primary.as_str()),
            (Direction::Out, 8443, self.workers.as_str()),
        ];
        rules.map(|(way, port, name)| (Link::new(way, port, &ids(name)), name)).into()
    }

    /// What a plan says of what could not be looked at.
    pub fn note(&self) -> Option<String> {
        let why = self.unread.as_ref()?;
        let (taken, give) = if self.is_private { ("private", "give no") } else { ("public", "give") };
        Some(format!(
            "whether the subnets are private cannot be read, and they are taken to be {taken}, for they {give} public addresses: {why}"
        ))
    }
}

fn sorted(ids: &[String]) -> Vec<String> {
    let ids: BTreeSet<_> = ids.iter().cloned().collect();
    ids.into_iter().collect()
}

/// The configured subnets, or the default VPC's; and why their routes could not be read, if they could not.
async fn subnets(config: &NetworkConfig, aws: &Aws) -> Result<(Vec<Subnet>, Option<ApiError>)> {
    let mut subnets = aws.subnets(&config.subnets).await.map_err(|error| {
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
    let tables = match aws.route_tables(&first.vpc).await {
        Ok(tables) => tables,
        Err(error) if error.kind() == Kind::Denied && !error.is_credentials() => {
            return Ok((subnets, Some(error)));
        }
        Err(error) => return Err(error.into()),
    };
    for subnet in &mut subnets {
        subnet.routes = routes_of(&subnet.id, &tables);
    }
    Ok((subnets, None))
}

/// Whether the subnets are private: `None` where that is not known of one of them. An error where they are of both kinds.
fn is_private(subnets: &[Subnet]) -> Result<Option<bool>> {
    let of_kind = |private| subnets.iter().find(|subnet| subnet.is_private() == Some(private));
    match (of_kind(true), of_kind(false)) {
        (Some(private), Some(public)) => Err(Error::usage(format!(
            "the subnets are of two kinds: {} is private, for it has no route to an internet gateway, and {} is public",
            private.id, public.id
        ))
        .help("name subnets of one kind under [network] in fruitctl.toml")),
        _ if subnets.iter().any(|subnet| subnet.routes.is_none()) => Ok(None),
        (private, _) => Ok(Some(private.is_some())),
    }
}

/// Whether subnets are private whose routes are not known: if none of them gives public addresses. Where this is wrong, EMR
/// refuses the cluster, or there is a security group too many.
fn guess_private(subnets: &[Subnet]) -> bool {
    subnets.iter().all(|subnet| !subnet.gives_addresses)
}

/// The address from which the internet sees this machine.
pub async fn own_address(aws: &Aws) -> Result<String> {
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
        let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(10));
        let answer = async {
            let more = reqwest::Certificate::from_pem_bundle(&aws.ca_bundle)?;
            let client = client.tls_certs_merge(more).build();
            client?.get(&url).send().await?.error_for_status()?.text().await
        };
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
    let access =
        async { if spec.is_private { aws.groups("group-name", &spec.access).await } else { Ok(Vec::new()) } };
    let (tagged, primary, workers, access) = tokio::try_join!(
        aws.groups(BY_PROJECT, &names.project),
        aws.groups("group-name", &spec.primary),
        aws.groups("group-name", &spec.workers),
        access,
    )?;
    let foreign = |group: &&Group| group.vpc == spec.vpc() && !names.owns(&group.tags);
    match primary.iter().chain(&workers).chain(&access).find(foreign) {
        Some(group) => Err(names.foreign("security group", &group.name, &group.tags)),
        None => Ok(tagged),
    }
}

/// The group of this name in the right VPC.
pub fn find<'a>(spec: &Spec, name: &str, seen: &'a [Group]) -> Option<&'a Group> {
    seen.iter().find(|group| group.name == name && group.vpc == spec.vpc())
}

/// What there is to do. An access group that is not needed any more stays until `down`: a cluster may still use it.
pub fn diff(spec: &Spec, seen: &[Group]) -> Vec<Change> {
    let mut changes = Vec::new();
    for (resource, name) in spec.groups() {
        let found = find(spec, name, seen);
        let mut wrong = Vec::new();
        if let Some(group) = found {
            let (out, missing) = match resource {
                Resource::PrimaryGroup => spec.door.changes(&group.ssh),
                _ => (group.ssh.clone(), Vec::new()),
            };
            wrong.extend(out.iter().map(|rule| format!("close SSH from {}", rule.cidr)));
            wrong.extend(missing.iter().map(|rule| format!("open SSH from {}", rule.cidr)));
            wrong.extend(group.open.iter().map(|open| format!("close {open}")));
            if resource == Resource::AccessGroup {
                wrong.extend(wrong_access(spec, group, seen));
            }
        }
        changes.push(Change::of(resource, name, found.is_some(), wrong));
    }
    // Of a VPC that is not the configured one any more.
    for group in seen.iter().filter(|group| group.vpc != spec.vpc()) {
        let resource = match &group.name {
            name if *name == spec.primary => Resource::PrimaryGroup,
            name if *name == spec.access => Resource::AccessGroup,
            _ => Resource::WorkerGroup,
        };
        changes.push(Change::new(
            resource,
            &group.id,
            Action::Delete,
            vec![format!("it is in {}", group.vpc)],
        ));
    }
    changes
}

/// What is wrong with the rules of the access group.
fn wrong_access(spec: &Spec, group: &Group, seen: &[Group]) -> Vec<String> {
    let id = |name: &str| find(spec, name, seen).map(|group| group.id.clone()).unwrap_or_default();
    let missing = spec.links(id).into_iter().filter(|(link, _)| !group.has(link));
    let opened = missing.map(|(link, name)| match link.direction {
        Direction::In => format!("open port {} from {name}", link.ports.0),
        Direction::Out => format!("open port {} to {name}", link.ports.0),
    });
    opened.chain(group.leaks.iter().map(|leak| format!("close {leak}"))).collect()
}

/// The groups of another VPC than the configured one that no cluster uses. To take rules from under a cluster that lives
/// is to break it: a run leaves one that it does not use.
fn unused(spec: &Spec, seen: &[Group], clusters: &[Existing]) -> Vec<Group> {
    let is_used = |group: &Group| {
        clusters.iter().any(|found| {
            let its = [
                (Setting::PrimaryGroup, &found.cluster.primary_group),
                (Setting::WorkerGroup, &found.cluster.worker_group),
                (Setting::AccessGroup, &found.cluster.access_group),
            ];
            its.iter().any(|(setting, id)| **id == group.id || !found.knows(*setting))
        })
    };
    seen.iter().filter(|group| group.vpc != spec.vpc() && !is_used(group)).cloned().collect()
}

/// Makes the groups and sets who may log in; `clusters` are those that live.
pub async fn apply(
    names: &Names,
    spec: &Spec,
    seen: &[Group],
    clusters: &[Existing],
    aws: &Aws,
) -> Result<()> {
    let primary = async {
        let group =
            ensure(names, spec, &spec.primary, "The primary node of fruitctl clusters", seen, aws).await?;
        let (out, missing) = spec.door.changes(&group.ssh);
        for rule in &out {
            match aws.forbid_ssh(&group.id, rule).await {
                // One that has expired waits for whoever may take it away; the world does not.
                Err(error) if error.kind() == Kind::Denied && !rule.is_worldwide() => {}
                done => done?,
            }
        }
        for rule in &missing {
            aws.allow_ssh(&group.id, rule).await?;
        }
        aws.close(&group).await?;
        Ok::<_, Error>(group.id)
    };
    let workers = async {
        let group =
            ensure(names, spec, &spec.workers, "The core and task nodes of fruitctl clusters", seen, aws)
                .await?;
        for rule in &group.ssh {
            aws.forbid_ssh(&group.id, rule).await?;
        }
        aws.close(&group).await?;
        Ok(group.id)
    };
    let (primary, workers) = tokio::try_join!(primary, workers)?;
    if spec.is_private {
        apply_access(names, spec, (&primary, &workers), seen, aws).await?;
    }
    remove(&unused(spec, seen, clusters), aws).await
}

/// Makes the access group and sets its rules, which name the `others`: the ids of the primary's and the workers' group.
async fn apply_access(
    names: &Names,
    spec: &Spec,
    others: (&str, &str),
    seen: &[Group],
    aws: &Aws,
) -> Result<()> {
    let about = "How EMR reaches fruitctl clusters in private subnets";
    let mut group = ensure(names, spec, &spec.access, about, seen, aws).await?;
    if find(spec, &spec.access, seen).is_none() {
        // A new group lets everything out, by rules that depend on its VPC.
        let found = aws.groups("group-name", &spec.access).await?;
        group = found.into_iter().find(|found| found.id == group.id).unwrap_or(group);
    }
    for rule in &group.ssh {
        aws.forbid_ssh(&group.id, rule).await?;
    }
    aws.close(&group).await?;
    let id = |name: &str| if name == spec.primary { others.0 } else { others.1 }.to_owned();
    for (link, _) in spec.links(id).iter().filter(|(link, _)| !group.has(link)) {
        aws.link(&group.id, link).await?;
    }
    Ok(aws.close_outward(&group).await?)
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

/// Takes away rules for SSH that have expired, of one project or of all; only tells of them in a trial. Each in words, and
/// the first failure: one that may not be taken away keeps nobody from the others.
///
/// # Errors
/// Those of listing the groups.
pub async fn expire(
    project: Option<&str>,
    dry_run: bool,
    aws: &Aws,
) -> Result<(Vec<String>, Option<ApiError>), ApiError> {
    let groups = match project {
        Some(project) => aws.groups(BY_PROJECT, project).await?,
        None => aws.groups("tag-key", PROJECT).await?,
    };
    let (mut told, mut failure) = (Vec::new(), None);
    for group in &groups {
        for rule in group.ssh.iter().filter(|rule| has_expired(rule)) {
            let done = if dry_run { Ok(()) } else { aws.forbid_ssh(&group.id, rule).await };
            match done {
                Ok(()) => told.push(format!("SSH from {} to {} ({})", rule.cidr, group.name, rule.about)),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
    }
    Ok((told, failure))
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
    use crate::aws::ec2::SshRule;
    use crate::aws::emr::Unread;
    use crate::aws::vpc::{Routes, WayOut};

    fn subnet(id: &str, way_out: Option<WayOut>, gives_addresses: bool) -> Subnet {
        let routes = way_out.map(|way_out| Routes { table: "rtb-1".into(), way_out });
        let (id, vpc, zone) = (id.into(), "vpc-1".into(), "a".into());
        Subnet { id, vpc, zone, free: 9, gives_addresses, routes }
    }

    fn internet() -> Option<WayOut> {
        Some(WayOut::InternetGateway("igw-1".into()))
    }

    fn spec() -> Spec {
        Spec {
            subnets: vec![subnet("subnet-1", internet(), true)],
            is_private: false,
            unread: None,
            door: Door::of_test("203.0.113.7/32"),
            primary: "fruitctl-fruits-primary".into(),
            workers: "fruitctl-fruits-workers".into(),
            access: "fruitctl-fruits-access".into(),
            additional_primary: Vec::new(),
            additional_workers: Vec::new(),
        }
    }

    fn groups(spec: &Spec) -> Vec<Group> {
        let group = |name: &str| Group::new(name, name, "vpc-1", Default::default());
        let mut groups = vec![group(&spec.primary), group(&spec.workers)];
        groups[0].ssh.extend(spec.door.changes(&[]).1);
        groups
    }

    #[test]
    fn another_address_and_an_open_port_are_drift() {
        let spec = spec();
        let actions = |seen: &[Group]| diff(&spec, seen).iter().map(|c| c.action).collect::<Vec<_>>();
        let mut seen = groups(&spec);
        assert_eq!(actions(&seen), [Action::Keep, Action::Keep]);
        assert_eq!(actions(&[]), [Action::Create, Action::Create]);
        seen[0].ssh = vec![SshRule { cidr: "0.0.0.0/0".into(), about: "for now".into() }];
        seen[1].open = vec!["ports 0-65535 from 0.0.0.0/0".into()];
        let changes = diff(&spec, &seen);
        assert_eq!(changes[0].reasons, ["close SSH from 0.0.0.0/0", "open SSH from 203.0.113.7/32"]);
        assert_eq!(changes[1].reasons, ["close ports 0-65535 from 0.0.0.0/0"]);
        seen[1].vpc = "vpc-2".into();
        assert_eq!(actions(&seen), [Action::Update, Action::Create, Action::Delete]);
    }

    /// A private network as it should be; ids are names.
    fn private() -> (Spec, Vec<Group>) {
        let spec = Spec { is_private: true, ..spec() };
        let mut seen = groups(&spec);
        let mut access = Group::new(&spec.access, &spec.access, "vpc-1", Default::default());
        access.links = spec.links(str::to_owned).into_iter().map(|(link, _)| link).collect();
        seen.push(access);
        (spec, seen)
    }

    #[test]
    fn private_subnets_have_a_third_group() {
        let (spec, seen) = private();
        let row = |seen: &[Group]| {
            let changes = diff(&spec, seen);
            assert_eq!((changes.len(), changes[2].resource), (3, Resource::AccessGroup));
            (changes[2].action, changes[2].reasons.join("; "))
        };
        assert_eq!(row(&seen), (Action::Keep, String::new()));
        assert_eq!(row(&seen[..2]), (Action::Create, String::new()));
        let alter = |alter: fn(&mut Group)| {
            let mut seen = seen.clone();
            alter(&mut seen[2]);
            row(&seen)
        };
        let update = |reason: &str| (Action::Update, reason.to_owned());
        assert_eq!(alter(|g| drop(g.links.remove(0))), update("open port 9443 from fruitctl-fruits-primary"));
        assert_eq!(alter(|g| drop(g.links.remove(2))), update("open port 8443 to fruitctl-fruits-workers"));
        assert_eq!(alter(|g| g.links[1].direction = Direction::In), {
            update("open port 8443 to fruitctl-fruits-primary")
        });
        // A wider rule will do.
        assert_eq!(alter(|g| g.links[0].ports = (0, 65535)).0, Action::Keep);
        assert_eq!(alter(|g| g.leaks = vec!["ports 0-65535 to 0.0.0.0/0".into()]), {
            update("close ports 0-65535 to 0.0.0.0/0")
        });
        // The rules of a group that is gone are gone too.
        assert!(row(&seen[1..]).1.contains("open port 9443 from fruitctl-fruits-primary"));
    }

    #[test]
    fn an_access_group_that_is_not_needed_stays() {
        let (private, seen) = private();
        let changes = diff(&Spec { is_private: false, ..private.clone() }, &seen);
        assert!(changes.len() == 2 && changes.iter().all(|c| c.action == Action::Keep), "{changes:?}");
        let moved =
            Spec { subnets: vec![Subnet { vpc: "vpc-2".into(), ..private.subnets[0].clone() }], ..private };
        let deleted: Vec<_> = diff(&moved, &seen)
            .into_iter()
            .filter(|c| c.action == Action::Delete)
            .map(|c| c.resource)
            .collect();
        assert_eq!(deleted, [Resource::PrimaryGroup, Resource::WorkerGroup, Resource::AccessGroup]);
    }

    #[test]
    fn groups_under_a_cluster_stay() {
        let spec = spec();
        let mut seen = groups(&spec);
        assert_eq!(unused(&spec, &seen, &[]), []);
        for group in &mut seen {
            group.vpc = "vpc-2".into();
        }
        assert_eq!(unused(&spec, &seen, &[]), seen);
        let mut found = Existing::default();
        found.cluster.worker_group = seen[1].id.clone();
        assert_eq!(unused(&spec, &seen, std::slice::from_ref(&found)), seen[..1]);
        found.unread = vec![Unread { setting: Setting::PrimaryGroup, error: None }];
        assert_eq!(unused(&spec, &seen, &[found]), []);
    }

    #[test]
    fn subnets_are_of_one_kind() {
        let nat = || Some(WayOut::Other("nat-1".into()));
        let public = subnet("subnet-1", internet(), true);
        let private = subnet("subnet-2", nat(), false);
        let unknown = |gives| subnet("subnet-3", None, gives);
        assert_eq!(is_private(std::slice::from_ref(&public)).unwrap(), Some(false));
        // The route table decides, whatever addresses there are.
        assert_eq!(is_private(&[subnet("a", nat(), true)]).unwrap(), Some(true));
        assert_eq!(
            is_private(&[private.clone(), subnet("b", Some(WayOut::Nothing), false)]).unwrap(),
            Some(true)
        );
        let error = is_private(&[public.clone(), private.clone()]).unwrap_err();
        assert!(error.kind == Kind::Usage && error.message.contains("subnet-2 is private"), "{error}");
        assert_eq!(is_private(&[public, unknown(true)]).unwrap(), None);
        assert!(
            guess_private(&[private, unknown(false)]) && !guess_private(&[unknown(true), unknown(false)])
        );
    }

    #[test]
    fn a_guess_is_noted() {
        let mut spec = spec();
        assert_eq!(spec.note(), None);
        spec.unread = Some("ec2:DescribeRouteTables is not allowed".into());
        let note = spec.note().unwrap();
        assert!(note.contains("taken to be public") && note.contains("ec2:DescribeRouteTables"), "{note}");
    }
}
