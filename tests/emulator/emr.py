"""Amazon EMR: its API over clusters that go through EMR's states, with a primary node that runs what it is told.

States, reason codes, error details, paging and log layout follow
https://docs.aws.amazon.com/emr/latest/APIReference/ and
https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-plan-debugging.html
Workers are on paper: they are counted, listed and resized, and run nothing; Spark's, where a test has some, are elsewhere.
"""

import json
import re
import threading
import time
from pathlib import Path

from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.iam import iam_backends

from . import access, bounds, launch
from .cluster import Cluster, Workforce, refuse_steps
from .errors import SHUT, EmrError, invalid_request

# Seconds that things take, but for the processes, which take what they take.
PACE = {
    "start": 0.3,        # STARTING
    "bootstrap": 0.1,    # BOOTSTRAPPING, besides the actions themselves
    "poll": 0.05,        # between two looks of a cluster at its steps
    "logs": 2.0,         # between two pushes of a running step's logs to LogUri (EMR: 300)
    "terminate": 0.3,    # TERMINATING
    "resize": 0.3,       # until a changed group has the instances asked for
    "propagation": 0.4,  # until EMR believes in a new instance profile
    "listing": 0.0,      # until ListClusters knows a new cluster
    "idle": 1.0,         # how long a second of an idle timeout lasts
}
RELEASES = ["emr-7.13.0", "emr-7.9.0", "emr-7.5.0", "emr-6.15.0", "emr-6.13.0", "emr-6.4.0", "emr-6.3.0", "emr-6.1.0", "emr-5.36.2", "emr-5.31.0"]
TYPES = re.compile(r"(m[4-8]|c[4-8]|r[4-8]|i[34]|d[23]|g[456])[a-z-]*\.(large|\d*xlarge)")


