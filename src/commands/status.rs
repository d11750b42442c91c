//! `fruitctl status`: what exists, how the cluster is, and dollars so far.

use serde::Serialize;

use crate::app;
use crate::aws::Aws;
use crate::aws::emr::{EndReason, Existing, Instance, InstanceState, Setting, Status};
use crate::cli::{Cli, CloudArgs};
use crate::cost::{PricedNodes, Prices};
use crate::error::Result;
use crate::stack::{DEADLINE, Inventory, Names, cluster, inventory, lock};
use crate::ui::{BAD, BOLD, DIM, GOOD, WARN, seconds};
use crate::{clock, cost, explain, ui};

/// How far back a cluster that failed is of interest, in seconds.
const RECENT: i64 = 2 * 24 * 3600;

/// What `status --json` prints.
#[derive(Serialize)]
struct Report {
    version: u32,
    project: String,
    region: String,
    account: String,
    inventory: Inventory,
    locked_by: Option<String>,
    clusters: Vec<ClusterReport>,
    /// Of a cluster that ended lately with a failure, if there is none now.
    last_failure: Option<String>,
}

#[derive(Serialize)]
struct ClusterReport {
    id: String,
    name: String,
    #[serde(flatten)]
    status: Status,
    release: String,
    primary: Option<String>,
    deadline: Option<String>,
    uptime_seconds: i64,
    dollars_per_hour: f64,
    /// The same at least and at most, under managed scaling.
    dollars_per_hour_range: Option<(f64, f64)>,
    /// None where EMR does not tell the instances.
    dollars_so_far: Option<f64>,
    /// The day of the price list.
    prices_of: String,
    /// What the dollars leave out: what has no price, or of which EMR does not say enough.
    without_price: Vec<String>,
    /// None where EMR does not tell them.
    instances: Option<Vec<Instance>>,
    /// Why it does not.
    instances_untold: Option<String>,
}

/// Prints it.
pub fn run(cli: &Cli, args: &CloudArgs) -> Result<()> {
    let config = app::settings(cli, args)?;
    app::block_on(async |_| {
        let (aws, names) = app::connect(&config, app::Access::Reads).await?;
        let bucket = config.bucket.name.clone().unwrap_or_else(|| names.bucket());
        let (inventory, clusters) =
            tokio::try_join!(inventory(&names, &bucket, &aws), cluster::observe(&names, &aws))?;
        let prices = cost::prices(&config, clusters.iter().flat_map(|c| &c.cluster.workforce), &aws).await;
        let mut reports = Vec::new();
        for found in &clusters {
            reports.push(describe(found, &prices, &aws).await);
        }
        let locked_by = match &inventory.bucket {
            Some(bucket) => lock::holder(&aws, bucket, &lock::Name::stack())
                .await?
                .map(|h| format!("{} for 'fruitctl {}'", h.owner, h.doing)),
            None => None,
        };
        let works = clusters.iter().any(|c| c.status.is_usable());
        let last_failure = if works { None } else { last_failure(&names, &aws).await? };
        let report = Report {
            version: 1,
            project: names.project,
            region: names.region,
            account: names.account,
            inventory,
            locked_by,
            clusters: reports,
            last_failure,
        };
        if args.json {
            ui::json(&report)
        } else {
            print(&report)
        }
        Ok(())
    })
}

