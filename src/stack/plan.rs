//! The plan: what there is to do, and why. A value: shown, serialised, tested and carried out alike.

use serde::Serialize;

use super::change::{Action, Change, Resource};
use super::observed::Observed;
use super::resources::{bootstrap, bucket, cluster, key_pair, network, roles, security_configuration};
use super::spec::Spec;
use crate::aws::Aws;
use crate::config::Config;
use crate::cost::{self, Hourly, Prices};
use crate::error::Result;

/// What there is to do, and what it will cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The form of this value as JSON.
    pub version: u32,
    pub project: String,
    pub region: String,
    pub account: String,
    /// Line by line.
    pub changes: Vec<Change>,
    /// Dollars an hour of the cluster as planned.
    pub cost: Hourly,
    /// What is worth knowing and changes nothing.
    pub notes: Vec<String>,
}

impl Plan {
    /// Compares. Pure: the same arguments, the same plan.
    pub fn new(spec: &Spec, observed: &Observed, prices: &Prices) -> Plan {
        let mut notes: Vec<String> = [
            spec.network.note(),
            spec.bucket.note(observed.bucket.as_ref()),
            roles::note(&spec.service_role, &observed.service_role),
            roles::note(&spec.node_role, &observed.node_role),
            roles::note_of_places(&spec.node_role, &observed.node_role),
        ]
        .into_iter()
        .flatten()
        .collect();
        notes.extend(spec.borrowed.iter().cloned());
        let mut changes = vec![
            bucket::diff(&spec.bucket, observed.bucket.as_ref()),
            roles::diff(Resource::ServiceRole, &spec.service_role, &observed.service_role),
            roles::diff(Resource::NodeRole, &spec.node_role, &observed.node_role),
        ];
        changes.extend(spec.key_pair.as_ref().map(|spec| key_pair::diff(spec, &observed.key_pairs)));
        changes.extend(network::diff(&spec.network, &observed.groups));
        changes.push(security_configuration::diff(
            &spec.security_configuration,
            observed.security_configuration,
        ));
        changes.extend(bootstrap::diff(&spec.bootstrap, &observed.bootstrap));
        changes.extend(cluster::diff(
            &spec.wanted_cluster(),
            &observed.clusters,
            &observed.groups,
            &mut notes,
        ));
        Plan {
            version: 1,
            project: spec.names.project.clone(),
            region: spec.names.region.clone(),
            account: spec.names.account.clone(),
            changes,
            cost: prices.cluster(&spec.names.region, &spec.nodes()),
            notes,
        }
    }

    /// Looks at what exists, and compares; with the prices that it reckons by.
    pub async fn make(config: &Config, spec: &Spec, aws: &Aws) -> Result<(Plan, Prices, Observed)> {
        let (observed, prices) = tokio::try_join!(Observed::look(spec, aws), async {
            Ok(cost::prices(config, spec.cluster.workforce.iter(), aws).await)
        })?;
        let plan = Plan::new(spec, &observed, &prices);
        Ok((plan, prices, observed))
    }

    /// Says of a resource that was made a moment ago that it is made.
    pub fn is_new(&mut self, resource: Resource) {
        for change in self.changes.iter_mut().filter(|change| change.resource == resource) {
            change.action = Action::Create;
            change.reasons.clear();
        }
    }

    /// Leaves the cluster out.
    pub fn leave_out_cluster(&mut self) {
        self.changes.retain(|change| change.resource != Resource::Cluster);
    }

    /// Whether there is anything to do.
    pub fn has_changes(&self) -> bool {
        self.changes.iter().any(|change| change.action != Action::Keep)
    }

    /// How many lines have this action.
    pub fn count(&self, action: Action) -> usize {
        self.changes.iter().filter(|change| change.action == action).count()
    }
}
