//! EMR: clusters, what they are made of, and their steps. What a region has and allows is in [`region`]; what we ask
//! for and are told, in the SDK's types and ours, is in [`convert`].

mod causes;
mod convert;
mod ended;
mod failed;
mod region;
mod state;
mod unread;

use aws_sdk_emr::config::retry::RetryConfig;
use aws_sdk_emr::primitives::DateTime;
use aws_sdk_emr::types as t;
use serde::Serialize;

use super::error::told;
use super::{ApiError, Aws, Reason, Tags, call};
use crate::config::Classifications;
pub use convert::step_words;
use convert::*;
pub use ended::{Detail, EndReason, Status};
pub use failed::StepCause;
pub use state::{ClusterState, InstanceState, StepState};
use unread::optional;
pub use unread::{Setting, Unread};

type Result<T> = std::result::Result<T, ApiError>;

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs the masters, and our job.
    Primary,
    /// Holds HDFS.
    Core,
    /// Only computes.
    Task,
}

impl Role {
    /// As people say it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Core => "core",
            Role::Task => "task",
        }
    }

    fn group(self) -> t::InstanceRoleType {
        match self {
            Role::Primary => t::InstanceRoleType::Master,
            Role::Core => t::InstanceRoleType::Core,
            Role::Task => t::InstanceRoleType::Task,
        }
    }

    fn fleet(self) -> t::InstanceFleetType {
        match self {
            Role::Primary => t::InstanceFleetType::Master,
            Role::Core => t::InstanceFleetType::Core,
            Role::Task => t::InstanceFleetType::Task,
        }
    }

    fn parse(text: &str) -> Role {
        match text {
            "MASTER" => Role::Primary,
            "CORE" => Role::Core,
            _ => Role::Task,
        }
    }
}

/// An instance group or fleet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Workforce {
    /// What they are for.
    pub role: Role,
    /// Instance types; a group has one.
    pub types: Vec<String>,
    /// How many are asked for.
    pub count: i32,
    /// Spot instances.
    pub spot: bool,
    /// GiB of EBS each; of a fleet, EMR does not say.
    pub ebs_gb: Option<i32>,
}

/// A script that runs on every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapAction {
    pub name: String,
    /// `s3://...`.
    pub path: String,
    /// The SHA-256 without which a node does not run it; none, where nothing checks.
    pub sha256: Option<String>,
    pub args: Vec<String>,
}

/// A cluster: what is asked for in RunJobFlow, and what DescribeCluster and its siblings say of one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    pub name: String,
    pub tags: Tags,
    /// `emr-7.13.0`.
    pub release: String,
    /// Names of applications, sorted.
    pub applications: Vec<String>,
    /// `s3://...`, without a slash at the end.
    pub log_uri: String,
    /// EMR's role.
    pub service_role: String,
    /// The nodes' instance profile.
    pub profile: String,
    /// A group's cluster is in one, a fleet's in one of them.
    pub subnets: Vec<String>,
    /// The machine image; none for the release's own.
    pub image: Option<String>,
    /// The key pair; empty for none.
    pub key_pair: String,
    /// The primary node's security group.
    pub primary_group: String,
    /// The workers' security group.
    pub worker_group: String,
    /// The security group by which EMR reaches nodes in private subnets; empty for none.
    pub access_group: String,
    /// Additional security groups of the primary node.
    pub additional_primary: Vec<String>,
    /// Additional security groups of the others.
    pub additional_workers: Vec<String>,
    pub security_configuration: String,
    /// Fleets, not groups.
    pub fleets: bool,
    /// Its instances, by role.
    pub workforce: Vec<Workforce>,
    /// By classification.
    pub configurations: Classifications,
    /// In order.
    pub bootstrap: Vec<BootstrapAction>,
    /// Seconds without work after which it ends itself.
    pub idle_seconds: Option<i64>,
    /// Bounds of core and task instances.
    pub scaling: Option<(i32, i32)>,
    /// It refuses to be terminated.
    pub protected: bool,
    /// GiB of the root volume.
    pub root_gb: i32,
    /// It stays when there is no step left to do.
    pub keep_alive: bool,
    /// Steps that it begins with. Of one that exists, see [`Aws::step`].
    pub steps: Vec<StepSpec>,
}

