//! What AWS's pages say of EMR's releases and of regions: a table that carries its date and its sources.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer};

use crate::bundle;

/// The table, as kept.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The day on which the pages were read.
    pub as_of: String,
    /// Regions and partitions.
    pub regions: Regions,
    /// What not all releases have, or not everywhere.
    pub features: Features,
    /// What sizes may be.
    pub bounds: Bounds,
}

/// Where EMR is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regions {
    /// Regions of the partition `aws`.
    pub known: Vec<String>,
    /// Those of them that an account has to turn on.
    pub opt_in: Vec<String>,
    /// How names of regions of other partitions begin -> the partition.
    partitions: BTreeMap<String, String>,
}

impl Regions {
    /// The partition of a region, where it is another than `aws`.
    pub fn other_partition(&self, region: &str) -> Option<&str> {
        self.partitions.iter().find(|(start, _)| region.starts_with(*start)).map(|(_, name)| name.as_str())
    }
}

/// What not all releases have, or not everywhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// A security configuration that requires IMDSv2.
    pub imdsv2: Feature,
    /// A running step can be cancelled.
    pub step_cancellation: Feature,
    /// Fleets with an allocation strategy.
    pub allocation_strategies: Feature,
    /// A cluster ends itself when it is idle.
    pub auto_termination: Feature,
    /// A program that is not YARN's can tell that it works.
    pub busy_file: Feature,
    /// EMR chooses the number of instances.
    pub managed_scaling: Feature,
}

/// Where something is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// The page that says so.
    pub source: String,
    releases: Vec<Range>,
    /// Empty: it is in all.
    #[serde(default)]
    regions: Vec<String>,
    later: Option<Later>,
}

/// Regions that have a feature from a later release on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Later {
    from: Release,
    regions: Vec<String>,
}

/// Releases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: Release,
    before: Option<Release>,
}

impl Range {
    fn contains(&self, release: Release) -> bool {
        release >= self.from && self.before.is_none_or(|before| release < before)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Release([major, minor, _]) = self.from;
        match self.before {
            None => write!(f, "{} and later", self.from),
            Some(Release([_, 0, 0])) => write!(f, "{} and later {major}.x", self.from),
            Some(_) => write!(f, "{} and later {major}.{minor}.x", self.from),
        }
    }
}

/// Why a feature is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// This release lacks it; those that have it here.
    Release(String),
    /// No release has it here.
    Region,
}

impl Feature {
    /// Whether a release has it, wherever it is; if not, which have.
    pub fn lacked_by(&self, release: Release) -> Option<String> {
        let has = self.releases.iter().any(|range| range.contains(release));
        (!has).then(|| self.releases.iter().map(ToString::to_string).collect::<Vec<_>>().join(", or "))
    }

    /// Whether a release has it in a region. A region that is not known may have it.
    pub fn lacked(&self, release: Release, region: &str) -> Option<Lack> {
        let is_in = |regions: &[String]| regions.iter().any(|name| name == region);
        let is_known = is_in(&FACTS.regions.known);
        match &self.later {
            Some(later) if is_in(&later.regions) => {
                (release < later.from).then(|| Lack::Release(format!("{} and later in {region}", later.from)))
            }
            _ if is_known && !self.regions.is_empty() && !is_in(&self.regions) => Some(Lack::Region),
            _ => self.lacked_by(release).map(Lack::Release),
        }
    }
}

/// What sizes may be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// GiB of the root volume.
    pub root_gb: Bound,
    /// GiB of a data volume.
    pub ebs_gb: Bound,
    /// Instance types of a fleet.
    pub fleet_types: FleetTypes,
    /// Security groups of a role's nodes, beside those that EMR manages.
    pub additional_groups: Count,
    /// Security groups of a network interface, by the quota that accounts begin with.
    pub groups_by_default: Count,
    /// Tags.
    pub tags: TagBounds,
}

/// How many instance types a fleet has at most.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetTypes {
    /// The page that says so.
    pub source: String,
    /// Of one without an allocation strategy.
    pub on_demand: usize,
    /// Of one with.
    pub spot: usize,
}

/// How many there are at most.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// The page that says so.
    pub source: String,
    /// At most.
    pub most: usize,
}

/// A size's bounds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// The page that says so.
    pub source: String,
    /// At least.
    pub least: u16,
    /// At most.
    pub most: u16,
    later: Option<LaterBound>,
}

/// A least size from a later release on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaterBound {
    from: Release,
    least: u16,
}

impl Bound {
    /// The least size of a release.
    pub fn least_of(&self, release: Release) -> u16 {
        self.later.as_ref().filter(|later| release >= later.from).map_or(self.least, |later| later.least)
    }
}

/// Of tags.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagBounds {
    /// The page that says so.
    pub source: String,
    /// Characters of a key.
    pub key: usize,
    /// Characters of a value.
    pub value: usize,
    /// Tags of a resource.
    pub count: usize,
}

/// A release of EMR, by its three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release([u32; 3]);

impl Release {
    /// `emr-7.13.0`.
    pub fn parse(label: &str) -> Option<Release> {
        Release::numbers(label.strip_prefix("emr-")?)
    }

