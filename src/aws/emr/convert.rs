//! From our types to the SDK's, and back.

use aws_sdk_emr::primitives::DateTime;
use aws_sdk_emr::types as t;

use super::{
    BootstrapAction, Cluster, ClusterState, Detail, Existing, Setting, Status, Step, StepSpec, StepState,
    Unread, Workforce,
};
use crate::config::{Classification, Classifications};

/// Fetches a script, proves that it is the one that was shipped, and becomes it: what signals its process signals the
/// script. Called with the script's URI, its SHA-256, the region, and the script's arguments.
const FETCH: &str = concat!(
    r#"script=$(mktemp) && aws s3 cp --only-show-errors --region "$2" "$0" "$script" || exit 1; "#,
    r#"echo "$1  $script" | sha256sum --check --status || "#,
    // In two pieces: EMR's log of a step begins with its command, and a cause is looked for there.
    r#"{ echo "error: $0 is ""not what was shipped: its SHA-256 is not $1" >&2; exit 1; }; "#,
    r#"chmod u+x "$script" && exec "$script" "${@:3}""#
);

/// What bash is called with to run a script from the bucket.
fn fetch_words(script: &str, sha256: &str, region: &str, args: &[String]) -> Vec<String> {
    let words = ["-c", FETCH, script, sha256, region].map(str::to_owned);
    words.into_iter().chain(args.iter().cloned()).collect()
}

/// All words of a step.
pub fn step_words(step: &StepSpec, region: &str) -> Vec<String> {
    let words = fetch_words(&step.script, &step.sha256, region, &step.args);
    ["bash".to_owned()].into_iter().chain(words).collect()
}

/// The jar that lies on every node; script-runner.jar lies in a bucket of EMR's, which nodes may not read by our role.
/// Source: <https://docs.aws.amazon.com/emr/latest/ReleaseGuide/emr-commandrunner.html>.
pub(super) fn step_config(step: &StepSpec, region: &str) -> t::StepConfig {
    let jar = t::HadoopJarStepConfig::builder()
        .jar("command-runner.jar")
        .set_args(Some(step_words(step, region)))
        .build();
    let on_failure =
        if step.is_last { t::ActionOnFailure::TerminateCluster } else { t::ActionOnFailure::Continue };
    t::StepConfig::builder().name(&step.name).action_on_failure(on_failure).hadoop_jar_step(jar).build()
}

/// A list that is left out where there is nothing in it.
pub(super) fn some(ids: &[String]) -> Option<Vec<String>> {
    Some(ids.to_vec()).filter(|ids| !ids.is_empty())
}

pub(super) fn step_of(id: Option<String>, name: Option<String>, status: Option<t::StepStatus>) -> Step {
    let timeline = status.as_ref().and_then(|s| s.timeline.clone());
    let failure = status.as_ref().and_then(|s| s.failure_details.clone());
    let parts = failure.map(|f| [f.reason, f.message].into_iter().flatten().collect::<Vec<_>>().join(" "));
    Step {
        id: id.unwrap_or_default(),
        name: name.unwrap_or_default(),
        state: StepState::of(status.and_then(|s| s.state).as_ref().map(|s| s.as_str())),
        failure: parts.unwrap_or_default(),
        started: timeline.as_ref().and_then(|t| t.start_date_time).map(|t| t.secs()),
        ended: timeline.and_then(|t| t.end_date_time).map(|t| t.secs()),
    }
}

pub(super) fn status(status: Option<t::ClusterStatus>) -> Status {
    let Some(status) = status else { return Status::default() };
    let reason = status.state_change_reason;
    let time = |t: Option<DateTime>| t.map(|t| t.secs());
    let timeline = status.timeline;
    Status {
        state: ClusterState::of(status.state.as_ref().map(|s| s.as_str())),
        code: reason
            .as_ref()
            .and_then(|r| r.code.as_ref())
            .map(|c| c.as_str().to_owned())
            .unwrap_or_default(),
        message: reason.and_then(|r| r.message).unwrap_or_default(),
        details: status
            .error_details
            .unwrap_or_default()
            .into_iter()
            .map(|d| Detail {
                code: d.error_code.unwrap_or_default(),
                data: d.error_data.unwrap_or_default().into_iter().flatten().collect(),
                message: d.error_message.unwrap_or_default(),
            })
            .collect(),
        created: time(timeline.as_ref().and_then(|t| t.creation_date_time)),
        ready: time(timeline.as_ref().and_then(|t| t.ready_date_time)),
        ended: time(timeline.and_then(|t| t.end_date_time)),
    }
}