/// A step that runs a script from the bucket on the primary node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSpec {
    /// Its name, by which it is found again.
    pub name: String,
    /// `s3://...`.
    pub script: String,
    /// The script's SHA-256, without which the node does not run it.
    pub sha256: String,
    /// What it is called with.
    pub args: Vec<String>,
    /// The cluster ends with it if it fails.
    pub is_last: bool,
}

/// A step that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Step {
    /// `s-...`.
    pub id: String,
    pub name: String,
    pub state: StepState,
    /// What EMR says about its failure; often nothing.
    pub failure: String,
    /// When it began, in seconds since 1970.
    pub started: Option<i64>,
    /// When it ended.
    pub ended: Option<i64>,
}

impl Step {
    /// It will not change any more.
    pub fn has_ended(&self) -> bool {
        self.state.has_ended()
    }
}

/// A cluster that exists, or did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Existing {
    /// `j-...`.
    pub id: String,
    pub status: Status,
    /// The primary node's address.
    pub primary_dns: Option<String>,
    /// Its availability zone.
    pub zone: Option<String>,
    pub cluster: Cluster,
    /// What of it EMR did not tell, and why. `cluster` says nothing about these.
    pub unread: Vec<Unread>,
}

impl Existing {
    /// Whether a setting could be read.
    pub fn knows(&self, setting: Setting) -> bool {
        self.unread.iter().all(|unread| unread.setting != setting)
    }
}

/// A line of ListClusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// `j-...`.
    pub id: String,
    pub name: String,
    pub status: Status,
}

/// An instance of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Instance {
    /// `i-...`.
    pub id: String,
    pub kind: String,
    /// ON_DEMAND or SPOT.
    pub market: String,
    pub state: InstanceState,
    /// Its public address, or its private one.
    pub address: String,
    /// It shows a public address.
    pub public: bool,
    /// When it was asked for, in seconds since 1970.
    pub created: Option<i64>,
    /// When it was ready for work.
    pub ready: Option<i64>,
    /// When it ended.
    pub ended: Option<i64>,
}

impl Aws {
    /// Starts a cluster; its id. Asked for once only: where the answer is lost ([`ApiError::is_lost`]), look whether
    /// there is a cluster of this name before asking again.
    pub async fn run_job_flow(&self, cluster: &Cluster) -> Result<String> {
        let instances = t::JobFlowInstancesConfig::builder()
            .set_ec2_key_name(Some(cluster.key_pair.clone()).filter(|name| !name.is_empty()))
            .emr_managed_master_security_group(&cluster.primary_group)
            .emr_managed_slave_security_group(&cluster.worker_group)
            .set_service_access_security_group(Some(cluster.access_group.clone()).filter(|id| !id.is_empty()))
            .set_additional_master_security_groups(some(&cluster.additional_primary))
            .set_additional_slave_security_groups(some(&cluster.additional_workers))
            .keep_job_flow_alive_when_no_steps(cluster.keep_alive)
            .termination_protected(cluster.protected);
        let instances = if cluster.fleets {
            instances
                .set_ec2_subnet_ids(Some(cluster.subnets.clone()))
                .set_instance_fleets(Some(cluster.workforce.iter().map(fleet).collect()))
        } else {
            instances
                .set_ec2_subnet_id(cluster.subnets.first().cloned())
                .set_instance_groups(Some(cluster.workforce.iter().map(group).collect()))
        };
        let run = self
            .emr
            .run_job_flow()
            .name(&cluster.name)
            .set_tags(Some(
                cluster.tags.iter().map(|(k, v)| t::Tag::builder().key(k).value(v).build()).collect(),
            ))
            .release_label(&cluster.release)
            .set_custom_ami_id(cluster.image.clone())
            .set_applications(Some(
                cluster
                    .applications
                    .iter()
                    .map(|name| t::Application::builder().name(name).build())
                    .collect(),
            ))
            .log_uri(format!("{}/", cluster.log_uri))
            .service_role(&cluster.service_role)
            .job_flow_role(&cluster.profile)
            .security_configuration(&cluster.security_configuration)
            .set_configurations(Some(configurations(&cluster.configurations)))
            .set_bootstrap_actions(Some(
                cluster.bootstrap.iter().map(|action| bootstrap_action(action, &self.region)).collect(),
            ))
            .set_steps(Some(cluster.steps.iter().map(|step| step_config(step, &self.region)).collect()))
            .set_auto_termination_policy(cluster.idle_seconds.map(idle_policy))
            .set_managed_scaling_policy(cluster.scaling.map(|bounds| scaling_policy(bounds, cluster.fleets)))
            .ebs_root_volume_size(cluster.root_gb)
            .scale_down_behavior(t::ScaleDownBehavior::TerminateAtTaskCompletion)
            .visible_to_all_users(true)
            .instances(instances.build());
        let once = aws_sdk_emr::config::Builder::default().retry_config(RetryConfig::disabled());
        const RUN: &str = "elasticmapreduce:RunJobFlow";
        let answer =
            call(RUN, &cluster.name, || run.clone().customize().config_override(once.clone()).send()).await?;
        told(answer.job_flow_id, "JobFlowId", RUN, &cluster.name)
    }

