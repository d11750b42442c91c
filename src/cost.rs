//! Dollars: what a cluster costs an hour, and what instances have cost. By a table of list prices that carries its date
//! and sources, and by what `[prices]` says instead. What has no price is named; it never counts as nothing.
//!
//! Within a family, AWS's prices grow with the size, so the table has one price a family: of its `xlarge`.
//! `release/prices` writes the table, and checks that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aws::Aws;
use crate::aws::emr::{Cluster, Instance, InstanceState, Role, Workforce};
use crate::config::{Config, PricesConfig};
use crate::{bundle, clock};

/// Hours in AWS's month.
const MONTH: f64 = 730.0;

/// Seconds before an instance is ready that are taken to be billed: EC2 bills from the state `running`, and EMR tells
/// when an instance was asked for and when it was ready. `running` lies between, before boot and bootstrap actions.
/// Guess: in AWS's example of the answer, all of it takes 7 minutes.
/// Sources: <https://docs.aws.amazon.com/cli/latest/reference/emr/list-instances.html>,
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html>,
/// <https://docs.aws.amazon.com/emr/latest/APIReference/API_InstanceTimeline.html>
const STARTUP: i64 = 900;

/// Seconds that are billed at least.
/// Source: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html>
const LEAST: i64 = 60;

/// The table, as kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    as_of: String,
    emr_share: f64,
    emr_share_of: String,
    ipv4: f64,
    regions: BTreeMap<String, Region>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Region {
    ebs_gb_month: Option<f64>,
    xlarge: BTreeMap<String, f64>,
}

/// Prices: the table, what the configuration says instead, and present Spot prices.
#[derive(Debug, Clone)]
pub struct Prices {
    table: Table,
    config: PricesConfig,
    /// Instance type -> dollars an hour now.
    pub spot: BTreeMap<String, f64>,
}

/// What the price of a cluster depends on.
#[derive(Debug, Clone, Copy)]
pub struct PricedNodes<'a> {
    /// By role.
    pub workforce: &'a [Workforce],
    /// GiB of root volume per node.
    pub root_gb: i32,
    /// Bounds of core and task instances.
    pub scaling: Option<(i32, i32)>,
    /// They have public addresses.
    pub public: bool,
}

impl<'a> PricedNodes<'a> {
    /// Those of a cluster; `public`: they have public addresses.
    pub fn of(cluster: &'a Cluster, public: bool) -> PricedNodes<'a> {
        let Cluster { workforce, root_gb, scaling, .. } = cluster;
        PricedNodes { workforce, root_gb: *root_gb, scaling: *scaling, public }
    }

    /// How to count what they have cost. Nodes have one root and one data volume each; the largest stands for all.
    pub fn counting(&self, since: Option<i64>) -> Counting {
        let data = self.workforce.iter().filter_map(|w| w.ebs_gb).max().unwrap_or(0);
        Counting { gb: self.root_gb + data, public: self.public, since, cautious: false }
    }
}

/// How the cost of instances is counted.
#[derive(Debug, Clone, Copy)]
pub struct Counting {
    /// GiB of volumes per node.
    pub gb: i32,
    /// They have public addresses.
    pub public: bool,
    /// Seconds since 1970 before which nothing counts: who uses a cluster that was there answers for his time alone.
    pub since: Option<i64>,
    /// From when an instance was asked for, whatever its state: too much rather than too little, for a limit.
    pub cautious: bool,
}

/// What a cluster costs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Hourly {
    /// Dollars an hour in all, with as many instances as are asked for.
    pub total: f64,
    /// Of it, instances.
    pub ec2: f64,
    /// Of it, EMR's fee.
    pub emr: f64,
    /// Of it, volumes.
    pub ebs: f64,
    /// Of it, public addresses.
    pub ipv4: f64,
    /// Dollars an hour with as few and with as many instances as managed scaling may have.
    pub range: Option<(f64, f64)>,
    /// The table's date.
    pub as_of: String,
    /// What has no price here, such as instance types; it is left out of the sums.
    pub unknown: Vec<String>,
}

/// What instances have cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spent {
    /// Dollars, of what has a price.
    pub dollars: f64,
    /// What has none, or of which EMR does not say enough.
    pub unknown: Vec<String>,
}