/// A cluster as DescribeCluster tells of it.
pub(super) fn existing(id: &str, c: t::Cluster) -> Existing {
    let unread = untold(&c).into_iter().map(Unread::untold).collect();
    let ec2 = c.ec2_instance_attributes.unwrap_or_else(|| t::Ec2InstanceAttributes::builder().build());
    // EMR writes s3n:// and adds a slash.
    let log_uri =
        c.log_uri.unwrap_or_default().replacen("s3n://", "s3://", 1).trim_end_matches('/').to_owned();
    let mut applications: Vec<_> =
        c.applications.unwrap_or_default().into_iter().filter_map(|a| a.name).collect();
    applications.sort();
    Existing {
        id: id.to_owned(),
        status: status(c.status),
        primary_dns: c.master_public_dns_name,
        zone: ec2.ec2_availability_zone,
        unread,
        cluster: Cluster {
            name: c.name.unwrap_or_default(),
            tags: c
                .tags
                .unwrap_or_default()
                .into_iter()
                .map(|t| (t.key.unwrap_or_default(), t.value.unwrap_or_default()))
                .collect(),
            release: c.release_label.unwrap_or_default(),
            applications,
            log_uri,
            service_role: c
                .service_role
                .unwrap_or_default()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
            profile: ec2.iam_instance_profile.unwrap_or_default(),
            subnets: ec2.ec2_subnet_id.into_iter().collect(),
            image: c.custom_ami_id,
            key_pair: ec2.ec2_key_name.unwrap_or_default(),
            primary_group: ec2.emr_managed_master_security_group.unwrap_or_default(),
            worker_group: ec2.emr_managed_slave_security_group.unwrap_or_default(),
            access_group: ec2.service_access_security_group.unwrap_or_default(),
            additional_primary: ec2.additional_master_security_groups.unwrap_or_default(),
            additional_workers: ec2.additional_slave_security_groups.unwrap_or_default(),
            security_configuration: c.security_configuration.unwrap_or_default(),
            fleets: c.instance_collection_type == Some(t::InstanceCollectionType::InstanceFleet),
            workforce: Vec::new(),
            configurations: classifications(c.configurations),
            bootstrap: Vec::new(),
            idle_seconds: None,
            scaling: None,
            protected: c.termination_protected.unwrap_or(false),
            root_gb: c.ebs_root_volume_size.unwrap_or(0),
            keep_alive: c.auto_terminate != Some(true),
            steps: Vec::new(),
        },
    }
}

/// Settings that every cluster of ours has, and of which this answer does not say how they are. The access group is one of
/// clusters in private subnets only, which the answer does not tell from others; and a cluster may have no additional groups, and
/// has no image but where one was asked for.
fn untold(c: &t::Cluster) -> Vec<Setting> {
    let ec2 = c.ec2_instance_attributes.as_ref();
    let named = |a: &t::Application| a.name.is_some();
    let told = [
        (Setting::Release, c.release_label.is_some()),
        (Setting::Applications, c.applications.as_ref().is_some_and(|all| all.iter().all(named))),
        (Setting::Logs, c.log_uri.is_some()),
        (Setting::ServiceRole, c.service_role.is_some()),
        (Setting::Profile, ec2.is_some_and(|e| e.iam_instance_profile.is_some())),
        (Setting::Subnets, ec2.is_some_and(|e| e.ec2_subnet_id.is_some())),
        (Setting::PrimaryGroup, ec2.is_some_and(|e| e.emr_managed_master_security_group.is_some())),
        (Setting::WorkerGroup, ec2.is_some_and(|e| e.emr_managed_slave_security_group.is_some())),
        (Setting::AccessGroup, ec2.is_some_and(|e| e.service_access_security_group.is_some())),
        (Setting::AdditionalPrimary, ec2.is_some_and(|e| e.additional_master_security_groups.is_some())),
        (Setting::AdditionalWorkers, ec2.is_some_and(|e| e.additional_slave_security_groups.is_some())),
        (Setting::SecurityConfiguration, c.security_configuration.is_some()),
        (Setting::Configurations, c.configurations.as_deref().is_some_and(are_told)),
        (Setting::Protection, c.termination_protected.is_some()),
        (Setting::RootVolume, c.ebs_root_volume_size.is_some()),
        (
            Setting::Collection,
            matches!(&c.instance_collection_type, Some(kind) if is_known(kind.as_str(), t::InstanceCollectionType::values())),
        ),
    ];
    told.into_iter().filter(|(_, told)| !told).map(|(setting, _)| setting).collect()
}

