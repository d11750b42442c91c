//! The cluster. What EMR can change in place is an update, all else makes a new cluster.
//!
//! RunJobFlow has no token by which AWS could tell a repetition. So the cluster's name ends in an id that is drawn
//! before the call; after a lost answer, a cluster of that name is looked for before the call is made again.

mod end;
mod limits;

use std::collections::BTreeSet;

pub use end::{steps_beside, terminate, until_ended, wait_ended};
pub use limits::check;

use super::bootstrap::Script;
use super::{bucket, network};
use crate::aws::ec2::Group;
use crate::aws::emr::{BootstrapAction, Cluster, Existing, Role, Setting, StepSpec, Workforce};
use crate::aws::{ApiError, Aws, Reason, Tags, fence};
use crate::config::{Classifications, ClusterConfig, Nodes};
use crate::cost::PricedNodes;
use crate::error::{Error, Kind, Result};
use crate::stack::change::{Action, Change, Resource};
use crate::stack::names::{DEADLINE, Names, OWNER, RUN};
use crate::{clock, wait};

/// States of clusters that have not ended.
pub const ACTIVE: &[&str] = &["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING"];

/// What it should be, but for what other resources decide (ids of groups, subnets, paths of scripts).
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The EMR release.
    pub release: String,
    /// Applications, sorted.
    pub applications: Vec<String>,
    /// By role.
    pub workforce: Vec<Workforce>,
    /// Fleets, not groups: several types, or Spot with a fallback.
    pub fleets: bool,
    /// By classification.
    pub configurations: Classifications,
    /// Seconds without work after which it ends itself.
    pub idle_seconds: Option<i64>,
    /// Hours after which it may be swept away.
    pub max_hours: u32,
    /// Bounds of core and task instances.
    pub scaling: Option<(i32, i32)>,
    /// It refuses to be terminated.
    pub protected: bool,
    /// GiB of the root volume.
    pub root_gb: i32,
    /// The machine image; none for the release's own.
    pub image: Option<String>,
}

impl Spec {
    /// Instance types, of all roles.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.workforce.iter().flat_map(|w| &w.types).map(String::as_str)
    }

    /// What its price depends on; `public`: its nodes have public addresses.
    pub fn nodes(&self, public: bool) -> PricedNodes<'_> {
        PricedNodes { workforce: &self.workforce, root_gb: self.root_gb, scaling: self.scaling, public }
    }

    /// As configured.
    pub fn new(config: &ClusterConfig) -> Result<Spec> {
        let wrong = |what: String| Err(Error::usage(what).help("correct [cluster] in fruitctl.toml"));
        let roles = [
            (Role::Primary, Some(&config.primary)),
            (Role::Core, Some(&config.core)),
            (Role::Task, config.task.as_ref()),
        ];
        let mut workforce = Vec::new();
        for (role, nodes) in roles {
            let Some(Nodes { types, count, spot }) = nodes else { continue };
            let at = format!("[cluster.{}]", role.name());
            if types.is_empty() || types.iter().any(|kind| !kind.contains('.')) {
                return wrong(format!("{at}: types is a list of instance types, such as [\"m6g.xlarge\"]"));
            }
            if role == Role::Primary && *count != 1 {
                return wrong(format!("{at}: there is one primary node; count has to be 1"));
            }
            if *count == 0 && role == Role::Core {
                continue;
            }
            workforce.push(Workforce {
                role,
                types: types.clone(),
                count: i32::try_from(*count).unwrap_or(i32::MAX),
                spot: *spot,
                ebs_gb: Some(config.ebs_gb.into()),
            });
        }
        let fleets = config.uses_fleets();
        // A group of nobody cannot be made; a fleet of nobody can be left out as well.
        workforce.retain(|w| w.count > 0);
        if config.idle_minutes > 7 * 24 * 60 {
            return wrong("idle_minutes is at most a week, 10080".into());
        }
        if config.max_hours == 0 {
            return wrong("max_hours is 1 at least: it is how long a cluster may live at most".into());
        }
        let mut applications = config.applications.clone();
        applications.push("Hadoop".into());
        applications.sort();
        applications.dedup();
        Ok(Spec {
            release: config.release.clone(),
            applications,
            workforce,
            fleets,
            configurations: config.configurations.clone(),
            idle_seconds: (config.idle_minutes > 0).then(|| i64::from(config.idle_minutes) * 60),
            max_hours: config.max_hours,
            scaling: config.managed_scaling.map(|s| (s.min as i32, s.max as i32)),
            protected: config.termination_protection,
            root_gb: config.root_gb.into(),
            image: config.image.clone(),
        })
    }
}