async fn describe(found: &Existing, prices: &Prices, aws: &Aws) -> ClusterReport {
    let (instances, instances_untold) = match aws.instances(&found.id).await {
        Ok(instances) => (Some(instances), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let cluster = &found.cluster;
    // Who is not told does not know; and nodes have public addresses unless their subnets are private.
    let public = instances.as_ref().is_none_or(|all| all.iter().any(|i| i.public));
    let nodes = PricedNodes::of(cluster, public);
    let planned = prices.cluster(&aws.region, &nodes);
    let spent = instances.as_ref().map(|all| prices.so_far(&aws.region, all, &nodes.counting(None)));
    let mut without_price = planned.unknown;
    without_price.extend(spent.iter().flat_map(|spent| spent.unknown.clone()));
    if !found.knows(Setting::Workforce) {
        without_price.push("nodes that EMR does not tell".into());
    }
    if cluster.fleets {
        without_price.push("data volumes of fleets, which EMR does not tell".into());
    }
    without_price.sort();
    without_price.dedup();
    ClusterReport {
        id: found.id.clone(),
        name: cluster.name.clone(),
        status: found.status.clone(),
        release: cluster.release.clone(),
        primary: found.primary_dns.clone(),
        deadline: cluster.tags.get(DEADLINE).cloned(),
        uptime_seconds: found.status.created.map_or(0, |created| clock::now() - created),
        dollars_per_hour: planned.total,
        dollars_per_hour_range: planned.range,
        dollars_so_far: spent.map(|spent| spent.dollars),
        prices_of: planned.as_of,
        without_price,
        instances,
        instances_untold,
    }
}

/// Why the project's latest cluster failed, if it did, and lately.
async fn last_failure(names: &Names, aws: &Aws) -> Result<Option<String>> {
    let states = ["TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"];
    let mut ended = aws.list_clusters(Some(clock::now() - RECENT), &states).await?;
    ended.retain(|c| c.name.starts_with(&names.prefix()));
    ended.sort_by_key(|c| std::cmp::Reverse(c.status.created));
    for listed in ended {
        let Some(found) = aws.describe_cluster(&listed.id).await? else { continue };
        if names.owns(&found.cluster.tags) {
            let failed =
                !matches!(found.status.reason(), EndReason::Idle | EndReason::Terminated | EndReason::Done);
            return Ok(if failed { Some(explain::ended(&found, aws).await.to_string()) } else { None });
        }
    }
    Ok(None)
}

/// What a cluster costs, and what is left out of that.
fn dollars(c: &ClusterReport) -> Vec<String> {
    let least = if c.without_price.is_empty() { "" } else { "at least " };
    let so_far = c.dollars_so_far.map_or("unknown".to_owned(), |dollars| format!("{least}${dollars:.2}"));
    let range = c
        .dollars_per_hour_range
        .map_or(String::new(), |(least, most)| format!(" (${least:.2} to ${most:.2} under managed scaling)"));
    let mut lines = vec![format!(
        "  {so_far} so far, {least}${:.2} an hour{range}; prices of {}",
        c.dollars_per_hour, c.prices_of
    )];
    if !c.without_price.is_empty() {
        let what = c.without_price.join(", ");
        lines.push(format!("  {WARN}no price of{WARN:#} {what}: set it under [prices] in fruitctl.toml"));
    }
    if let Some(why) = &c.instances_untold {
        lines.push(format!("  {WARN}instances unknown:{WARN:#} {why}"));
    }
    lines
}

fn print(report: &Report) {
    let mut lines = vec![format!(
        "{BOLD}{}{BOLD:#} in {BOLD}{}{BOLD:#} {DIM}account {}{DIM:#}",
        report.project, report.region, report.account
    )];
    for c in &report.clusters {
        let colour = if c.status.state.takes_steps() { GOOD } else { WARN };
        lines.push(format!(
            "cluster {} {colour}{}{colour:#} for {}, {}{}",
            c.id,
            c.status.state.in_words(),
            seconds(c.uptime_seconds as f64),
            c.release,
            c.primary.as_ref().map(|p| format!(", primary node {p}")).unwrap_or_default()
        ));
        lines.extend(dollars(c));
        if let Some(deadline) = &c.deadline {
            let late = clock::parse(deadline).is_some_and(|d| d < clock::now());
            let note =
                if late { format!(" {BAD}it has passed: fruitctl sweep{BAD:#}") } else { String::new() };
            lines.push(format!("  deadline {deadline}{note}"));
        }
        let running = c.instances.iter().flatten().filter(|i| i.state != InstanceState::Terminated);
        lines.extend(running.map(|i| {
            format!("  {} {} {} {} {}", i.id, i.kind, i.market.to_lowercase(), i.state.in_words(), i.address)
        }));
    }
    if report.clusters.is_empty() {
        lines.push("no cluster".into());
    }
    let others = Inventory { clusters: Vec::new(), ..report.inventory.clone() }.lines();
    lines.extend(others);
    let contents = &report.inventory.contents;
    if !contents.is_empty() {
        lines.push(format!("  {} in the bucket, {:.1} MB", contents.text(), contents.bytes as f64 / 1e6));
    }
    if let Some(owner) = &report.locked_by {
        lines.push(format!("{WARN}locked{WARN:#} by {owner}"));
    }
    if let Some(failure) = &report.last_failure {
        lines.push(format!("{BAD}the last cluster failed:{BAD:#} {failure}"));
    }
    ui::say(&lines.join("\n"));
}
