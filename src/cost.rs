//! Dollars an hour, from a table of list prices that carries its date, and from what `[prices]` says instead.
//!
//! Within a family, AWS's prices grow with the size, so the table has one price a family: of its `xlarge`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aws::Aws;
use crate::aws::emr::{Instance, Workforce};
use crate::config::{Config, PricesConfig};
use crate::{bundle, clock};

/// Hours in AWS's month.
const MONTH: f64 = 730.0;

/// The table, as kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    as_of: String,
    emr_share: f64,
    emr_share_of: String,
    regions: BTreeMap<String, Region>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Region {
    ebs_gb_month: f64,
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

/// What a cluster costs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// Dollars an hour in all.
    pub total: f64,
    /// Of it, instances.
    pub ec2: f64,
    /// Of it, EMR's fee.
    pub emr: f64,
    /// Of it, volumes.
    pub ebs: f64,
    /// The table's date.
    pub as_of: String,
    /// Instance types that have no price here; they are left out of the sum.
    pub unknown: Vec<String>,
}

/// The table, with present Spot prices where Spot is used. Without permission to ask, prices on demand will do.
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

    fn ebs(&self, region: &str) -> f64 {
        let listed = || self.table.regions.get(region).map(|r| r.ebs_gb_month);
        self.config.ebs.or_else(listed).unwrap_or(0.1) / MONTH
    }

    /// A cluster of these instances. Of several types, the dearest counts; of Spot instances, the present price, or
    /// the one on demand where that is not known.
    pub fn cluster(&self, region: &str, workforce: &[Workforce], root_gb: i32) -> Estimate {
        let mut estimate = Estimate { as_of: self.table.as_of.clone(), ..Estimate::default() };
        for w in workforce {
            let count = f64::from(w.count);
            let price = |kind: &String| {
                let spot = w.spot.then(|| self.spot.get(kind)).flatten().copied();
                let (ec2, emr) = (spot.or_else(|| self.ec2(region, kind)), self.emr(kind));
                ec2.zip(emr)
            };
            match w.types.iter().filter_map(price).max_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1))) {
                Some((ec2, emr)) => {
                    estimate.ec2 += ec2 * count;
                    estimate.emr += emr * count;
                }
                None => estimate.unknown.extend(w.types.clone()),
            }
            estimate.ebs += f64::from(w.ebs_gb.unwrap_or(0) + root_gb) * self.ebs(region) * count;
        }
        estimate.unknown.sort();
        estimate.unknown.dedup();
        estimate.total = estimate.ec2 + estimate.emr + estimate.ebs;
        estimate
    }

    /// What instances have cost from their start to their end, or until now; and types without a price.
    pub fn so_far(&self, region: &str, instances: &[Instance], gb: i32) -> (f64, Vec<String>) {
        let (mut dollars, mut unknown) = (0.0, Vec::new());
        for i in instances {
            let Some(created) = i.created else { continue };
            // AWS bills a minute at least.
            let hours = (i.ended.unwrap_or_else(clock::now) - created).max(60) as f64 / 3600.0;
            let spot = (i.market == "SPOT").then(|| self.spot.get(&i.kind)).flatten().copied();
            match spot.or_else(|| self.ec2(region, &i.kind)).zip(self.emr(&i.kind)) {
                Some((ec2, emr)) => dollars += (ec2 + emr + f64::from(gb) * self.ebs(region)) * hours,
                None => unknown.push(i.kind.clone()),
            }
        }
        unknown.sort();
        unknown.dedup();
        (dollars, unknown)
    }
}

impl Estimate {
    /// `$0.49`, or `at least $0.49`.
    pub fn short(&self) -> String {
        let least = if self.unknown.is_empty() { "" } else { "at least " };
        format!("{least}${:.2}", self.total)
    }

    /// `$0.49 an hour (EC2 0.36, EMR 0.12, EBS 0.01)`.
    pub fn text(&self) -> String {
        format!("{} an hour (EC2 {:.2}, EMR {:.2}, EBS {:.2})", self.short(), self.ec2, self.emr, self.ebs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::emr::Role;

    fn nodes(kind: &str, count: i32, spot: bool) -> Workforce {
        Workforce { role: Role::Core, types: vec![kind.into()], count, spot, ebs_gb: Some(70) }
    }

    #[test]
    fn a_cluster_costs_instances_fee_and_volumes() {
        let prices = Prices::new(&PricesConfig::default());
        let one = prices.cluster("eu-west-3", &[nodes("m5.xlarge", 1, false)], 30);
        assert!((one.ec2 - 0.224).abs() < 1e-9 && (one.emr - 0.048).abs() < 1e-9, "{one:?}");
        assert!((one.ebs - 100.0 * 0.0928 / 730.0).abs() < 1e-9);
        let two = prices.cluster("eu-west-3", &[nodes("m5.2xlarge", 2, false)], 30);
        assert!((two.ec2 - 4.0 * one.ec2).abs() < 1e-9 && (two.ebs - 2.0 * one.ebs).abs() < 1e-9);
    }

    #[test]
    fn what_has_no_price_is_said() {
        let mut prices = Prices::new(&PricesConfig::default());
        let estimate = prices.cluster("eu-west-3", &[nodes("x9.xlarge", 1, false)], 0);
        assert_eq!(estimate.unknown, ["x9.xlarge"]);
        assert!(estimate.text().starts_with("at least"));
        prices.config.ec2.insert("x9.xlarge".into(), 1.0);
        prices.config.emr.insert("x9.xlarge".into(), 0.25);
        assert_eq!(prices.cluster("eu-west-3", &[nodes("x9.xlarge", 2, false)], 0).ec2, 2.0);
        // Spot: the present price; the fee stays.
        prices.spot.insert("x9.xlarge".into(), 0.3);
        let spot = prices.cluster("eu-west-3", &[nodes("x9.xlarge", 2, true)], 0);
        assert_eq!((spot.ec2, spot.emr), (0.6, 0.5));
    }
}