impl Spec {
    /// That of a cluster that is there, as far as EMR tells it: what a run has to fit, whatever is configured by now.
    pub fn fit_to(mut self, found: &Existing) -> Spec {
        let has = &found.cluster;
        if found.knows(Setting::Workforce) && !has.workforce.is_empty() {
            self.workforce = has.workforce.clone();
        }
        if found.knows(Setting::Collection) {
            self.fleets = has.fleets;
        }
        if found.knows(Setting::Scaling) {
            self.scaling = has.scaling;
        }
        if found.knows(Setting::Release) {
            self.release.clone_from(&has.release);
        }
        if found.knows(Setting::Applications) {
            self.applications.clone_from(&has.applications);
        }
        self
    }
}

/// Whether a cluster is one that a plan would replace.
pub fn is_replaced(wanted: &Wanted<'_>, groups: &[Group], found: &Existing) -> bool {
    !compare(wanted, groups, found).1.is_empty()
}

fn sorted(ids: &[String]) -> Vec<String> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}

/// How a cluster differs from what is wanted, line by line.
pub fn differences(wanted: &Wanted<'_>, groups: &[Group], found: &Existing) -> Vec<String> {
    let (updates, new) = compare(wanted, groups, found);
    new.into_iter().chain(updates.into_iter().map(|(_, reason)| reason)).collect()
}

/// The project's clusters that live, without their instances, scripts and policies: all that it takes to end them.
pub async fn living(names: &Names, aws: &Aws) -> Result<Vec<Existing>> {
    let mut ours = Vec::new();
    for listed in aws.list_clusters(None, ACTIVE).await? {
        // The list has no tags; names are ours to choose, so others need not be looked at.
        if !listed.name.starts_with(&names.prefix()) {
            continue;
        }
        let Some(found) = aws.describe_cluster(&listed.id).await? else { continue };
        if names.owns(&found.cluster.tags) && found.status.lives() {
            ours.push(found);
        }
    }
    ours.sort_by_key(|c| c.status.created);
    Ok(ours)
}

/// The project's clusters that live, in full.
pub async fn observe(names: &Names, aws: &Aws) -> Result<Vec<Existing>> {
    let mut ours = Vec::new();
    for found in living(names, aws).await? {
        ours.push(aws.inspect_cluster(found).await?);
    }
    Ok(ours)
}

/// It can be used, and is no run's own.
pub fn is_standing(found: &Existing) -> bool {
    found.status.is_usable() && !found.cluster.tags.contains_key(RUN)
}

/// A cluster, with what it stands on: names of the other resources.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Of the project.
    pub names: &'a Names,
    /// Holds logs and bootstrap actions.
    pub bucket: &'a str,
    /// EMR's role.
    pub service_role: &'a str,
    /// The nodes' role and instance profile.
    pub node_role: &'a str,
    /// Who may log in, if anybody.
    pub key_pair: Option<&'a str>,
    /// Subnets and security groups.
    pub network: &'a network::Spec,
    /// IMDSv2.
    pub security_configuration: &'a str,
    /// Bootstrap actions.
    pub bootstrap: &'a [Script],
    /// The cluster's own settings.
    pub cluster: &'a Spec,
}

impl Wanted<'_> {
    fn log_uri(&self) -> String {
        format!("s3://{}/{}", self.bucket, bucket::LOGS.trim_end_matches('/'))
    }

    fn actions(&self) -> Vec<BootstrapAction> {
        self.bootstrap.iter().map(|script| script.action(self.bucket)).collect()
    }
}

/// What can be changed in place.
#[derive(Debug, Clone, PartialEq)]
enum Update {
    Resize(Workforce),
    Idle,
    Scaling,
    Protection,
}