impl Spent {
    /// Dollars, where all is known.
    pub fn known(&self) -> Option<f64> {
        self.unknown.is_empty().then_some(self.dollars)
    }
}

/// An hour of one node.
#[derive(Debug, Clone, Copy, Default)]
struct Hour {
    ec2: f64,
    emr: f64,
    ebs: f64,
    ipv4: f64,
}

impl Hour {
    fn total(&self) -> f64 {
        self.ec2 + self.emr + self.ebs + self.ipv4
    }
}

/// The table, with present Spot prices where Spot is used. Without permission to ask, prices on demand will do: they are
/// higher.
pub async fn prices<'a>(
    config: &Config,
    workforce: impl Iterator<Item = &'a Workforce>,
    aws: &Aws,
) -> Prices {
    let mut prices = Prices::new(&config.prices);
    let types: Vec<String> = workforce.filter(|w| w.spot).flat_map(|w| w.types.clone()).collect();
    if !types.is_empty() {
        prices.spot = aws.spot_prices(&types).await.unwrap_or_default();
    }
    prices
}

impl Prices {
    /// The table, with the configuration's prices over it.
    pub fn new(config: &PricesConfig) -> Prices {
        let table = toml::from_str(bundle::PRICES).expect("the table of prices is TOML");
        Prices { table, config: config.clone(), spot: BTreeMap::new() }
    }

    /// The table's date.
    pub fn as_of(&self) -> &str {
        &self.table.as_of
    }

    /// How old the table is, in days.
    pub fn age_days(&self) -> i64 {
        clock::days_since(&self.table.as_of).unwrap_or(0)
    }

    /// On demand, dollars an hour.
    fn ec2(&self, region: &str, kind: &str) -> Option<f64> {
        self.config.ec2.get(kind).copied().or_else(|| self.listed(region, kind))
    }

    fn listed(&self, region: &str, kind: &str) -> Option<f64> {
        let (family, size) = kind.split_once('.')?;
        let factor = match size {
            "medium" => 0.25,
            "large" => 0.5,
            "xlarge" => 1.0,
            _ => size.strip_suffix("xlarge")?.parse::<u32>().ok()?.into(),
        };
        Some(self.table.regions.get(region)?.xlarge.get(family)? * factor)
    }

    /// EMR's fee, dollars an hour.
    fn emr(&self, kind: &str) -> Option<f64> {
        let listed = || Some(self.listed(&self.table.emr_share_of, kind)? * self.table.emr_share);
        self.config.emr.get(kind).copied().or_else(listed)
    }

    /// Dollars an hour of so many GiB; who has none pays nothing.
    fn ebs(&self, region: &str, gb: i32) -> Option<f64> {
        let listed = || self.table.regions.get(region).and_then(|r| r.ebs_gb_month);
        let price = if gb == 0 { Some(0.0) } else { self.config.ebs.or_else(listed) };
        price.map(|price| price * f64::from(gb) / MONTH)
    }

    /// An hour of a node of one of these types: of the dearest. What has no price is added to `unknown`.
    fn hour(
        &self,
        region: &str,
        types: &[String],
        spot: bool,
        nodes: &Counting,
        unknown: &mut Vec<String>,
    ) -> Hour {
        let mut dearest = Hour::default();
        for kind in types {
            let now = spot.then(|| self.spot.get(kind)).flatten().copied();
            match now.or_else(|| self.ec2(region, kind)).zip(self.emr(kind)) {
                Some((ec2, emr)) if ec2 + emr > dearest.total() => {
                    dearest = Hour { ec2, emr, ..Hour::default() }
                }
                Some(_) => {}
                None => unknown.push(kind.clone()),
            }
        }
        let ebs = self.ebs(region, nodes.gb).unwrap_or_else(|| {
            unknown.push("gp3 volumes".into());
            0.0
        });
        Hour { ebs, ipv4: if nodes.public { self.table.ipv4 } else { 0.0 }, ..dearest }
    }