    /// Clusters made at or after a time, in these states (all, if empty).
    pub async fn list_clusters(&self, since: Option<i64>, states: &[&str]) -> Result<Vec<Listed>> {
        const LIST: &str = "elasticmapreduce:ListClusters";
        let mut clusters = Vec::new();
        let mut marker = None;
        loop {
            let page = call(LIST, &self.region, || {
                self.emr
                    .list_clusters()
                    .set_created_after(since.map(DateTime::from_secs))
                    .set_cluster_states(
                        (!states.is_empty())
                            .then(|| states.iter().map(|s| t::ClusterState::from(*s)).collect()),
                    )
                    .set_marker(marker.clone())
                    .send()
            })
            .await?;
            for c in told(page.clusters, "Clusters", LIST, &self.region)? {
                clusters.push(Listed {
                    id: told(c.id, "Id of a cluster", LIST, &self.region)?,
                    name: told(c.name, "Name of a cluster", LIST, &self.region)?,
                    status: status(c.status),
                });
            }
            marker = page.marker;
            if marker.is_none() {
                return Ok(clusters);
            }
        }
    }

    /// A cluster's state, tags and what DescribeCluster says; without its instances, scripts and policies.
    pub async fn describe_cluster(&self, id: &str) -> Result<Option<Existing>> {
        const DESCRIBE: &str = "elasticmapreduce:DescribeCluster";
        let found = match call(DESCRIBE, id, || self.emr.describe_cluster().cluster_id(id).send()).await {
            Ok(found) => told(found.cluster, "Cluster", DESCRIBE, id)?,
            Err(e) if e.reason() == Some(Reason::NotThere) => return Ok(None),
            Err(e) => return Err(e),
        };
        let whole = |tags: &Vec<t::Tag>| tags.iter().all(|tag| tag.key.is_some() && tag.value.is_some());
        let tags = found.tags.clone().filter(whole);
        told(tags, "Tags of the cluster", DESCRIBE, id)?;
        Ok(Some(existing(id, found)))
    }

    /// A cluster's bootstrap actions, in order; `None`: EMR does not say all of them.
    pub async fn bootstrap_actions(&self, id: &str) -> Result<Option<Vec<BootstrapAction>>> {
        let list = call("elasticmapreduce:ListBootstrapActions", id, || {
            self.emr.list_bootstrap_actions().cluster_id(id).send()
        });
        Ok(list.await?.bootstrap_actions.and_then(|all| all.into_iter().map(bootstrap_of).collect()))
    }