/// Updates, and what only a new cluster can have.
fn compare(wanted: &Wanted<'_>, groups: &[Group], found: &Existing) -> (Vec<(Update, String)>, Vec<String>) {
    let (want, have) = (wanted.cluster, &found.cluster);
    let mut new = replacements(wanted, groups, found);
    let (mut updates, others) = compare_instances(wanted, found);
    new.extend(others);
    let minutes = |seconds: Option<i64>| seconds.map_or("never".into(), |s| format!("after {} min", s / 60));
    if found.knows(Setting::Idle) && have.idle_seconds != want.idle_seconds {
        updates.push((
            Update::Idle,
            format!("end when idle {} -> {}", minutes(have.idle_seconds), minutes(want.idle_seconds)),
        ));
    }
    if found.knows(Setting::Scaling) && have.scaling != want.scaling {
        let bounds = |s: Option<(i32, i32)>| s.map_or("none".into(), |(min, max)| format!("{min}-{max}"));
        updates.push((
            Update::Scaling,
            format!("managed scaling {} -> {}", bounds(have.scaling), bounds(want.scaling)),
        ));
    }
    if found.knows(Setting::Protection) && have.protected != want.protected {
        let text = if want.protected { "on" } else { "off" };
        updates.push((Update::Protection, format!("termination protection {text}")));
    }
    (updates, new)
}

/// What only a new cluster can have, of all but its instances.
fn replacements(wanted: &Wanted<'_>, groups: &[Group], found: &Existing) -> Vec<String> {
    let (want, have) = (wanted.cluster, &found.cluster);
    let mut new = Vec::new();
    let mut differ =
        |setting: Setting, what: &str, have: &dyn std::fmt::Display, want: &dyn std::fmt::Display| {
            let (have, want) = (have.to_string(), want.to_string());
            if found.knows(setting) && have != want {
                new.push(format!("{what} {have} -> {want}"));
            }
        };
    let list = |items: &[String]| items.join("+");
    differ(Setting::Release, "release", &have.release, &want.release);
    // A guess, on the safe side: EMR gives names in its own case, whatever case they were asked for in.
    if !same_names(&have.applications, &want.applications) {
        differ(Setting::Applications, "applications", &list(&have.applications), &list(&want.applications));
    }
    differ(Setting::Logs, "logs", &have.log_uri, &wanted.log_uri());
    differ(Setting::ServiceRole, "service role", &have.service_role, &wanted.service_role);
    differ(Setting::Profile, "node role", &have.profile, &wanted.node_role);
    differ(
        Setting::SecurityConfiguration,
        "security configuration",
        &have.security_configuration,
        &wanted.security_configuration,
    );
    let image = |id: &Option<String>| id.clone().unwrap_or_else(|| "of the release".into());
    differ(Setting::Image, "machine image", &image(&have.image), &image(&want.image));
    let gib = |gb: i32| format!("{gb} GiB");
    differ(Setting::RootVolume, "root volume", &gib(have.root_gb), &gib(want.root_gb));
    let scripts = |actions: &[BootstrapAction]| {
        let name = |a: &BootstrapAction| {
            let unchecked = if a.sha256.is_none() { ", whose content is not checked" } else { "" };
            format!("{}({}){unchecked}", a.path.trim_start_matches("s3://"), a.args.join(" "))
        };
        if actions.is_empty() {
            "none".into()
        } else {
            actions.iter().map(name).collect::<Vec<_>>().join(", ")
        }
    };
    let actions = wanted.actions();
    differ(Setting::Bootstrap, "bootstrap actions", &scripts(&have.bootstrap), &scripts(&actions));
    differ(
        Setting::Collection,
        "instances by",
        &if have.fleets { "fleets" } else { "groups" },
        &if want.fleets { "fleets" } else { "groups" },
    );
    if !have.subnets.iter().all(|id| wanted.network.subnets.iter().any(|subnet| subnet.id == *id)) {
        differ(
            Setting::Subnets,
            "subnet",
            &list(&have.subnets),
            &wanted.network.subnets.iter().map(|s| &*s.id).collect::<Vec<_>>().join(" or "),
        );
    }
    let network = wanted.network;
    let some = |ids: &[String]| if ids.is_empty() { "none".into() } else { sorted(ids).join("+") };
    let (primary, workers) = ("additional primary security groups", "additional worker security groups");
    differ(
        Setting::AdditionalPrimary,
        primary,
        &some(&have.additional_primary),
        &some(&network.additional_primary),
    );
    differ(
        Setting::AdditionalWorkers,
        workers,
        &some(&have.additional_workers),
        &some(&network.additional_workers),
    );
    let mut pairs = vec![
        (Setting::PrimaryGroup, "primary security group", &have.primary_group, &network.primary),
        (Setting::WorkerGroup, "worker security group", &have.worker_group, &network.workers),
    ];
    if network.is_private {
        pairs.push((Setting::AccessGroup, "access security group", &have.access_group, &network.access));
    }
    for (setting, what, id, name) in pairs {
        if network::find(wanted.network, name, groups).is_none_or(|group| group.id != *id) {
            differ(setting, what, id, name);
        }
    }
    if found.knows(Setting::Configurations) {
        let (have, want) = (&have.configurations, &want.configurations);
        let names: BTreeSet<_> =
            have.keys().chain(want.keys()).filter(|n| have.get(*n) != want.get(*n)).collect();
        new.extend(names.iter().map(|name| format!("configuration {name}")));
    }
    new
}