    /// A cluster of these nodes. Of several types, the dearest counts; of Spot instances, the present price, or the one
    /// on demand where that is not known.
    pub fn cluster(&self, region: &str, nodes: &PricedNodes<'_>) -> Hourly {
        let mut estimate = Hourly { as_of: self.table.as_of.clone(), ..Hourly::default() };
        let (mut fixed, mut workers) = (0.0, Vec::new());
        for w in nodes.workforce {
            let gb = w.ebs_gb.unwrap_or(0) + nodes.root_gb;
            let counting = Counting { gb, public: nodes.public, since: None, cautious: false };
            let hour = self.hour(region, &w.types, w.spot, &counting, &mut estimate.unknown);
            let count = f64::from(w.count);
            estimate.ec2 += hour.ec2 * count;
            estimate.emr += hour.emr * count;
            estimate.ebs += hour.ebs * count;
            estimate.ipv4 += hour.ipv4 * count;
            match w.role {
                Role::Primary => fixed += hour.total() * count,
                Role::Core | Role::Task => workers.push(hour.total()),
            }
        }
        estimate.unknown.sort();
        estimate.unknown.dedup();
        estimate.total = estimate.ec2 + estimate.emr + estimate.ebs + estimate.ipv4;
        estimate.range = nodes.scaling.filter(|_| !workers.is_empty()).map(|(least, most)| {
            let cheapest = workers.iter().copied().fold(f64::INFINITY, f64::min);
            let dearest = workers.iter().copied().fold(0.0, f64::max);
            (fixed + f64::from(least) * cheapest, fixed + f64::from(most) * dearest)
        });
        estimate
    }

    /// What the instances of some clusters have cost.
    ///
    /// # Errors
    /// Those of asking for them.
    pub async fn of_clusters(
        &self,
        ids: &[&str],
        counting: &Counting,
        aws: &Aws,
    ) -> crate::error::Result<Spent> {
        let mut sum = Spent::default();
        for id in ids {
            let spent = self.so_far(&aws.region, &aws.instances(id).await?, counting);
            sum.dollars += spent.dollars;
            sum.unknown.extend(spent.unknown);
        }
        Ok(sum)
    }

    /// What instances have cost while they ran, until their end or until now.
    pub fn so_far(&self, region: &str, instances: &[Instance], counting: &Counting) -> Spent {
        let mut spent = Spent::default();
        for i in instances.iter().filter(|i| is_billed(i) || counting.cautious && !i.id.is_empty()) {
            let Some(created) = i.created else {
                spent.unknown.push(format!("the hours of {}", name_of(i)));
                continue;
            };
            if i.kind.is_empty() {
                spent.unknown.push(format!("the type of {}", name_of(i)));
                continue;
            }
            let ready = i.ready.filter(|_| !counting.cautious);
            let start = ready.map_or(created, |ready| created.max(ready - STARTUP));
            let end = i.ended.unwrap_or_else(clock::now).max(start + LEAST);
            let hours = (end - start.max(counting.since.unwrap_or(start))).max(0) as f64 / 3600.0;
            let types = std::slice::from_ref(&i.kind);
            let hour = self.hour(region, types, i.market == "SPOT", counting, &mut spent.unknown);
            spent.dollars += hour.total() * hours;
        }
        spent.unknown.sort();
        spent.unknown.dedup();
        spent
    }
}

/// Whether an instance is one that runs or ran: what EMR still waits for, and what never came, costs nothing. What EMR
/// provisions is taken to be `pending` at EC2 (guess), which is not billed.
/// Source: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html>
fn is_billed(i: &Instance) -> bool {
    match i.state {
        InstanceState::AwaitingFulfillment | InstanceState::Provisioning => false,
        InstanceState::Terminated => !i.id.is_empty(),
        InstanceState::Bootstrapping | InstanceState::Running | InstanceState::Unknown => true,
    }
}

fn name_of(i: &Instance) -> &str {
    if i.id.is_empty() { "an instance" } else { &i.id }
}

impl Hourly {
    /// `$0.49`, `$0.49 to $1.64`, or `at least $0.49`.
    pub fn short(&self) -> String {
        let least = if self.unknown.is_empty() { "" } else { "at least " };
        match self.range {
            Some((low, high)) => format!("{least}${low:.2} to ${high:.2}"),
            None => format!("{least}${:.2}", self.total),
        }
    }