    /// Adds all that can be compared to what DescribeCluster said. A setting that cannot be read is one of
    /// [`Existing::unread`]: it is no reason to know nothing of a cluster that costs money.
    pub async fn inspect_cluster(&self, mut found: Existing) -> Result<Existing> {
        let id = found.id.as_str();
        let idle = call("elasticmapreduce:GetAutoTerminationPolicy", id, || {
            self.emr.get_auto_termination_policy().cluster_id(id).send()
        });
        let scaling = call("elasticmapreduce:GetManagedScalingPolicy", id, || {
            self.emr.get_managed_scaling_policy().cluster_id(id).send()
        });
        let (bootstrap, idle, scaling, mut workforce) =
            tokio::join!(self.bootstrap_actions(id), idle, scaling, self.workforce(id, found.cluster.fleets));
        if workforce.is_err() && !found.knows(Setting::Collection) {
            found.cluster.fleets = true;
            workforce = self.workforce(id, true).await;
        }
        let (workforce, is_whole) = workforce?;
        found.cluster.workforce = workforce.into_iter().map(|(_, w)| w).collect();
        let unread = &mut found.unread;
        if !is_whole {
            unread.push(Unread::untold(Setting::Workforce));
        }
        match optional(bootstrap, Setting::Bootstrap, unread)? {
            Some(Some(actions)) => found.cluster.bootstrap = actions,
            Some(None) => unread.push(Unread::untold(Setting::Bootstrap)),
            None => {}
        }
        found.cluster.idle_seconds =
            optional(idle, Setting::Idle, unread)?.and_then(|got| got.auto_termination_policy?.idle_timeout);
        found.cluster.scaling = optional(scaling, Setting::Scaling, unread)?
            .and_then(|got| got.managed_scaling_policy?.compute_limits)
            .and_then(|limits| limits.minimum_capacity_units.zip(limits.maximum_capacity_units));
        Ok(found)
    }

    /// A cluster's groups or fleets, with their ids; and whether EMR says all of them.
    async fn workforce(&self, id: &str, fleets: bool) -> Result<(Vec<(String, Workforce)>, bool)> {
        let mut workforce: Vec<(String, Workforce)> = Vec::new();
        let is_whole;
        if fleets {
            let list = call("elasticmapreduce:ListInstanceFleets", id, || {
                self.emr.list_instance_fleets().cluster_id(id).send()
            });
            let all = list.await?.instance_fleets;
            is_whole = all.as_ref().is_some_and(|all| all.iter().all(is_told_of_fleet));
            for fleet in all.unwrap_or_default() {
                let spot = fleet.target_spot_capacity.unwrap_or(0);
                let types = fleet.instance_type_specifications.unwrap_or_default();
                workforce.push((
                    fleet.id.unwrap_or_default(),
                    Workforce {
                        role: fleet.instance_fleet_type.map_or(Role::Task, |kind| Role::parse(kind.as_str())),
                        types: types.into_iter().filter_map(|s| s.instance_type).collect(),
                        count: spot + fleet.target_on_demand_capacity.unwrap_or(0),
                        spot: spot > 0,
                        ebs_gb: None,
                    },
                ));
            }
        } else {
            let list = call("elasticmapreduce:ListInstanceGroups", id, || {
                self.emr.list_instance_groups().cluster_id(id).send()
            });
            let all = list.await?.instance_groups;
            is_whole = all.as_ref().is_some_and(|all| all.iter().all(is_told_of_group));
            for group in all.unwrap_or_default() {
                let volumes = group.ebs_block_devices.unwrap_or_default();
                workforce.push((
                    group.id.unwrap_or_default(),
                    Workforce {
                        role: group.instance_group_type.map_or(Role::Task, |kind| Role::parse(kind.as_str())),
                        types: group.instance_type.into_iter().collect(),
                        count: group.requested_instance_count.unwrap_or(0),
                        spot: group.market == Some(t::MarketType::Spot),
                        // The SDK makes a size of 0 of none.
                        ebs_gb: volumes
                            .iter()
                            .find_map(|v| v.volume_specification.as_ref()?.size_in_gb.filter(|gb| *gb > 0)),
                    },
                ));
            }
        }
        workforce.sort_by_key(|(_, w)| w.role);
        Ok((workforce, is_whole))
    }

