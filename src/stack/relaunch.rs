//! A cluster that ended before it began: whether another is asked for, where, and after what wait. Never while the first
//! one lives, never more often than here, and only for causes that pass.

use serde::{Deserialize, Serialize};

use super::Spec;
use crate::aws::Aws;
use crate::aws::emr::{EndReason, Existing};

/// Seconds to wait before each further launch, where roles are not known everywhere yet. AWS's own samples wait 10 s once
/// (awsdocs/aws-doc-sdk-examples, emr_usage_demo.py), Terraform two minutes in all (terraform-provider-aws, iam/wait.go).
const ROLES: [f64; 3] = [15.0, 30.0, 60.0];

/// A launch that came to nothing, as the history keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedLaunch {
    /// The cluster, which has ended.
    pub cluster: String,
    /// Why, in AWS's words.
    pub why: String,
}

/// What has been tried for one cluster.
#[derive(Debug, Default)]
pub struct Relaunches {
    for_roles: usize,
}

/// Another launch is worth while.
#[derive(Debug, PartialEq)]
pub struct Again {
    /// Seconds to wait before it.
    pub seconds: f64,
    /// Why, for people.
    pub why: String,
}

impl Relaunches {
    /// Whether to ask for another cluster after this one, which has ended; then `spec` leaves out the zone that did not do.
    /// Only where no node was billed, or, for a zone without room, none was ready; where that cannot be read, not.
    pub async fn again(&mut self, spec: &mut Spec, found: &Existing, aws: &Aws) -> Option<Again> {
        if found.status.lives() || found.status.ready.is_some() {
            return None;
        }
        match found.status.reason() {
            EndReason::ServiceRole | EndReason::Profile | EndReason::Ec2Permissions => {
                let instances = aws.instances(&found.id).await;
                if instances.is_ok_and(|all| all.is_empty()) { self.after_roles() } else { None }
            }
            reason @ (EndReason::NoCapacity | EndReason::NotOffered) => {
                let zone = found.status.zone().or(found.zone.as_deref());
                zone.and_then(|zone| elsewhere(spec, zone, reason))
            }
            _ => None,
        }
    }

    fn after_roles(&mut self) -> Option<Again> {
        let seconds = *ROLES.get(self.for_roles)?;
        self.for_roles += 1;
        Some(Again { seconds, why: "EMR did not know its roles yet".into() })
    }
}

/// Without the zone, if another is left.
fn elsewhere(spec: &mut Spec, zone: &str, reason: EndReason) -> Option<Again> {
    let rest: Vec<_> = spec.network.subnets.iter().filter(|s| s.zone != zone).cloned().collect();
    if rest.is_empty() || rest.len() == spec.network.subnets.len() {
        return None;
    }
    let lacks =
        if reason == EndReason::NoCapacity { "has none of its instances left" } else { "lacks a type" };
    let why = format!("{zone} {lacks}; {} is next", rest[0].zone);
    spec.network.subnets = rest;
    Some(Again { seconds: 0.0, why })
}