    /// `$0.49 an hour (EC2 0.36, EMR about 0.12, EBS 0.01, IPv4 0.01)`. EMR's fee is by a rule that was not verified.
    pub fn text(&self) -> String {
        let parts = format!(
            "EC2 {:.2}, EMR about {:.2}, EBS {:.2}, IPv4 {:.2}",
            self.ec2, self.emr, self.ebs, self.ipv4
        );
        match self.range {
            Some(_) => format!(
                "{} an hour under managed scaling; ${:.2} to begin with ({parts})",
                self.short(),
                self.total
            ),
            None => format!("{} an hour ({parts})", self.short()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workforce(role: Role, kind: &str, count: i32, spot: bool) -> Workforce {
        Workforce { role, types: vec![kind.into()], count, spot, ebs_gb: Some(70) }
    }

    fn estimate(prices: &Prices, w: &[Workforce], scaling: Option<(i32, i32)>, public: bool) -> Hourly {
        prices.cluster("eu-west-3", &PricedNodes { workforce: w, root_gb: 30, scaling, public })
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn a_cluster_costs_instances_fee_volumes_and_addresses() {
        let prices = Prices::new(&PricesConfig::default());
        let one = estimate(&prices, &[workforce(Role::Core, "m5.xlarge", 1, false)], None, true);
        assert!(near(one.ec2, 0.224) && near(one.emr, 0.048) && near(one.ipv4, 0.005), "{one:?}");
        assert!(near(one.ebs, 100.0 * 0.0928 / 730.0));
        let two = estimate(&prices, &[workforce(Role::Core, "m5.2xlarge", 2, false)], None, false);
        assert!(near(two.ec2, 4.0 * one.ec2) && near(two.ebs, 2.0 * one.ebs) && two.ipv4 == 0.0);
        assert!(near(two.total, two.ec2 + two.emr + two.ebs));
    }

    #[test]
    fn managed_scaling_costs_a_range() {
        let prices = Prices::new(&PricesConfig::default());
        let nodes =
            [workforce(Role::Primary, "m5.xlarge", 1, false), workforce(Role::Core, "m5.xlarge", 1, false)];
        let one = estimate(&prices, &nodes[..1], None, true).total;
        let all = estimate(&prices, &nodes, Some((1, 8)), true);
        let (least, most) = all.range.unwrap();
        assert!(near(least, 2.0 * one) && near(most, 9.0 * one) && near(all.total, 2.0 * one));
        assert!(
            all.text().starts_with("$0.58 to $2.61 an hour under managed scaling; $0.58"),
            "{}",
            all.text()
        );
        assert_eq!(estimate(&prices, &nodes, None, true).range, None);
    }

    #[test]
    fn what_has_no_price_is_said() {
        let mut prices = Prices::new(&PricesConfig::default());
        let w = |spot| [workforce(Role::Core, "x9.xlarge", 2, spot)];
        let unpriced = estimate(&prices, &w(false), None, false);
        assert_eq!(unpriced.unknown, ["x9.xlarge"]);
        assert!(unpriced.text().starts_with("at least"));
        // Of a fleet's types, one.
        let mixed = Workforce { types: vec!["m5.xlarge".into(), "x9.xlarge".into()], ..w(false)[0].clone() };
        assert_eq!(estimate(&prices, &[mixed], None, false).unknown, ["x9.xlarge"]);
        // Volumes of a region that is not in the list.
        let nodes = PricedNodes { workforce: &w(false), root_gb: 30, scaling: None, public: false };
        assert_eq!(prices.cluster("xx-north-1", &nodes).unknown, ["gp3 volumes", "x9.xlarge"]);
        prices.config.ec2.insert("x9.xlarge".into(), 1.0);
        prices.config.emr.insert("x9.xlarge".into(), 0.25);
        assert_eq!(estimate(&prices, &w(false), None, false).ec2, 2.0);
        // Spot: the present price; the fee stays.
        prices.spot.insert("x9.xlarge".into(), 0.3);
        let spot = estimate(&prices, &w(true), None, false);
        assert_eq!((spot.ec2, spot.emr), (0.6, 0.5));
    }

    /// Created at 0.
    fn instance(state: InstanceState, ready: Option<i64>, ended: Option<i64>) -> Instance {
        Instance {
            id: "i-1".into(),
            kind: "m5.xlarge".into(),
            market: "ON_DEMAND".into(),
            state,
            address: String::new(),
            public: true,
            created: Some(0),
            ready,
            ended,
        }
    }

    fn spent(i: &Instance, since: Option<i64>) -> Spent {
        counted(i, Counting { gb: 0, public: true, since, cautious: false })
    }

    fn counted(i: &Instance, counting: Counting) -> Spent {
        Prices::new(&PricesConfig::default()).so_far("eu-west-3", std::slice::from_ref(i), &counting)
    }

    /// Dollars an hour of that instance.
    const HOUR: f64 = 0.224 + 0.048 + 0.005;

    #[test]
    fn what_does_not_run_costs_nothing() {
        for state in [InstanceState::AwaitingFulfillment, InstanceState::Provisioning] {
            assert_eq!(spent(&instance(state, None, None), None), Spent::default());
        }
        let never = Instance { id: String::new(), ..instance(InstanceState::Terminated, None, Some(7200)) };
        assert_eq!(spent(&never, None), Spent::default());
    }

    #[test]
    fn an_instance_is_billed_from_when_it_runs() {
        // Asked for an hour before it was ready: no boot takes that long.
        let late = instance(InstanceState::Terminated, Some(3600 + STARTUP), Some(7200));
        assert!(near(spent(&late, None).dollars, HOUR));
        // It never was ready: its bootstrap actions failed, and were billed.
        let failed = instance(InstanceState::Terminated, None, Some(3600));
        assert!(near(spent(&failed, None).dollars, HOUR));
        let short = instance(InstanceState::Terminated, None, Some(1));
        assert!(near(spent(&short, None).dollars, HOUR / 60.0));
    }

    #[test]
    fn a_limit_counts_from_when_an_instance_was_asked_for() {
        let cautious = Counting { gb: 0, public: true, since: None, cautious: true };
        let late = instance(InstanceState::Terminated, Some(3600 + STARTUP), Some(7200));
        assert!(near(counted(&late, cautious).dollars, 2.0 * HOUR));
        let provisioning = instance(InstanceState::Provisioning, None, Some(3600));
        assert!(near(counted(&provisioning, cautious).dollars, HOUR));
        let never = Instance { id: String::new(), ..instance(InstanceState::Terminated, None, Some(7200)) };
        assert_eq!(counted(&never, cautious), Spent::default());
    }

    #[test]
    fn of_a_cluster_that_was_there_a_run_counts_its_own_time() {
        let i = instance(InstanceState::Terminated, Some(60), Some(7200));
        assert!(near(spent(&i, Some(3600)).dollars, HOUR));
        assert!(near(spent(&i, Some(0)).dollars, 2.0 * HOUR));
        assert_eq!(spent(&i, Some(9000)).known(), Some(0.0));
    }

    #[test]
    fn what_is_untold_is_not_nothing() {
        let ran = || instance(InstanceState::Running, None, Some(3600));
        for untold in [
            Instance { created: None, ..ran() },
            Instance { kind: String::new(), ..ran() },
            Instance { kind: "x9.xlarge".into(), ..ran() },
        ] {
            assert_eq!(spent(&untold, None).known(), None, "{untold:?}");
        }
        assert!(near(spent(&instance(InstanceState::Unknown, None, Some(3600)), None).dollars, HOUR));
    }

    /// Whoever writes the table keeps what is used by default, and all regions that it had.
    #[test]
    fn the_table_covers_what_is_used() {
        let prices = Prices::new(&PricesConfig::default());
        for region in ["eu-west-1", "eu-west-3", "eu-central-1", "us-east-1"] {
            for kind in ["m5.xlarge", "m6g.large", "c5.4xlarge", "r6g.12xlarge"] {
                assert!(prices.ec2(region, kind).zip(prices.emr(kind)).is_some(), "{kind} in {region}");
            }
            assert!(prices.ebs(region, 1).is_some(), "{region}");
        }
        assert!(prices.age_days() > 0);
    }
}