fn is_known(value: &str, values: &[&str]) -> bool {
    values.contains(&value)
}

/// Whether EMR says all of a group that matters.
pub(super) fn is_told_of_group(group: &t::InstanceGroup) -> bool {
    let kind = group.instance_group_type.as_ref();
    kind.is_some_and(|kind| is_known(kind.as_str(), t::InstanceGroupType::values()))
        && group.instance_type.is_some()
        && group.market.is_some()
        && group.requested_instance_count.is_some()
}

/// Whether EMR says all of a fleet that matters.
pub(super) fn is_told_of_fleet(fleet: &t::InstanceFleet) -> bool {
    let kind = fleet.instance_fleet_type.as_ref();
    let types = fleet.instance_type_specifications.as_ref();
    kind.is_some_and(|kind| is_known(kind.as_str(), t::InstanceFleetType::values()))
        && types.is_some_and(|all| all.iter().all(|s| s.instance_type.is_some()))
        && fleet.target_on_demand_capacity.is_some()
        && fleet.target_spot_capacity.is_some()
}

/// `None`: EMR does not say all of it.
pub(super) fn bootstrap_of(action: t::Command) -> Option<BootstrapAction> {
    let (name, path, args) = (action.name.unwrap_or_default(), action.script_path?, action.args?);
    Some(match &args[..] {
        [flag, fetch, script, sha256, _, rest @ ..] if path == BASH && flag == "-c" && fetch == FETCH => {
            let (path, sha256) = (script.clone(), Some(sha256.clone()));
            BootstrapAction { name, path, sha256, args: rest.to_vec() }
        }
        _ => BootstrapAction { name, path, sha256: None, args },
    })
}

pub(super) fn idle_policy(seconds: i64) -> t::AutoTerminationPolicy {
    t::AutoTerminationPolicy::builder().idle_timeout(seconds).build()
}

pub(super) fn scaling_policy((least, most): (i32, i32), fleets: bool) -> t::ManagedScalingPolicy {
    let unit = if fleets {
        t::ComputeLimitsUnitType::InstanceFleetUnits
    } else {
        t::ComputeLimitsUnitType::Instances
    };
    let limits = t::ComputeLimits::builder()
        .unit_type(unit)
        .minimum_capacity_units(least)
        .maximum_capacity_units(most)
        .build();
    t::ManagedScalingPolicy::builder().compute_limits(limits).build()
}

pub(super) fn configurations(by_name: &Classifications) -> Vec<t::Configuration> {
    by_name
        .iter()
        .map(|(name, Classification { properties, inner })| {
            t::Configuration::builder()
                .classification(name)
                .set_properties(Some(properties.clone().into_iter().collect()))
                .set_configurations((!inner.is_empty()).then(|| configurations(inner)))
                .build()
        })
        .collect()
}

fn classifications(told: Option<Vec<t::Configuration>>) -> Classifications {
    told.unwrap_or_default()
        .into_iter()
        .map(|c| {
            let properties = c.properties.unwrap_or_default().into_iter().collect();
            let inner = classifications(c.configurations);
            (c.classification.unwrap_or_default(), Classification { properties, inner })
        })
        .collect()
}

/// Whether EMR says all of these classifications. One that holds others need not have properties.
fn are_told(all: &[t::Configuration]) -> bool {
    all.iter().all(|c| {
        let inner = c.configurations.as_deref().unwrap_or_default();
        c.classification.is_some() && (c.properties.is_some() || !inner.is_empty()) && are_told(inner)
    })
}