class ElasticMapReduce:
    """The service, of all regions."""

    def __init__(self, endpoint, folder, nodes, pace):
        assert pace.keys() <= PACE.keys(), pace
        self.endpoint, self.folder, self.pace = endpoint, Path(folder), PACE | pace
        self.nodes = nodes
        # What a step does where there are no nodes: called with it, it gives its exit code and stdout.
        self.job = lambda step: (0, b"")
        # (reason code, message, details) with which the next clusters fail to start; or what is called with such a cluster.
        self.failures = []
        # How often a new instance profile was not believed in.
        self.refusals = 0
        # (zone, instance type) of which EC2 has none left.
        self.exhausted = set()
        # The access key of the call that is served.
        self.key = None
        # What nodes of clusters with Spark have in their PATH: name -> text.
        self.spark = {}
        self.clusters, self.security_configurations, self.block_public_access = {}, {}, {}
        self.lock = threading.RLock()

    def stop(self):
        for cluster in self.clusters.values():
            cluster.abandon()
        self.clusters.clear()
        self.security_configurations.clear()
        self.block_public_access.clear()
        self.exhausted.clear()
        launch.NOT_OFFERED.clear()

    def serve(self, request, start_response):
        action = getattr(self, re.sub(r"(?<!^)(?=[A-Z])", "_", request.action).lower(), None)
        if action is None or request.operation is None:
            raise EmrError(f"Unknown operation {request.action}", "UnknownOperationException")
        with self.lock:
            self.key = request.access_key
            result = action(request.params, request.region)
        body = json.dumps(result or {}).encode()
        start_response("200 OK", [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))])
        return [body]

    def find(self, cluster_id, region):
        cluster = self.clusters.get(cluster_id)
        if cluster is None or cluster.region != region:
            raise invalid_request(f"Cluster id '{cluster_id}' is not valid.")
        return cluster

    # Clusters

    def run_job_flow(self, spec, region):
        refuse_job_flow(self, spec, region)
        cluster = Cluster(self, spec, region)
        cluster.caller = (access.policies_of(self.key) or (None, None))[1]
        self.clusters[cluster.id] = cluster
        threading.Thread(target=cluster.live, daemon=True).start()
        return {"JobFlowId": cluster.id, "ClusterArn": cluster.arn}

    def describe_cluster(self, params, region):
        return {"Cluster": self.find(params["ClusterId"], region).describe()}

    def list_clusters(self, params, region):
        states = params.get("ClusterStates")
        known = time.time() - self.pace["listing"]
        found = [c for c in self.clusters.values() if c.region == region and c.created <= known
                 and (not states or c.state in states)
                 and c.created >= params.get("CreatedAfter", 0) and c.created <= params.get("CreatedBefore", 1e12)]
        found.sort(key=lambda c: -c.created)
        return page("Clusters", [c.summary() for c in found], params, 50)

    def terminate_job_flows(self, params, region):
        clusters = [self.find(i, region) for i in params["JobFlowIds"]]
        if any(c.protected and c.lives() for c in clusters):
            # The whole text. Source: aws-nuke, which compares it. Guess: none of the clusters ends then.
            raise EmrError("Could not shut down one or more job flows since they are termination protected.")
        for cluster in clusters:
            cluster.terminate("USER_REQUEST", "Terminated by user request")

    def set_termination_protection(self, params, region):
        for i in params["JobFlowIds"]:
            self.find(i, region).changeable().protected = params["TerminationProtected"]

    def set_keep_job_flow_alive_when_no_steps(self, params, region):
        for i in params["JobFlowIds"]:
            self.find(i, region).changeable().keep_alive = params["KeepJobFlowAliveWhenNoSteps"]

    def modify_cluster(self, params, region):
        cluster = self.find(params["ClusterId"], region).changeable()
        cluster.spec["StepConcurrencyLevel"] = params.get("StepConcurrencyLevel", 1)
        return {"StepConcurrencyLevel": cluster.spec["StepConcurrencyLevel"]}

    def add_tags(self, params, region):
        bounds.refuse_tags(params["Tags"], self.find(params["ResourceId"], region).changeable().tags)
        self.find(params["ResourceId"], region).tags.update({t["Key"]: t.get("Value", "") for t in params["Tags"]})

    def remove_tags(self, params, region):
        for key in params["TagKeys"]:
            self.find(params["ResourceId"], region).tags.pop(key, None)

    def put_auto_termination_policy(self, params, region):
        cluster = self.find(params["ClusterId"], region).changeable()
        bounds.refuse_reading_idle(cluster)
        refuse_idle_timeout(params.get("AutoTerminationPolicy"))
        cluster.spec["AutoTerminationPolicy"] = params.get("AutoTerminationPolicy")

    def get_auto_termination_policy(self, params, region):
        bounds.refuse_reading_idle(self.find(params["ClusterId"], region))
        policy = self.find(params["ClusterId"], region).spec.get("AutoTerminationPolicy")
        return {"AutoTerminationPolicy": policy} if policy else {}

    def remove_auto_termination_policy(self, params, region):
        self.find(params["ClusterId"], region).spec.pop("AutoTerminationPolicy", None)

    def put_managed_scaling_policy(self, params, region):
        cluster = self.find(params["ClusterId"], region).changeable()
        bounds.refuse_scaling(params["ManagedScalingPolicy"], cluster.spec["ReleaseLabel"], region)
        cluster.spec["ManagedScalingPolicy"] = params["ManagedScalingPolicy"]

    def get_managed_scaling_policy(self, params, region):
        policy = self.find(params["ClusterId"], region).spec.get("ManagedScalingPolicy")
        return {"ManagedScalingPolicy": policy} if policy else {}

    def remove_managed_scaling_policy(self, params, region):
        self.find(params["ClusterId"], region).spec.pop("ManagedScalingPolicy", None)

    def list_bootstrap_actions(self, params, region):
        actions = self.find(params["ClusterId"], region).spec.get("BootstrapActions", [])
        rows = [{"Name": a["Name"], "ScriptPath": a["ScriptBootstrapAction"]["Path"], "Args": a["ScriptBootstrapAction"].get("Args", [])} for a in actions]
        return page("BootstrapActions", rows, params, 50)

    # Instances

    def list_instance_groups(self, params, region):
        cluster = self.find(params["ClusterId"], region)
        if cluster.fleets:
            raise invalid_request("Instance fleets and instance groups are mutually exclusive. The EMR cluster specified in the request uses instance fleets.")
        return page("InstanceGroups", [g.describe() for g in cluster.workforce], params, 50)

    def list_instance_fleets(self, params, region):
        cluster = self.find(params["ClusterId"], region)
        if not cluster.fleets:
            raise invalid_request("Instance fleets and instance groups are mutually exclusive. The EMR cluster specified in the request uses instance groups.")
        return page("InstanceFleets", [f.describe() for f in cluster.workforce], params, 50)

    def list_instances(self, params, region):
        cluster = self.find(params["ClusterId"], region)
        roles, states = params.get("InstanceGroupTypes"), params.get("InstanceStates")
        if fleet := params.get("InstanceFleetType"):
            roles = [fleet]
        wanted = params.get("InstanceGroupId") or params.get("InstanceFleetId")
        rows = [i for g in cluster.workforce if (not roles or g.role in roles) and wanted in (None, g.id) for i in g.list()]
        return page("Instances", [r for r in rows if not states or r["Status"]["State"] in states], params, 200)

    def modify_instance_groups(self, params, region):
        for change in params["InstanceGroups"]:
            group = next((g for c in self.clusters.values() if c.region == region for g in c.workforce if g.id == change["InstanceGroupId"]), None)
            if group is None:
                raise invalid_request(f"Instance group id '{change['InstanceGroupId']}' is not valid.")
            if group.role == "MASTER":
                raise EmrError("A master instance group may not be resized.")
            group.cluster.changeable()
            group.resize(change.get("InstanceCount", group.requested))

    def add_instance_groups(self, params, region):
        cluster = self.find(params["JobFlowId"], region).changeable()
        added = [Workforce(cluster, g) for g in params["InstanceGroups"]]
        if any(g.role != "TASK" for g in added):
            raise EmrError("Only task instance groups can be added to a running job flow.")
        cluster.workforce += added
        for group in added:
            group.start()
        return {"JobFlowId": cluster.id, "InstanceGroupIds": [g.id for g in added], "ClusterArn": cluster.arn}

    def add_instance_fleet(self, params, region):
        cluster = self.find(params["ClusterId"], region).changeable()
        fleet = Workforce(cluster, params["InstanceFleet"])
        if not cluster.fleets or fleet.role != "TASK" or any(f.role == "TASK" for f in cluster.workforce):
            raise EmrError("Only one task instance fleet can be added, and only to a cluster of fleets.")
        cluster.workforce.append(fleet)
        fleet.start()
        return {"ClusterId": cluster.id, "InstanceFleetId": fleet.id, "ClusterArn": cluster.arn}

    def modify_instance_fleet(self, params, region):
        cluster = self.find(params["ClusterId"], region).changeable()
        change = params["InstanceFleet"]
        fleet = next((f for f in cluster.workforce if f.id == change["InstanceFleetId"]), None)
        if fleet is None or not cluster.fleets:
            raise invalid_request("The instance fleet is not valid.")
        fleet.on_demand = change.get("TargetOnDemandCapacity", fleet.on_demand)
        fleet.spot = change.get("TargetSpotCapacity", fleet.spot)
        fleet.resize(fleet.on_demand + fleet.spot)

    # Steps

    def add_job_flow_steps(self, params, region):
        cluster = self.find(params["JobFlowId"], region).changeable()
        if not cluster.keep_alive and cluster.state not in ("STARTING", "BOOTSTRAPPING", "RUNNING"):
            raise EmrError(SHUT)
        return {"StepIds": [s.id for s in cluster.add_steps(params["Steps"])]}

    def describe_step(self, params, region):
        return {"Step": self.find(params["ClusterId"], region).step(params["StepId"]).describe()}

    def list_steps(self, params, region):
        cluster = self.find(params["ClusterId"], region)
        states, ids = params.get("StepStates"), params.get("StepIds")
        steps = [s for s in reversed(cluster.steps) if (not states or s.state in states) and (not ids or s.id in ids)]
        return page("Steps", [s.describe() for s in steps], params, 50)

    def cancel_steps(self, params, region):
        cluster = self.find(params["ClusterId"], region)
        rows = []
        for i in params["StepIds"]:
            step = cluster.step(i)
            done = step.cancel(params.get("StepCancellationOption", "SEND_INTERRUPT"))
            rows.append({"StepId": i, "Status": "SUBMITTED" if done else "FAILED"} | ({} if done else {"Reason": f"Step {i} is in {step.state} state and cannot be cancelled."}))
        return {"CancelStepsInfoList": rows}

    # What a region has

    def create_security_configuration(self, params, region):
        name = params["Name"]
        if (region, name) in self.security_configurations:
            raise invalid_request(f"A security configuration with name '{name}' already exists.")
        try:
            json.loads(params["SecurityConfiguration"])
        except ValueError:
            raise invalid_request("The security configuration is not valid JSON.") from None
        self.security_configurations[region, name] = {
            "Name": name, "SecurityConfiguration": params["SecurityConfiguration"], "CreationDateTime": time.time()}
        return {"Name": name, "CreationDateTime": time.time()}

    def describe_security_configuration(self, params, region):
        if (found := self.security_configurations.get((region, params["Name"]))) is None:
            raise invalid_request(f"Security configuration with name '{params['Name']}' does not exist.")
        return found

    def delete_security_configuration(self, params, region):
        self.describe_security_configuration(params, region)
        if users := [c.id for c in self.clusters.values() if c.region == region and c.lives() and c.spec.get("SecurityConfiguration") == params["Name"]]:
            raise invalid_request(f"Security configuration is in use by {', '.join(users)}.")
        del self.security_configurations[region, params["Name"]]

    def list_security_configurations(self, params, region):
        rows = [{"Name": c["Name"], "CreationDateTime": c["CreationDateTime"]} for (r, _), c in self.security_configurations.items() if r == region]
        return page("SecurityConfigurations", rows, params, 50)

    def get_block_public_access_configuration(self, _, region):
        on = {"BlockPublicSecurityGroupRules": True, "PermittedPublicSecurityGroupRuleRanges": [{"MinRange": 22, "MaxRange": 22}]}
        return {"BlockPublicAccessConfiguration": self.block_public_access.get(region, on),
                "BlockPublicAccessConfigurationMetadata": {"CreationDateTime": 0, "CreatedByArn": f"arn:aws:iam::{ACCOUNT}:root"}}

    def put_block_public_access_configuration(self, params, region):
        self.block_public_access[region] = params["BlockPublicAccessConfiguration"]

    def list_release_labels(self, params, _):
        prefix = (params.get("Filters") or {}).get("Prefix", "")
        return {"ReleaseLabels": [label for label in RELEASES if label.startswith(prefix)]}

    def describe_release_label(self, params, _):
        if (label := params.get("ReleaseLabel")) not in RELEASES:
            raise EmrError(f"The supplied release label is invalid: {label}.")
        return {"ReleaseLabel": label, "Applications": [{"Name": n, "Version": "3"} for n in ("Hadoop", "JupyterHub", "Spark")]}

    def list_supported_instance_types(self, params, region):
        self.describe_release_label(params, region)
        names = ["m5.xlarge", "m5.2xlarge", "m6g.xlarge", "m6g.2xlarge", "m7g.xlarge", "c5.xlarge", "c6g.xlarge", "c7g.xlarge", "r5.xlarge"]
        return {"SupportedInstanceTypes": [{"Type": n, "VCPU": 4, "MemoryGB": 16, "Architecture": "ARM64" if "g." in n else "X86_64"} for n in names]}


