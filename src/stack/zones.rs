//! Availability zones: of the subnets that a cluster may be in, those whose zones have its instance types, and those with
//! room first. EMR takes of a fleet's subnets the one that fits best; a cluster of groups has one subnet only.

use std::collections::{BTreeMap, BTreeSet};

use tracing::info;

use super::resources::{cluster, network};
use crate::aws::ec2::Subnet;
use crate::aws::emr::Workforce;
use crate::aws::{ApiError, Aws};
use crate::error::{Error, Kind, Result};

/// Instance types by the zones that offer them.
pub type Offers = BTreeMap<String, BTreeSet<String>>;

/// Leaves the subnets in which the cluster can be. Where AWS does not say what a zone offers, all stay; then why not.
///
/// # Errors
/// [`Kind::Usage`] where no zone has all of it: found out before anything is paid for.
pub async fn fit(
    network: &mut network::Spec,
    cluster: &cluster::Spec,
    aws: &Aws,
) -> Result<Option<ApiError>> {
    let kinds: BTreeSet<String> = cluster.kinds().map(str::to_owned).collect();
    let offers = match aws.offered_types(&kinds).await {
        Ok(offers) => offers,
        Err(error) if matches!(error.kind(), Kind::Denied | Kind::Refused) && !error.is_credentials() => {
            info!(%error, "what the zones offer is not known");
            return Ok(Some(error));
        }
        Err(error) => return Err(error.into()),
    };
    let fitting = fitting(&network.subnets, &cluster.workforce, &offers);
    if fitting.is_empty() {
        let lacking: BTreeSet<String> = network
            .subnets
            .iter()
            .map(|s| format!("{} has no {}", s.zone, missing(s, &cluster.workforce, &offers).join(", no ")))
            .collect();
        let lacking: Vec<_> = lacking.into_iter().collect();
        return Err(Error::usage(format!(
            "no availability zone of the subnets has all instance types of the cluster: {}",
            lacking.join("; ")
        ))
        .help("name other types under [cluster], or subnets of other zones under [network]; then: fruitctl doctor"));
    }
    network.subnets = fitting;
    Ok(None)
}

/// Of these subnets those whose zone offers, of each role, one type at least; by free addresses, as far as they are enough.
fn fitting(subnets: &[Subnet], workforce: &[Workforce], offers: &Offers) -> Vec<Subnet> {
    let nodes: i32 = workforce.iter().map(|w| w.count).sum();
    let mut fitting: Vec<_> =
        subnets.iter().filter(|s| missing(s, workforce, offers).is_empty()).cloned().collect();
    fitting.sort_by_key(|subnet| subnet.free < nodes);
    fitting
}

/// The roles' types that a subnet's zone has not; of several for one role, none is missing while there is one.
fn missing(subnet: &Subnet, workforce: &[Workforce], offers: &Offers) -> Vec<String> {
    let here = |kind: &String| offers.get(&subnet.zone).is_some_and(|kinds| kinds.contains(kind));
    let lacking = workforce.iter().filter(|w| !w.types.iter().any(here)).map(|w| w.types.join("/"));
    lacking.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::emr::Role;

    fn workforce(role: Role, types: &[&str]) -> Workforce {
        Workforce {
            role,
            types: types.iter().map(|t| (*t).into()).collect(),
            count: 2,
            spot: false,
            ebs_gb: None,
        }
    }

    #[test]
    fn a_zone_has_to_have_a_type_of_every_role() {
        let subnet = |zone: &str, free| Subnet {
            id: format!("subnet-{zone}"),
            vpc: "vpc-1".into(),
            zone: zone.into(),
            free,
            gives_addresses: true,
            routes: None,
        };
        let subnets = [subnet("a", 3), subnet("b", 100), subnet("c", 100), subnet("d", 100)];
        let offers: Offers = [("a", "m6g x g5"), ("b", "m6g"), ("c", "m6g g5")]
            .map(|(zone, kinds)| (zone.into(), kinds.split(' ').map(str::to_owned).collect()))
            .into();
        let zones = |workforce: &[Workforce]| {
            fitting(&subnets, workforce, &offers).into_iter().map(|s| s.zone).collect::<Vec<_>>()
        };
        let primary = workforce(Role::Primary, &["m6g"]);
        // "a" has too few addresses for four nodes, and comes last.
        assert_eq!(zones(&[primary.clone(), workforce(Role::Core, &["g5"])]), ["c", "a"]);
        assert_eq!(zones(&[primary.clone(), workforce(Role::Core, &["g5", "m6g"])]), ["b", "c", "a"]);
        assert_eq!(zones(&[primary, workforce(Role::Core, &["p5"])]), <[&str; 0]>::default());
        assert_eq!(missing(&subnets[3], &[workforce(Role::Core, &["p5", "g5"])], &offers), ["p5/g5"]);
    }
}