/// The program of a bootstrap action that is checked. EMR fetches a script by its path alone, and would run whatever lies
/// there; a path may also name a file of the node, and then its arguments are ours to choose.
/// Sources: <https://docs.aws.amazon.com/cdk/api/v1/docs/@aws-cdk_aws-stepfunctions-tasks.EmrCreateCluster.ScriptBootstrapActionConfigProperty.html>
/// ("either a location in Amazon S3 or on a local file system"); terraform-aws-modules/terraform-aws-emr
/// examples/private-cluster/main.tf (`file:/bin/echo` on EMR 6, with an argument that has a space). Guess: bash is taken as echo is.
const BASH: &str = "file:/bin/bash";

pub(super) fn bootstrap_action(action: &BootstrapAction, region: &str) -> t::BootstrapActionConfig {
    let (path, args) = match &action.sha256 {
        Some(sha256) => (BASH, fetch_words(&action.path, sha256, region, &action.args)),
        None => (&*action.path, action.args.clone()),
    };
    let script = t::ScriptBootstrapActionConfig::builder().path(path).set_args(Some(args)).build();
    t::BootstrapActionConfig::builder().name(&action.name).script_bootstrap_action(script).build()
}

pub(super) fn ebs(gb: Option<i32>) -> Option<t::EbsConfiguration> {
    let volume = t::VolumeSpecification::builder().volume_type("gp3").size_in_gb(gb?).build();
    let device =
        t::EbsBlockDeviceConfig::builder().volume_specification(volume).volumes_per_instance(1).build();
    Some(t::EbsConfiguration::builder().ebs_block_device_configs(device).build())
}

pub(super) fn group(w: &Workforce) -> t::InstanceGroupConfig {
    t::InstanceGroupConfig::builder()
        .name(w.role.name())
        .instance_role(w.role.group())
        .instance_type(w.types.first().map(String::as_str).unwrap_or_default())
        .instance_count(w.count)
        .market(if w.spot { t::MarketType::Spot } else { t::MarketType::OnDemand })
        .set_ebs_configuration(ebs(w.ebs_gb))
        .build()
}

pub(super) fn capacity(w: &Workforce) -> (i32, i32) {
    if w.spot { (0, w.count) } else { (w.count, 0) }
}

/// Spot instances that do not come within ten minutes are bought on demand.
pub(super) fn fleet(w: &Workforce) -> t::InstanceFleetConfig {
    let types = w.types.iter().map(|kind| {
        t::InstanceTypeConfig::builder()
            .instance_type(kind)
            .weighted_capacity(1)
            .set_ebs_configuration(ebs(w.ebs_gb))
            .build()
    });
    let spot = t::SpotProvisioningSpecification::builder()
        .timeout_duration_minutes(10)
        .timeout_action(t::SpotProvisioningTimeoutAction::SwitchToOnDemand)
        .allocation_strategy(t::SpotProvisioningAllocationStrategy::PriceCapacityOptimized)
        .build();
    let launch = t::InstanceFleetProvisioningSpecifications::builder().spot_specification(spot).build();
    let (on_demand, on_spot) = capacity(w);
    t::InstanceFleetConfig::builder()
        .name(w.role.name())
        .instance_fleet_type(w.role.fleet())
        .target_on_demand_capacity(on_demand)
        .target_spot_capacity(on_spot)
        .set_instance_type_configs(Some(types.collect()))
        .set_launch_specifications(w.spot.then_some(launch))
        .build()
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    #[test]
    fn spot_fleets_fall_back_to_on_demand() {
        let task = Workforce {
            role: Role::Task,
            types: vec!["m6g.xlarge".into()],
            count: 3,
            spot: true,
            ebs_gb: Some(32),
        };
        let fleet = fleet(&task);
        assert_eq!((fleet.target_on_demand_capacity, fleet.target_spot_capacity), (Some(0), Some(3)));
        let spot = fleet.launch_specifications.unwrap().spot_specification.unwrap();
        assert_eq!(spot.timeout_action.unwrap(), t::SpotProvisioningTimeoutAction::SwitchToOnDemand);
    }
}