/// Whether two lists, in any order and any case, name the same.
fn same_names(one: &[String], other: &[String]) -> bool {
    let sorted = |names: &[String]| {
        let mut names: Vec<_> = names.iter().map(|name| name.to_lowercase()).collect();
        names.sort();
        names.dedup();
        names
    };
    sorted(one) == sorted(other)
}

/// The same of its instances, by role. Where EMR scales it, it chooses their number.
fn compare_instances(wanted: &Wanted<'_>, found: &Existing) -> (Vec<(Update, String)>, Vec<String>) {
    let (mut updates, mut new) = (Vec::new(), Vec::new());
    if !found.knows(Setting::Workforce) {
        return (updates, new);
    }
    let fixed = wanted.cluster.scaling.is_none();
    for role in [Role::Primary, Role::Core, Role::Task] {
        let side = |all: &[Workforce]| all.iter().find(|w| w.role == role).cloned();
        let (have, want) = (side(&found.cluster.workforce), side(&wanted.cluster.workforce));
        let name = role.name();
        match (have, want) {
            (Some(have), Some(want)) => {
                let kinds = |w: &Workforce| {
                    let mut types = w.types.clone();
                    types.sort();
                    types.join("/")
                };
                if kinds(&have) != kinds(&want) {
                    new.push(format!("{name} nodes {} -> {}", kinds(&have), kinds(&want)));
                } else if have.spot != want.spot && have.count > 0 {
                    let market = |w: &Workforce| if w.spot { "Spot" } else { "on demand" };
                    new.push(format!("{name} nodes {} -> {}", market(&have), market(&want)));
                } else if have.ebs_gb.is_some() && have.ebs_gb != want.ebs_gb {
                    new.push(format!(
                        "{name} volumes {} -> {} GiB",
                        have.ebs_gb.unwrap_or(0),
                        want.ebs_gb.unwrap_or(0)
                    ));
                } else if have.count != want.count && fixed {
                    let reason = format!("{name} nodes {} -> {}", have.count, want.count);
                    updates.push((Update::Resize(want), reason));
                }
            }
            (None, Some(want)) if role == Role::Task => {
                let reason = format!("{name} nodes 0 -> {}", want.count);
                updates.push((Update::Resize(want), reason));
            }
            (Some(have), None) if role == Role::Task => {
                if have.count > 0 && fixed {
                    let reason = format!("{name} nodes {} -> 0", have.count);
                    updates.push((Update::Resize(Workforce { count: 0, ..have }), reason));
                }
            }
            (None, None) => {}
            (have, _) => new.push(format!("{} {name} nodes", if have.is_some() { "no" } else { "with" })),
        }
    }
    (updates, new)
}

/// What there is to do. The oldest usable cluster is the one; others are too many.
pub fn diff(
    wanted: &Wanted<'_>,
    clusters: &[Existing],
    groups: &[Group],
    notes: &mut Vec<String>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut usable = clusters.iter().filter(|c| is_standing(c));
    match usable.next() {
        None => changes.push(Change::new(
            Resource::Cluster,
            wanted.names.prefix().trim_end_matches('-'),
            Action::Create,
            Vec::new(),
        )),
        Some(found) => {
            let (updates, new) = compare(wanted, groups, found);
            let change = if new.is_empty() {
                Change::of(
                    Resource::Cluster,
                    &found.id,
                    true,
                    updates.into_iter().map(|(_, reason)| reason).collect(),
                )
            } else {
                Change::new(Resource::Cluster, &found.id, Action::Replace, new)
            };
            changes.push(change);
            let has = |setting| match setting {
                Setting::AccessGroup => wanted.network.is_private,
                Setting::AdditionalPrimary => !wanted.network.additional_primary.is_empty(),
                Setting::AdditionalWorkers => !wanted.network.additional_workers.is_empty(),
                _ => true,
            };
            notes.extend(found.unread.iter().filter(|unread| has(unread.setting)).map(|unread| {
                let why = unread.error.as_ref().map_or("EMR does not say".into(), ToString::to_string);
                format!(
                    "the cluster's {} cannot be read, and is taken to be right: {why}",
                    unread.setting.title()
                )
            }));
            if wanted.key_pair.is_some_and(|ours| ours != found.cluster.key_pair) {
                notes.push(format!(
                    "the cluster was made from another machine: its key pair is {}, so there are no live logs here",
                    found.cluster.key_pair
                ));
            }
        }
    }
    for extra in usable {
        changes.push(Change::new(
            Resource::Cluster,
            &extra.id,
            Action::Delete,
            vec!["the project has another cluster".into()],
        ));
    }
    changes
}

