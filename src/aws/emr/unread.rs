//! What EMR does not tell of a cluster, and why: unknown is neither zero nor absent.

use super::super::ApiError;

/// Settings of a cluster that EMR may not tell. Of its answers no member is required; and three settings have calls of
/// their own, which some releases and regions do not know, and some policies do not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of Cluster's fields")]
pub enum Setting {
    Release,
    Applications,
    Logs,
    ServiceRole,
    Profile,
    Subnets,
    PrimaryGroup,
    WorkerGroup,
    /// Of clusters in private subnets only.
    AccessGroup,
    /// Additional security groups of the primary node.
    AdditionalPrimary,
    /// Additional security groups of the others.
    AdditionalWorkers,
    /// The machine image, which EMR tells of clusters that were asked for with one.
    Image,
    SecurityConfiguration,
    Configurations,
    Protection,
    RootVolume,
    /// Fleets, or groups.
    Collection,
    /// ListInstanceFleets, ListInstanceGroups.
    Workforce,
    /// ListBootstrapActions.
    Bootstrap,
    /// GetAutoTerminationPolicy.
    Idle,
    /// GetManagedScalingPolicy.
    Scaling,
}

impl Setting {
    /// As people say it.
    pub fn title(self) -> &'static str {
        match self {
            Setting::Release => "release",
            Setting::Applications => "applications",
            Setting::Logs => "place of logs",
            Setting::ServiceRole => "service role",
            Setting::Profile => "node role",
            Setting::Subnets => "subnet",
            Setting::PrimaryGroup => "primary security group",
            Setting::WorkerGroup => "worker security group",
            Setting::AccessGroup => "access security group",
            Setting::AdditionalPrimary => "additional security groups of the primary node",
            Setting::AdditionalWorkers => "additional security groups of the workers",
            Setting::Image => "machine image",
            Setting::SecurityConfiguration => "security configuration",
            Setting::Configurations => "configurations",
            Setting::Protection => "termination protection",
            Setting::RootVolume => "root volume",
            Setting::Collection => "kind of instance collection",
            Setting::Workforce => "instances",
            Setting::Bootstrap => "bootstrap actions",
            Setting::Idle => "idle timeout",
            Setting::Scaling => "managed scaling",
        }
    }
}

/// A setting that is not known.
#[derive(Debug, Clone, PartialEq)]
pub struct Unread {
    pub setting: Setting,
    /// Why; none, if EMR answered, and did not say.
    pub error: Option<ApiError>,
}

impl Unread {
    /// EMR answered, and did not say.
    pub(super) fn untold(setting: Setting) -> Unread {
        Unread { setting, error: None }
    }
}

/// What was read; nothing, and a line in `unread`, where AWS refuses. Without credentials nothing else can be read either.
pub(super) fn optional<T>(
    read: Result<T, ApiError>,
    setting: Setting,
    unread: &mut Vec<Unread>,
) -> Result<Option<T>, ApiError> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_credentials() => Err(error),
        Err(error) => {
            unread.push(Unread { setting, error: Some(error) });
            Ok(None)
        }
    }
}