    /// Sets the number of instances of a role, adding the group where there is none.
    pub async fn resize(&self, id: &str, fleets: bool, wanted: &Workforce) -> Result<()> {
        let (all, _) = self.workforce(id, fleets).await?;
        let found = all.iter().find(|(_, w)| w.role == wanted.role);
        match (found, fleets) {
            (Some((group, _)), false) => {
                let change = t::InstanceGroupModifyConfig::builder()
                    .instance_group_id(group)
                    .instance_count(wanted.count)
                    .build();
                call("elasticmapreduce:ModifyInstanceGroups", id, || {
                    self.emr.modify_instance_groups().cluster_id(id).instance_groups(change.clone()).send()
                })
                .await
                .map(drop)
            }
            (Some((fleet, _)), true) => {
                let (on_demand, spot) = capacity(wanted);
                let change = t::InstanceFleetModifyConfig::builder()
                    .instance_fleet_id(fleet)
                    .target_on_demand_capacity(on_demand)
                    .target_spot_capacity(spot)
                    .build();
                call("elasticmapreduce:ModifyInstanceFleet", id, || {
                    self.emr.modify_instance_fleet().cluster_id(id).instance_fleet(change.clone()).send()
                })
                .await
                .map(drop)
            }
            (None, false) => {
                let group = group(wanted);
                let add =
                    || self.emr.add_instance_groups().job_flow_id(id).instance_groups(group.clone()).send();
                match call("elasticmapreduce:AddInstanceGroups", id, add).await {
                    // Whether it is there shows at the next look; another call might make another group.
                    Err(lost) if lost.is_lost() => {
                        let (now, _) = self.workforce(id, fleets).await?;
                        if now.iter().any(|(_, w)| w.role == wanted.role) { Ok(()) } else { Err(lost) }
                    }
                    other => other.map(drop),
                }
            }
            (None, true) => {
                let fleet = fleet(wanted);
                call("elasticmapreduce:AddInstanceFleet", id, || {
                    self.emr.add_instance_fleet().cluster_id(id).instance_fleet(fleet.clone()).send()
                })
                .await
                .map(drop)
            }
        }
    }

    /// Sets or removes the idle timeout.
    pub async fn put_idle_timeout(&self, id: &str, seconds: Option<i64>) -> Result<()> {
        match seconds {
            Some(seconds) => call("elasticmapreduce:PutAutoTerminationPolicy", id, || {
                self.emr
                    .put_auto_termination_policy()
                    .cluster_id(id)
                    .auto_termination_policy(idle_policy(seconds))
                    .send()
            })
            .await
            .map(drop),
            None => call("elasticmapreduce:RemoveAutoTerminationPolicy", id, || {
                self.emr.remove_auto_termination_policy().cluster_id(id).send()
            })
            .await
            .map(drop),
        }
    }

    /// Sets or removes managed scaling.
    pub async fn put_scaling(&self, id: &str, bounds: Option<(i32, i32)>, fleets: bool) -> Result<()> {
        match bounds {
            Some(bounds) => call("elasticmapreduce:PutManagedScalingPolicy", id, || {
                self.emr
                    .put_managed_scaling_policy()
                    .cluster_id(id)
                    .managed_scaling_policy(scaling_policy(bounds, fleets))
                    .send()
            })
            .await
            .map(drop),
            None => call("elasticmapreduce:RemoveManagedScalingPolicy", id, || {
                self.emr.remove_managed_scaling_policy().cluster_id(id).send()
            })
            .await
            .map(drop),
        }
    }

    /// Sets termination protection.
    pub async fn protect_cluster(&self, id: &str, protected: bool) -> Result<()> {
        call("elasticmapreduce:SetTerminationProtection", id, || {
            self.emr.set_termination_protection().job_flow_ids(id).termination_protected(protected).send()
        })
        .await
        .map(drop)
    }