/// Changes the cluster where it is, or starts one; its id. Everything that it needs has to be there.
pub async fn apply(
    wanted: &Wanted<'_>,
    clusters: &[Existing],
    groups: &[Group],
    aws: &Aws,
) -> Result<String> {
    let want = wanted.cluster;
    if let Some(found) = clusters.iter().find(|c| is_standing(c)) {
        let (updates, _) = compare(wanted, groups, found);
        for (update, _) in updates {
            match update {
                Update::Resize(workforce) => aws.resize(&found.id, want.fleets, &workforce).await?,
                Update::Idle => aws.put_idle_timeout(&found.id, want.idle_seconds).await?,
                Update::Scaling => aws.put_scaling(&found.id, want.scaling, want.fleets).await?,
                Update::Protection => aws.protect_cluster(&found.id, want.protected).await?,
            }
        }
        return Ok(found.id.clone());
    }
    start(wanted, None, aws).await
}

/// The cluster that is to stand in the place of one that ended before it began: one that somebody else has made meanwhile,
/// or one that is made now.
pub async fn stand(wanted: &Wanted<'_>, aws: &Aws) -> Result<String> {
    match living(wanted.names, aws).await?.into_iter().find(is_standing) {
        Some(found) => Ok(found.id),
        None => start(wanted, None, aws).await,
    }
}

/// The cluster that was made for a run alone.
pub async fn of_run(names: &Names, run: &str, aws: &Aws) -> Result<Option<String>> {
    let clusters = living(names, aws).await?;
    Ok(clusters.into_iter().find(|c| c.cluster.tags.get(RUN).is_some_and(|id| id == run)).map(|c| c.id))
}

/// Clusters that were made for a run alone since then, in seconds since 1970, and have ended.
pub async fn ended_of_run(names: &Names, run: &str, since: Option<i64>, aws: &Aws) -> Result<Vec<String>> {
    const ENDED: &[&str] = &["TERMINATED", "TERMINATED_WITH_ERRORS"];
    let mut ended = Vec::new();
    // This machine's clock and AWS's may differ.
    for listed in aws.list_clusters(since.map(|since| since - 3600), ENDED).await? {
        if !listed.name.starts_with(&names.prefix()) {
            continue;
        }
        let Some(Existing { id, cluster, .. }) = aws.describe_cluster(&listed.id).await? else { continue };
        if names.owns(&cluster.tags) && cluster.tags.get(RUN).is_some_and(|its| its == run) {
            ended.push(id);
        }
    }
    Ok(ended)
}