    fn numbers(text: &str) -> Option<Release> {
        let numbers: Vec<u32> = text.split('.').map(|n| n.parse().ok()).collect::<Option<_>>()?;
        numbers.try_into().ok().map(Release)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Release([major, minor, patch]) = self;
        write!(f, "emr-{major}.{minor}.{patch}")
    }
}

impl<'de> Deserialize<'de> for Release {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Release::numbers(&text).ok_or_else(|| serde::de::Error::custom(format!("'{text}' is no release")))
    }
}

/// The table.
pub static FACTS: LazyLock<Facts> =
    LazyLock::new(|| toml::from_str(bundle::FACTS).expect("the table of facts is TOML"));

#[cfg(test)]
mod tests {
    use super::*;

    fn release(label: &str) -> Release {
        Release::parse(label).unwrap()
    }

    /// Each entry of the page, and a neighbour that it leaves out.
    #[test]
    fn releases_are_in_the_ranges_of_the_pages() {
        let features = &FACTS.features;
        for (feature, with, without) in [
            (
                &features.imdsv2,
                &["5.23.1", "5.27.1", "5.32.0", "5.36.2", "6.2.0", "7.0.0"][..],
                &["5.23.0", "5.24.0", "5.27.0", "5.28.0", "5.31.0", "6.0.0", "6.1.1"][..],
            ),
            (&features.step_cancellation, &["5.28.0", "6.0.0"], &["5.27.1"]),
            (&features.allocation_strategies, &["5.12.1", "6.0.0"], &["5.12.0"]),
            (&features.auto_termination, &["5.30.0", "6.1.0", "7.13.0"], &["5.29.0", "6.0.1"]),
            (&features.managed_scaling, &["5.30.0", "6.1.0", "7.13.0"], &["5.29.0", "6.0.1"]),
            (&features.busy_file, &["5.34.0", "6.4.0", "7.13.0"], &["5.33.1", "6.3.1"]),
        ] {
            for version in with {
                assert_eq!(feature.lacked_by(release(&format!("emr-{version}"))), None, "{version}");
            }
            for version in without {
                assert!(feature.lacked_by(release(&format!("emr-{version}"))).is_some(), "{version}");
            }
        }
        let text = features.imdsv2.lacked_by(release("emr-6.1.0")).unwrap();
        assert!(text.ends_with("or emr-5.32.0 and later 5.x, or emr-6.2.0 and later"), "{text}");
        assert!(text.starts_with("emr-5.23.1 and later 5.23.x, or"), "{text}");
    }

    #[test]
    fn regions_have_a_feature_from_a_release_on_or_lack_it() {
        let idle = &FACTS.features.auto_termination;
        assert_eq!(idle.lacked(release("emr-6.1.0"), "eu-west-3"), None);
        assert_eq!(idle.lacked(release("emr-7.13.0"), "eu-south-2"), None);
        let later = Lack::Release("emr-6.14.0 and later in eu-south-2".into());
        assert_eq!(idle.lacked(release("emr-6.13.0"), "eu-south-2"), Some(later));
        assert_eq!(idle.lacked(release("emr-7.13.0"), "me-south-1"), Some(Lack::Region));
        // A new region is asked.
        assert_eq!(idle.lacked(release("emr-7.13.0"), "eu-west-9"), None);
        // What is everywhere.
        assert_eq!(FACTS.features.imdsv2.lacked(release("emr-7.13.0"), "me-south-1"), None);
    }

    /// No name is misspelt, none is in both lists, and each fact has its page.
    #[test]
    fn the_table_is_sound() {
        let (facts, features) = (&*FACTS, &FACTS.features);
        assert!(crate::clock::days_since(&facts.as_of).is_some(), "{}", facts.as_of);
        for feature in [&features.auto_termination, &features.managed_scaling] {
            let later = &feature.later.as_ref().unwrap().regions;
            assert!(feature.regions.iter().chain(later).all(|name| facts.regions.known.contains(name)));
            assert!(feature.regions.iter().all(|name| !later.contains(name)));
        }
        assert!(facts.regions.opt_in.iter().all(|name| facts.regions.known.contains(name)));
        assert!(facts.regions.known.iter().all(|name| facts.regions.other_partition(name).is_none()));
        let sources = [
            &features.imdsv2.source,
            &features.step_cancellation.source,
            &features.allocation_strategies.source,
            &features.auto_termination.source,
            &features.busy_file.source,
            &features.managed_scaling.source,
            &facts.bounds.root_gb.source,
            &facts.bounds.ebs_gb.source,
            &facts.bounds.fleet_types.source,
            &facts.bounds.additional_groups.source,
            &facts.bounds.groups_by_default.source,
            &facts.bounds.tags.source,
        ];
        assert!(sources.iter().all(|page| page.starts_with("https://docs.aws.amazon.com/")));
    }

    #[test]
    fn a_release_is_three_numbers() {
        assert_eq!(Release::parse("emr-7.13.0").map(|r| r.to_string()).as_deref(), Some("emr-7.13.0"));
        for wrong in ["7.13.0", "emr-7.13", "emr-7.13.0.1", "emr-7.x.0", "emr-"] {
            assert_eq!(Release::parse(wrong), None, "{wrong}");
        }
        let root = &FACTS.bounds.root_gb;
        assert_eq!((root.least_of(release("emr-6.9.0")), root.least_of(release("emr-6.10.0"))), (10, 15));
    }
}