    /// Asks a cluster to end. It takes minutes; see [`Aws::describe_cluster`].
    pub async fn terminate_cluster(&self, id: &str) -> Result<()> {
        call("elasticmapreduce:TerminateJobFlows", id, || {
            self.emr.terminate_job_flows().job_flow_ids(id).send()
        })
        .await
        .map(drop)
    }

    /// Adds a step; its id. Asked for once only: where the answer is lost, look for its name among
    /// [`Aws::steps`] before asking again.
    pub async fn add_step(&self, cluster: &str, step: &StepSpec) -> Result<String> {
        let config = step_config(step, &self.region);
        const ADD: &str = "elasticmapreduce:AddJobFlowSteps";
        let add = call(ADD, cluster, || {
            self.emr.add_job_flow_steps().job_flow_id(cluster).steps(config.clone()).send()
        });
        told(add.await?.step_ids.and_then(|ids| ids.into_iter().next()), "StepIds", ADD, cluster)
    }

    pub async fn step(&self, cluster: &str, id: &str) -> Result<Option<Step>> {
        const DESCRIBE: &str = "elasticmapreduce:DescribeStep";
        let describe = call(DESCRIBE, id, || self.emr.describe_step().cluster_id(cluster).step_id(id).send());
        match describe.await {
            Ok(found) => {
                told(found.step, "Step", DESCRIBE, id).map(|s| Some(step_of(s.id, s.name, s.status)))
            }
            Err(e) if e.reason() == Some(Reason::NotThere) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A cluster's steps, the latest first.
    pub async fn steps(&self, cluster: &str) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let mut marker = None;
        loop {
            let page = call("elasticmapreduce:ListSteps", cluster, || {
                self.emr.list_steps().cluster_id(cluster).set_marker(marker.clone()).send()
            })
            .await?;
            steps.extend(page.steps.unwrap_or_default().into_iter().map(|s| step_of(s.id, s.name, s.status)));
            marker = page.marker;
            if marker.is_none() {
                return Ok(steps);
            }
        }
    }

    /// Asks a step to end.
    pub async fn cancel_step(&self, cluster: &str, id: &str) -> Result<()> {
        call("elasticmapreduce:CancelSteps", id, || {
            self.emr
                .cancel_steps()
                .cluster_id(cluster)
                .step_ids(id)
                .step_cancellation_option(t::StepCancellationOption::SendInterrupt)
                .send()
        })
        .await
        .map(drop)
    }

    /// A cluster's instances, those that have ended among them.
    pub async fn instances(&self, id: &str) -> Result<Vec<Instance>> {
        const LIST: &str = "elasticmapreduce:ListInstances";
        let mut instances = Vec::new();
        let mut marker = None;
        loop {
            let page =
                call(LIST, id, || self.emr.list_instances().cluster_id(id).set_marker(marker.clone()).send())
                    .await?;
            for i in told(page.instances, "Instances", LIST, id)? {
                let is_given = |address: &Option<String>| address.as_ref().is_some_and(|a| !a.is_empty());
                let public = is_given(&i.public_dns_name) || is_given(&i.public_ip_address);
                let status = i.status;
                let timeline = status.as_ref().and_then(|s| s.timeline.clone());
                instances.push(Instance {
                    id: i.ec2_instance_id.unwrap_or_default(),
                    kind: i.instance_type.unwrap_or_default(),
                    market: i.market.map(|m| m.as_str().to_owned()).unwrap_or_default(),
                    state: InstanceState::of(status.and_then(|s| s.state).as_ref().map(|s| s.as_str())),
                    public,
                    // Of a private node, the public name may be there and empty.
                    address: i
                        .public_dns_name
                        .filter(|name| !name.is_empty())
                        .or(i.private_ip_address)
                        .unwrap_or_default(),
                    created: timeline.as_ref().and_then(|t| t.creation_date_time).map(|t| t.secs()),
                    ready: timeline.as_ref().and_then(|t| t.ready_date_time).map(|t| t.secs()),
                    ended: timeline.and_then(|t| t.end_date_time).map(|t| t.secs()),
                });
            }
            marker = page.marker;
            if marker.is_none() {
                return Ok(instances);
            }
        }
    }
}