/// Starts a cluster: one that stays; or, for a run alone, one that ends with its step.
pub async fn start(wanted: &Wanted<'_>, run: Option<(&str, StepSpec)>, aws: &Aws) -> Result<String> {
    let groups = network::observe(wanted.names, wanted.network, aws).await?;
    let group = |name: &str| {
        network::find(wanted.network, name, &groups).map(|group| group.id.clone()).ok_or_else(|| {
            Error::new(Kind::Refused, format!("security group {name} is gone")).help("fruitctl up")
        })
    };
    let want = wanted.cluster;
    let deadline = clock::rfc3339(clock::now() + i64::from(want.max_hours) * 3600);
    let mut tags: Tags = wanted.names.tags();
    tags.insert(DEADLINE.into(), deadline);
    tags.insert(OWNER.into(), tag_value(&aws.caller));
    if let Some((id, _)) = &run {
        tags.insert(RUN.into(), (*id).to_owned());
    }
    let cluster = Cluster {
        // Drawn before the call: the call is found again by it.
        name: format!("{}{:08x}", wanted.names.prefix(), fastrand::u32(..)),
        tags,
        release: want.release.clone(),
        applications: want.applications.clone(),
        log_uri: wanted.log_uri(),
        service_role: wanted.service_role.to_owned(),
        profile: wanted.node_role.to_owned(),
        subnets: wanted
            .network
            .subnets
            .iter()
            .map(|s| s.id.clone())
            .take(if want.fleets { 16 } else { 1 })
            .collect(),
        key_pair: wanted.key_pair.unwrap_or_default().to_owned(),
        primary_group: group(&wanted.network.primary)?,
        worker_group: group(&wanted.network.workers)?,
        access_group: if wanted.network.is_private { group(&wanted.network.access)? } else { String::new() },
        additional_primary: wanted.network.additional_primary.clone(),
        additional_workers: wanted.network.additional_workers.clone(),
        security_configuration: wanted.security_configuration.to_owned(),
        image: want.image.clone(),
        fleets: want.fleets,
        workforce: want.workforce.clone(),
        configurations: want.configurations.clone(),
        bootstrap: wanted.actions(),
        idle_seconds: want.idle_seconds,
        scaling: want.scaling,
        // One that ends with its run has nothing to be protected from.
        protected: want.protected && run.is_none(),
        root_gb: want.root_gb,
        keep_alive: run.is_none(),
        steps: run.into_iter().map(|(_, step)| step).collect(),
    };
    let id = launch(&cluster, aws).await?;
    // Whoever slept through the call may have made a cluster too many.
    match fence::prove().await {
        Err(lost) if lost.kind == Kind::Locked => {
            let end = async {
                match aws.describe_cluster(&id).await? {
                    Some(found) => terminate(&found, aws).await,
                    None => Ok(()),
                }
            };
            let ends = if fence::lifted(end).await.is_ok() { "ends" } else { "costs money every hour" };
            Err(lost.leftover(format!("cluster {id} in {}, which {ends}", aws.region)))
        }
        _ => Ok(id),
    }
}

/// Starts a cluster once, whatever happens to the answer.
pub async fn launch(cluster: &Cluster, aws: &Aws) -> Result<String> {
    // This machine's clock and AWS's may differ.
    let since = clock::now() - 3600;
    for _ in 0..3 {
        match aws.run_job_flow(cluster).await {
            Ok(id) => return Ok(id),
            Err(error) if !error.is_lost() => return Err(refused(error, cluster)),
            Err(_) => {}
        }
        // Lists lag behind: look for a while before believing that there is none.
        let look = async || {
            let clusters = aws.list_clusters(Some(since), &[]).await.map_err(|error| {
                Error::from(error)
                    .leftover(format!("perhaps a cluster named {} in {}", cluster.name, aws.region))
                    .help("fruitctl up")
            })?;
            Ok(clusters.into_iter().find(|c| c.name == cluster.name).map(|found| found.id))
        };
        if let Some(id) = wait::until(wait::Every { first: 5.0, then: 5.0, looks: 6 }, look).await? {
            return Ok(id);
        }
    }
    Err(Error::new(
        Kind::TimedOut,
        format!(
            "RunJobFlow was not answered three times, and no cluster {} appeared in {}",
            cluster.name, aws.region
        ),
    )
    .leftover("most likely nothing")
    .help("fruitctl status, then: fruitctl up"))
}

/// What EMR's refusals mean.
fn refused(error: ApiError, cluster: &Cluster) -> Error {
    let next = match error.reason() {
        Some(Reason::InstanceProfile) => format!(
            "check that the role and the instance profile {} have one name and belong together: fruitctl plan",
            cluster.profile
        ),
        Some(Reason::ServiceRole) => {
            format!("check who may assume the role {}: fruitctl plan", cluster.service_role)
        }
        Some(Reason::Release) => "set release under [cluster] to one of: aws emr list-release-labels".into(),
        Some(Reason::InstanceType) => format!(
            "set types under [cluster] to what {} supports: aws emr list-supported-instance-types --release-label {}",
            cluster.release, cluster.release
        ),
        _ if error.is_organizations() => Error::from(error.clone()).help.unwrap_or_default(),
        _ if error.kind() == Kind::Denied => format!(
            "allow elasticmapreduce:RunJobFlow, and iam:PassRole on {} and {}: fruitctl policy",
            cluster.service_role, cluster.profile
        ),
        _ => "fruitctl doctor".into(),
    };
    Error::new(error.kind(), error.to_string())
        .leftover("no cluster; bucket, roles and network are there")
        .help(next)
}

/// What a tag's value may hold.
fn tag_value(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_alphanumeric() || "_.:/=+-@ ".contains(c) { c } else { '_' })
        .take(256)
        .collect()
}

#[cfg(test)]
mod tests;
