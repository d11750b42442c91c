//! One line of a plan: a resource, and what happens to it.

use serde::Serialize;

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
    Bucket,
    /// EMR's role.
    ServiceRole,
    /// The nodes' role and instance profile.
    NodeRole,
    KeyPair,
    /// The primary node's security group.
    PrimaryGroup,
    /// The workers' security group.
    WorkerGroup,
    /// The security group by which EMR reaches nodes in private subnets.
    AccessGroup,
    SecurityConfiguration,
    /// A bootstrap action in the bucket.
    BootstrapAction,
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
            Resource::AccessGroup => "access security group",
            Resource::SecurityConfiguration => "security configuration",
            Resource::BootstrapAction => "bootstrap action",
            Resource::Cluster => "cluster",
        }
    }
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub resource: Resource,
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