def page(name, rows, params, size):
    """A page of a list, and the marker of the next."""
    start = int(params.get("Marker") or 0)
    result = {name: rows[start:start + size]}
    if start + size < len(rows):
        result["Marker"] = str(start + size)
    return result


def refuse_job_flow(emr, spec, region):
    """What EMR refuses at once."""
    if (label := spec.get("ReleaseLabel")) not in RELEASES:
        raise EmrError(f"The supplied release label is invalid: {label}.")
    instances, iam = spec["Instances"], iam_backends[ACCOUNT]["aws"]
    if instances.get("InstanceGroups") and instances.get("InstanceFleets"):
        raise EmrError("Instance fleets and instance groups are mutually exclusive.")
    for group in instances.get("InstanceGroups", []):
        if not TYPES.fullmatch(group["InstanceType"]):
            raise EmrError(f"Instance type '{group['InstanceType']}' is not supported.")
        if group.get("BidPrice") and group.get("Market") != "SPOT":
            raise EmrError("Bid price may only be set for SPOT instance groups.")
    for fleet in instances.get("InstanceFleets", []):
        for kind in fleet.get("InstanceTypeConfigs", []):
            if not TYPES.fullmatch(kind["InstanceType"]):
                raise EmrError(f"Instance type '{kind['InstanceType']}' is not supported.")
        if fleet["InstanceFleetType"] == "MASTER" and fleet.get("TargetOnDemandCapacity", 0) + fleet.get("TargetSpotCapacity", 0) != 1:
            raise EmrError("The master instance fleet must have a target capacity of 1.")
    service = next((r for r in iam.roles.values() if spec.get("ServiceRole", "").rpartition("/")[2] == r.name), None)
    if service is None or "elasticmapreduce.amazonaws.com" not in json.dumps(service.assume_role_policy_document):
        raise EmrError(f"ServiceRole {spec.get('ServiceRole')} is invalid.")
    profile = next((p for p in iam.instance_profiles.values() if p.name == spec.get("JobFlowRole")), None)
    if profile is None or not profile.roles or profile.roles[0].name != profile.name:
        raise EmrError(f"Invalid InstanceProfile: {spec.get('JobFlowRole')}.")
    if time.time() - profile.create_date.timestamp() < emr.pace["propagation"]:
        # Now and then it is told at once, in either form; else when the cluster is launched (`launch.new_roles`).
        # Source: hashicorp/terraform-provider-aws, internal/service/emr/cluster.go, which waits on both.
        emr.refusals += 1
        if emr.refusals % 4 == 1:
            raise EmrError(f"Failed to authorize instance profile {profile.arn}", "AccessDeniedException")
        if emr.refusals % 4 == 3:
            raise EmrError(f"Invalid InstanceProfile: {spec.get('JobFlowRole')}.")
    if (name := spec.get("SecurityConfiguration")) and (region, name) not in emr.security_configurations:
        raise EmrError(f"Security configuration with name '{name}' does not exist.")
    refuse_idle_timeout(spec.get("AutoTerminationPolicy"))
    bounds.refuse(spec, region)
    refuse_steps(spec.get("Steps", []))
    managed = (instances.get("EmrManagedMasterSecurityGroup"), instances.get("EmrManagedSlaveSecurityGroup"))
    if any(managed) and not all(managed):
        raise EmrError("You must specify both the master and the slave security group.")


def refuse_idle_timeout(policy):
    if policy is None:
        return
    if not 60 <= policy.get("IdleTimeout", 0) <= 604_800:
        raise EmrError("IdleTimeout must be between 60 and 604800 seconds.")
