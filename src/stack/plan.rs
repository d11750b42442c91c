//! The plan: what there is to do, and why. A value: shown, serialised, tested and carried out alike.

use serde::Serialize;

use super::{Observed, Spec, bucket, cluster, key_pair, network, roles, scripts, security};
use crate::cost::{Estimate, Prices};

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed where it is.
    Update,
    /// It is deleted, and made again.
    Replace,
    /// It is as it should be.
    Keep,
    /// It is deleted.
    Delete,
}

/// A kind of resource; in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// The bucket.
    Bucket,
    /// EMR's role.
    ServiceRole,
    /// The nodes' role and instance profile.
    NodeRole,
    /// The key pair.
    KeyPair,
    /// The primary node's security group.
    PrimaryGroup,
    /// The workers' security group.
    WorkerGroup,
    /// The security configuration.
    SecurityConfiguration,
    /// A bootstrap action in the bucket.
    BootstrapAction,
    /// A cluster.
    Cluster,
}

impl Resource {
    /// As people say it.
    pub fn title(self) -> &'static str {
        match self {
            Resource::Bucket => "bucket",
            Resource::ServiceRole => "service role",
            Resource::NodeRole => "node role and profile",
            Resource::KeyPair => "key pair",
            Resource::PrimaryGroup => "primary security group",
            Resource::WorkerGroup => "worker security group",
            Resource::SecurityConfiguration => "security configuration",
            Resource::BootstrapAction => "bootstrap action",
            Resource::Cluster => "cluster",
        }
    }
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What kind.
    pub resource: Resource,
    /// Which.
    pub name: String,
    /// What happens to it.
    pub action: Action,
    /// Why; what will be different.
    pub reasons: Vec<String>,
}

impl Change {
    /// A line.
    pub fn new(resource: Resource, name: impl Into<String>, action: Action, reasons: Vec<String>) -> Change {
        Change { resource, name: name.into(), action, reasons }
    }

    /// Create where there is nothing, else update where something is wrong, else keep.
    pub fn of(resource: Resource, name: impl Into<String>, exists: bool, wrong: Vec<String>) -> Change {
        let action = match (exists, wrong.is_empty()) {
            (false, _) => Action::Create,
            (true, false) => Action::Update,
            (true, true) => Action::Keep,
        };
        Change::new(resource, name, action, if exists { wrong } else { Vec::new() })
    }
}

/// What there is to do, and what it will cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The form of this value as JSON.
    pub version: u32,
    /// The project.
    pub project: String,
    /// The region.
    pub region: String,
    /// The account.
    pub account: String,
    /// Line by line.
    pub changes: Vec<Change>,
    /// Dollars an hour of the cluster as planned.
    pub cost: Estimate,
    /// What is worth knowing and changes nothing.
    pub notes: Vec<String>,
}

impl Plan {
    /// Compares. Pure: the same arguments, the same plan.
    pub fn new(spec: &Spec, observed: &Observed, prices: &Prices) -> Plan {
        let mut notes = Vec::new();
        let mut changes = vec![
            bucket::diff(&spec.bucket, observed.bucket.as_ref()),
            roles::diff(Resource::ServiceRole, &spec.service_role, &observed.service_role),
            roles::diff(Resource::NodeRole, &spec.node_role, &observed.node_role),
        ];
        changes.extend(spec.key_pair.as_ref().map(|spec| key_pair::diff(spec, &observed.key_pairs)));
        changes.extend(network::diff(&spec.network, &observed.groups));
        changes.push(security::diff(&spec.security, observed.security));
        changes.extend(scripts::diff(&spec.scripts, &observed.scripts));
        changes.extend(cluster::diff(spec, observed, &mut notes));
        Plan {
            version: 1,
            project: spec.names.project.clone(),
            region: spec.names.region.clone(),
            account: spec.names.account.clone(),
            changes,
            cost: prices.cluster(&spec.names.region, &spec.cluster.workforce, spec.cluster.root_gb),
            notes,
        }
    }

    /// Says of a resource that was made a moment ago that it is made.
    pub fn is_new(&mut self, resource: Resource) {
        for change in self.changes.iter_mut().filter(|change| change.resource == resource) {
            change.action = Action::Create;
            change.reasons.clear();
        }
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
