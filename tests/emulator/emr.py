"""Amazon EMR: its API over clusters that go through EMR's states, with a primary node that runs what it is told.

States, reason codes, error details, paging and log layout follow
https://docs.aws.amazon.com/emr/latest/APIReference/ and
https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-plan-debugging.html
Workers are on paper: they are counted, listed and resized, and run nothing; Spark's, where a test has some, are elsewhere.
"""

import gzip
import itertools
import json
import os
import random
import re
import signal
import string
import subprocess
import threading
import time
from pathlib import Path

import boto3
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.ec2 import ec2_backends
from moto.iam import iam_backends
from moto.sts import sts_backends

from . import access, bounds, launch, network, node

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
ENDED = ("TERMINATED", "TERMINATED_WITH_ERRORS")
TYPES = re.compile(r"(m[4-8]|c[4-8]|r[4-8]|i[34]|d[23]|g[456])[a-z-]*\.(large|\d*xlarge)")
SHUT = "A job flow that is shutting down, terminated, or finished may not be modified."
# Seconds by which the end of a cluster is told after that of its steps.
CLUSTER_TOLD_LATER = 0.1


class EmrError(Exception):
    def __init__(self, message, code="ValidationException"):
        super().__init__(message)
        self.code = code


def invalid_request(message):
    return EmrError(message, "InvalidRequestException")


def new_id(prefix, length=13):
    return prefix + "".join(random.choices(string.ascii_uppercase + string.digits, k=length))


class ElasticMapReduce:
    """The service, of all regions."""

    def __init__(self, endpoint, folder, nodes, pace):
        assert pace.keys() <= PACE.keys(), pace
        self.endpoint, self.folder, self.pace = endpoint, Path(folder), PACE | pace
        self.nodes = nodes
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
    if instances.get("AdditionalMasterSecurityGroups") and len(instances["AdditionalMasterSecurityGroups"]) > 4:
        # Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-sg-specify.html; the text is a guess.
        raise EmrError("Too many additional security groups.")
    managed = (instances.get("EmrManagedMasterSecurityGroup"), instances.get("EmrManagedSlaveSecurityGroup"))
    if any(managed) and not all(managed):
        raise EmrError("You must specify both the master and the slave security group.")


def refuse_idle_timeout(policy):
    if policy is None:
        return
    if not 60 <= policy.get("IdleTimeout", 0) <= 604_800:
        raise EmrError("IdleTimeout must be between 60 and 604800 seconds.")


def refuse_steps(steps):
    if len(steps) > 256:
        raise EmrError("Maximum number of active steps (256) exceeded.")
    for step in steps:
        if sum(map(len, step["HadoopJarStep"].get("Args", []))) > 10_240:
            raise EmrError("The length of the step arguments exceeds 10240.")


class Workforce:
    """An instance group or an instance fleet."""

    def __init__(self, cluster, spec):
        self.cluster, self.spec = cluster, spec
        self.fleet = "InstanceFleetType" in spec
        self.role = spec["InstanceFleetType" if self.fleet else "InstanceRole"]
        self.id = new_id("if-" if self.fleet else "ig-")
        self.on_demand, self.spot = spec.get("TargetOnDemandCapacity", 0), spec.get("TargetSpotCapacity", 0)
        self.requested = self.on_demand + self.spot if self.fleet else spec["InstanceCount"]
        self.state, self.instances = "PROVISIONING", []

    def start(self):
        self._fill()
        self.state = "RUNNING"

    def _fill(self):
        alive = [i for i in self.instances if i["Status"]["State"] == "RUNNING"]
        for _ in range(self.requested - len(alive)):
            n = random.getrandbits(68)
            self.instances.append({
                "Id": new_id("ci-"), "Ec2InstanceId": f"i-{n:017x}", "PrivateIpAddress": f"10.0.{n % 250}.{n // 250 % 250}",
                "InstanceType": self._type(), "Market": self.spec.get("Market", "ON_DEMAND"),
                "InstanceFleetId" if self.fleet else "InstanceGroupId": self.id,
                "Status": {"State": "RUNNING", "StateChangeReason": {}, "Timeline": {"CreationDateTime": time.time(), "ReadyDateTime": time.time()}}})
        for extra in alive[self.requested:]:
            self._end(extra)

    def _type(self):
        return self.spec["InstanceTypeConfigs"][0]["InstanceType"] if self.fleet else self.spec["InstanceType"]

    def _end(self, instance):
        instance["Status"]["State"] = "TERMINATED"
        instance["Status"]["Timeline"]["EndDateTime"] = time.time()

    def resize(self, count):
        self.requested, self.state = count, "RESIZING"
        threading.Timer(self.cluster.emr.pace["resize"], self.start).start()

    def end(self):
        for instance in self.instances:
            if instance["Status"]["State"] == "RUNNING":
                self._end(instance)
        self.state = "TERMINATED"

    def running(self):
        return sum(i["Status"]["State"] == "RUNNING" for i in self.instances)

    def list(self):
        primary = self.cluster.address
        is_public = self.role == "MASTER" and primary and not self.cluster.is_private()
        return [i | ({"PublicDnsName": primary, "PublicIpAddress": primary} if is_public else {}) for i in self.instances]

    def describe(self):
        status = {"State": self.state, "StateChangeReason": {}, "Timeline": {"CreationDateTime": self.cluster.created}}
        if self.fleet:
            return {"Id": self.id, "Name": self.spec.get("Name", ""), "Status": status, "InstanceFleetType": self.role,
                    "TargetOnDemandCapacity": self.on_demand, "TargetSpotCapacity": self.spot,
                    "ProvisionedOnDemandCapacity": min(self.running(), self.on_demand), "ProvisionedSpotCapacity": max(0, self.running() - self.on_demand),
                    "InstanceTypeSpecifications": [{k: v for k, v in c.items() if k in ("InstanceType", "WeightedCapacity", "BidPriceAsPercentageOfOnDemandPrice")} for c in self.spec["InstanceTypeConfigs"]],
                    "LaunchSpecifications": self.spec.get("LaunchSpecifications", {})}
        return {"Id": self.id, "Name": self.spec.get("Name", ""), "Market": self.spec.get("Market", "ON_DEMAND"), "InstanceGroupType": self.role,
                "InstanceType": self.spec["InstanceType"], "RequestedInstanceCount": self.requested, "RunningInstanceCount": self.running(),
                "Status": status, "Configurations": self.spec.get("Configurations", []),
                "EbsBlockDevices": [{"VolumeSpecification": c["VolumeSpecification"], "Device": f"/dev/sd{chr(98 + n)}"}
                                    for c in self.spec.get("EbsConfiguration", {}).get("EbsBlockDeviceConfigs", []) for n in range(c.get("VolumesPerInstance", 1))]}


class Cluster:
    """One cluster, driven by one thread: [`Cluster.live`]."""

    def __init__(self, emr, spec, region):
        self.emr, self.spec, self.region = emr, spec, region
        self.id = new_id("j-")
        self.arn = f"arn:aws:elasticmapreduce:{region}:{ACCOUNT}:cluster/{self.id}"
        self.tags = {t["Key"]: t.get("Value", "") for t in spec.get("Tags", [])}
        instances = spec["Instances"]
        self.fleets = bool(instances.get("InstanceFleets"))
        self.workforce = [Workforce(self, g) for g in instances.get("InstanceFleets") or instances.get("InstanceGroups", [])]
        self.protected = instances.get("TerminationProtected", False)
        self.keep_alive = instances.get("KeepJobFlowAliveWhenNoSteps", False)
        self.created, self.ready, self.ended = time.time(), None, None
        self.state, self.reason, self.details = "STARTING", {}, []
        self.steps, self.node, self.address = [], None, None
        self.stopping, self.why, self.abandoned = threading.Event(), None, False
        self.idle_since = time.time()
        # The policies by which whoever asked for it acts, None of root; the subnet and the zone that EMR chose.
        self.caller, self.subnet, self.zone = None, None, None
        self.add_steps(spec.get("Steps", []))

    # The API's view

    def lives(self):
        return self.state not in ENDED

    def changeable(self):
        if self.state in (*ENDED, "TERMINATING"):
            raise EmrError(SHUT)
        return self

    def subnets(self):
        instances = self.spec["Instances"]
        return instances.get("Ec2SubnetIds") or [instances[k] for k in ["Ec2SubnetId"] if instances.get(k)]

    def groups(self):
        instances = self.spec["Instances"]
        names = ("EmrManagedMasterSecurityGroup", "EmrManagedSlaveSecurityGroup", "ServiceAccessSecurityGroup")
        return {instances.get(n) for n in names} | set(instances.get("AdditionalMasterSecurityGroups", [])) - {None}

    def status(self):
        timeline = {"CreationDateTime": self.created, "ReadyDateTime": self.ready, "EndDateTime": self.ended}
        return {"State": self.state, "StateChangeReason": self.reason, "ErrorDetails": self.details,
                "Timeline": {k: v for k, v in timeline.items() if v}}

    def summary(self):
        return {"Id": self.id, "Name": self.spec["Name"], "Status": self.status(), "ClusterArn": self.arn, "NormalizedInstanceHours": 0}

    def is_private(self):
        ec2 = ec2_backends[ACCOUNT][self.region]
        return self.subnet is not None and network.is_private(ec2, ec2.get_subnet(self.subnet))

    def host(self):
        """The primary node's name; in a private subnet, one that is known in its VPC alone.

        Source: https://docs.aws.amazon.com/emr/latest/APIReference/API_Cluster.html
        """
        if self.address and self.is_private():
            return f"ip-{self.address.replace('.', '-')}.{self.region}.compute.internal"
        return self.address

    def describe(self):
        spec, instances = self.spec, self.spec["Instances"]
        log = re.sub("^s3://", "s3n://", spec["LogUri"]).rstrip("/") + "/" if spec.get("LogUri") else None
        subnets = self.subnets()
        attributes = {
            "Ec2KeyName": instances.get("Ec2KeyName"), "Ec2SubnetId": self.subnet or (subnets[0] if subnets else None),
            "RequestedEc2SubnetIds": subnets, "Ec2AvailabilityZone": self.zone, "IamInstanceProfile": spec.get("JobFlowRole"),
            "EmrManagedMasterSecurityGroup": instances.get("EmrManagedMasterSecurityGroup"),
            "EmrManagedSlaveSecurityGroup": instances.get("EmrManagedSlaveSecurityGroup"),
            "ServiceAccessSecurityGroup": instances.get("ServiceAccessSecurityGroup"),
            "AdditionalMasterSecurityGroups": instances.get("AdditionalMasterSecurityGroups", []),
        }
        return self.summary() | {k: v for k, v in {
            "Ec2InstanceAttributes": {k: v for k, v in attributes.items() if v is not None},
            "InstanceCollectionType": "INSTANCE_FLEET" if self.fleets else "INSTANCE_GROUP", "LogUri": log,
            "ReleaseLabel": spec.get("ReleaseLabel"), "AutoTerminate": not self.keep_alive, "TerminationProtected": self.protected,
            "VisibleToAllUsers": True, "Applications": [{"Name": a["Name"], "Version": "3"} for a in spec.get("Applications", [])],
            "Tags": [{"Key": k, "Value": v} for k, v in self.tags.items()], "ServiceRole": spec.get("ServiceRole"),
            "MasterPublicDnsName": self.host(), "Configurations": spec.get("Configurations", []),
            "SecurityConfiguration": spec.get("SecurityConfiguration"), "ScaleDownBehavior": spec.get("ScaleDownBehavior", "TERMINATE_AT_TASK_COMPLETION"),
            "EbsRootVolumeSize": spec.get("EbsRootVolumeSize"), "StepConcurrencyLevel": spec.get("StepConcurrencyLevel", 1),
        }.items() if v is not None}

    def step(self, step_id):
        step = next((s for s in self.steps if s.id == step_id), None)
        if step is None:
            raise invalid_request(f"Step id '{step_id}' is not valid.")
        return step

    def add_steps(self, specs):
        refuse_steps([s.spec for s in self.steps if s.state in ("PENDING", "RUNNING")] + specs)
        new = [Step(self, spec) for spec in specs]
        self.steps += new
        return new

    def terminate(self, code, message, details=()):
        if self.why is None:
            self.why, self.details = (code, message), list(details)
            if self.lives():
                self.state = "TERMINATING"
        self.stopping.set()

    def abandon(self):
        """The emulator ends."""
        self.abandoned = True
        self.stopping.set()
        for step in self.steps:
            step.kill(signal.SIGKILL)
        if self.node:
            self.node.stop()

    # Its life

    def live(self):
        try:
            self._live()
        except Exception as error:  # The emulator's own fault is EMR's.
            if not self.abandoned:
                self.terminate("INTERNAL_ERROR", f"Failed to start the job flow due to an internal error: {error!r}")
        if not self.abandoned:
            self._end()

    def _live(self):
        if self.stopping.wait(self.emr.pace["start"]):
            return
        if self.emr.failures:
            failure = self.emr.failures.pop(0)
            return failure(self) if callable(failure) else self.terminate(*failure)
        if problem := unusable(self):
            return self.terminate("VALIDATION_ERROR", problem, self.details)
        if failure := launch.refused(self) or bounds.fails_to_start(self):
            return self.terminate(*failure)
        self._let_nodes_talk()
        for group in self.workforce:
            group.start()
        if self.emr.nodes:
            self._boot()
        if self.stopping.is_set():
            return
        self.state = "BOOTSTRAPPING"
        if self.stopping.wait(self.emr.pace["bootstrap"]) or not self._bootstrap():
            return
        self.ready = self.idle_since = time.time()
        while not self.stopping.is_set():
            self._start_steps()
            busy = any(s.state in ("PENDING", "RUNNING", "CANCEL_PENDING") for s in self.steps)
            self.state = "RUNNING" if busy else "WAITING"
            # A running step is no activity to EMR, unless it is one of YARN's: a pending one is.
            if any(s.state == "PENDING" for s in self.steps) or self._is_busy():
                self.idle_since = time.time()
            if not busy and not self.keep_alive:
                return self.terminate("ALL_STEPS_COMPLETED", "Steps completed")
            timeout = (self.spec.get("AutoTerminationPolicy") or {}).get("IdleTimeout")
            if timeout and time.time() - self.idle_since > timeout * self.emr.pace["idle"]:
                return self.terminate("USER_REQUEST", "Cluster terminated by auto-termination policy due to idle timeout")
            self.stopping.wait(self.emr.pace["poll"])

    def _let_nodes_talk(self):
        """EMR adds rules to its two groups by which they let each other and the access group in, and leaves them there.

        Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-man-sec-groups.html
        """
        ec2, instances = ec2_backends[ACCOUNT][self.region], self.spec["Instances"]
        pair = [instances[k] for k in network.MANAGED if instances.get(k)]
        nodes = ("tcp", "0", "65535"), ("udp", "0", "65535"), ("icmp", "-1", "-1")
        rules = list(itertools.product(pair, pair, nodes))
        if access := instances.get("ServiceAccessSecurityGroup"):
            rules += [(group, access, ("tcp", "8443", "8443")) for group in pair]
        for group, other, (protocol, low, high) in rules:
            try:
                ec2.authorize_security_group_ingress(group, protocol, low, high, [], source_groups=[{"GroupId": other}])
            except Exception as error:
                if "Duplicate" not in repr(error):
                    raise

    def _is_busy(self):
        """A touch of isbusy is activity.

        Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-auto-termination-policy.html
        """
        mark = self.node and bounds.sees_isbusy(self.spec["ReleaseLabel"]) and self.node.path("/emr/metricscollector/isbusy")
        return bool(mark) and mark.exists() and time.time() - mark.stat().st_mtime < 60 * self.emr.pace["idle"]

    def _boot(self):
        key = ec2_backends[ACCOUNT][self.region].key_pairs.get(self.spec["Instances"].get("Ec2KeyName"))
        self.primary_id = next(g for g in self.workforce if g.role == "MASTER").instances[0]["Ec2InstanceId"]
        role = iam_backends[ACCOUNT]["aws"].get_instance_profile(self.spec["JobFlowRole"]).roles[0]
        assumed = sts_backends[ACCOUNT]["aws"].assume_role(
            region_name=self.region, role_session_name=self.primary_id, role_arn=role.arn, policy=None, duration=3600, external_id=None)
        self.credentials = {"AWS_ACCESS_KEY_ID": assumed.access_key_id, "AWS_SECRET_ACCESS_KEY": assumed.secret_access_key,
                            "AWS_SESSION_TOKEN": assumed.session_token, "AWS_REGION": self.region,
                            "AWS_DEFAULT_REGION": self.region, "AWS_ENDPOINT_URL": self.emr.endpoint,
                            "FRUITCTL_BUSY_SECONDS": str(min(0.5, 30 * self.emr.pace["idle"]))}
        self.s3 = boto3.client("s3", endpoint_url=self.emr.endpoint, region_name=self.region, aws_access_key_id=assumed.access_key_id,
                               aws_secret_access_key=assumed.secret_access_key, aws_session_token=assumed.session_token)
        self.node = node.Node(self.emr.folder / self.id, self.primary_id, key.public_key if key else "", self.credentials)
        self.node.write("mnt/var/lib/info/job-flow.json", json.dumps({"jobFlowId": self.id, "masterInstanceId": self.primary_id}))
        if any(application["Name"] == "Spark" for application in self.spec.get("Applications", [])):
            for name, text in self.emr.spark.items():
                self.node.write(f"opt/bin/{name}", text, 0o755)
        self.address = self.node.address

    def _bootstrap(self):
        """Runs the bootstrap actions on the primary, in order; false when one failed."""
        for number, action in enumerate(self.spec.get("BootstrapActions", []) if self.node else [], 1):
            script, log = f"/mnt/var/lib/bootstrap-actions/{number}", f"/mnt/var/log/bootstrap-actions/{number}"
            for folder in (script, log):
                self.node.path(folder).mkdir(parents=True, exist_ok=True)
            self.node.own("mnt/var/lib/bootstrap-actions", "mnt/var/log/bootstrap-actions")
            uri, args = action["ScriptBootstrapAction"]["Path"], action["ScriptBootstrapAction"].get("Args", [])
            where = f"On the master instance ({self.primary_id}), bootstrap action {number} "
            # Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-troubleshoot-error-errordetail-bootstrap.html
            data = {"primary-instance-id": self.primary_id, "bootstrap-action": str(number), "amazon-s3-path": uri,
                    "public-doc": "https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-troubleshoot-error-errordetail-bootstrap.html"}
            try:
                self._fetch(uri, f"{script}/script")
            except Exception as error:
                self.node.path(f"{log}/controller").write_text(f"{error}\n")
                self._push(log, f"node/{self.primary_id}/bootstrap-actions/{number}")
                self.terminate("BOOTSTRAP_FAILURE", f"{where}failed to download", [detail("BOOTSTRAP_FAILURE_BA_DOWNLOAD_FAILED_PRIMARY", data)])
                return False
            process = self.node.popen([f"{script}/script", *args], script, f"{log}/stdout", f"{log}/stderr")
            while process.poll() is None:
                if self.stopping.wait(0.02):
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return False
            self.node.path(f"{log}/controller").write_text(f"exit {process.returncode}\n")
            self._push(log, f"node/{self.primary_id}/bootstrap-actions/{number}")
            if process.returncode:
                self.terminate("BOOTSTRAP_FAILURE", f"{where}returned a non-zero return code",
                               [detail("BOOTSTRAP_FAILURE_PRIMARY_WITH_NON_ZERO_CODE", data | {"return-code": str(process.returncode)})])
                return False
        return True

    def _start_steps(self):
        running = sum(s.state == "RUNNING" for s in self.steps)
        for step in self.steps:
            if step.state == "PENDING" and running < self.spec.get("StepConcurrencyLevel", 1):
                step.state, step.started = "RUNNING", time.time()
                step.thread = threading.Thread(target=step.run, daemon=True)
                step.thread.start()
                running += 1

    def _end(self):
        code, message = self.why
        for step in self.steps:
            if step.state == "PENDING":
                step.state = "CANCELLED"
        # guess: AWS does not say which of the two is told first.
        time.sleep(CLUSTER_TOLD_LATER)
        self.state, self.reason = "TERMINATING", {"Code": code, "Message": message}
        for step in self.steps:
            if step.state == "PENDING":
                step.state = "CANCELLED"
            elif step.state == "RUNNING":
                step.kill(signal.SIGTERM)
        for step in self.steps:
            if step.thread and step.thread is not threading.current_thread():
                step.thread.join(10)
                step.kill(signal.SIGKILL)
        time.sleep(self.emr.pace["terminate"])
        if self.node:
            self.node.stop()
        for group in self.workforce:
            group.end()
        self.ended = time.time()
        self.state = "TERMINATED" if code in ("USER_REQUEST", "ALL_STEPS_COMPLETED") else "TERMINATED_WITH_ERRORS"

    def _fetch(self, uri, inside):
        bucket, _, key = uri.partition("://")[2].partition("/")
        self.s3.download_file(bucket, key, str(self.node.path(inside)))
        self.node.path(inside).chmod(0o755)
        self.node.own(inside)

    def _push(self, inside, prefix):
        """Logs to LogUri, gzipped, with the node's own rights."""
        if not self.spec.get("LogUri"):
            return
        bucket, _, base = self.spec["LogUri"].partition("://")[2].partition("/")
        base = base.rstrip("/") + "/" if base else ""
        for file in self.node.path(inside).iterdir():
            try:
                self.s3.put_object(Bucket=bucket, Key=f"{base}{self.id}/{prefix}/{file.name}.gz", Body=gzip.compress(file.read_bytes()))
            except Exception as error:
                print(f"{self.id}: logs not pushed: {error}", flush=True)


def detail(code, data):
    """An error detail: a map for each of its data, as in the answers that IntelliFlow's tests hold (Apache-2.0)."""
    return {"ErrorCode": code, "ErrorData": [{key: value} for key, value in data.items()], "ErrorMessage": code.replace("_", " ").capitalize()}


def unusable(cluster):
    """What EMR finds out about a cluster after it took it on, or None."""
    instances, ec2 = cluster.spec["Instances"], ec2_backends[ACCOUNT][cluster.region]
    if (key := instances.get("Ec2KeyName")) and key not in ec2.key_pairs:
        cluster.details = [detail("VALIDATION_ERROR_INVALID_SSH_KEY_NAME", {"ssh-key": key})]
        return f"The requested key pair {key} does not exist."
    subnet_ids = cluster.subnets()
    subnets = {s.id: s for zone in ec2.subnets.values() for s in zone.values()}
    for subnet in subnet_ids:
        if subnet not in subnets:
            return f"The VPC/subnet configuration was invalid: Subnet is required : The specified subnet '{subnet}' does not exist"
    vpcs = {subnets[s].vpc_id for s in subnet_ids}
    blocked = cluster.emr.get_block_public_access_configuration({}, cluster.region)["BlockPublicAccessConfiguration"]
    permitted = [(r["MinRange"], r.get("MaxRange", r["MinRange"])) for r in blocked.get("PermittedPublicSecurityGroupRuleRanges", [])]
    # As users report it, for port 22 alone; of a range, the form is a guess.
    ports = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in permitted)
    for group_id in cluster.groups() - {None}:
        group = ec2.get_security_group_from_id(group_id)
        if group is None:
            return f"The security group '{group_id}' does not exist"
        if vpcs and group.vpc_id not in vpcs:
            return f"The security group '{group_id}' is not in the VPC of the subnet"
        for rule in group.ingress_rules:
            public = rule.ip_range.get("CidrIp") == "0.0.0.0/0" or rule.ip_range.get("CidrIpv6") == "::/0"
            inside = any(low <= int(rule.from_port or 0) and int(rule.to_port or 65535) <= high for low, high in permitted)
            if public and blocked["BlockPublicSecurityGroupRules"] and not inside:
                return f"The EC2 Security Groups [{group_id}] contain one or more ingress rules to ports other than [{ports}] which allow public access."
    return network.unusable(ec2, instances, [subnets[s] for s in subnet_ids], cluster.spec["ReleaseLabel"])


class Step:
    """A step: a real process on the primary node."""

    def __init__(self, cluster, spec):
        self.cluster, self.spec, self.id = cluster, spec, new_id("s-")
        self.state, self.created, self.started, self.ended = "PENDING", time.time(), None, None
        self.failure, self.thread, self.process, self.cancelled, self.signal = None, None, None, False, None

    def describe(self):
        jar = self.spec["HadoopJarStep"]
        timeline = {"CreationDateTime": self.created, "StartDateTime": self.started, "EndDateTime": self.ended}
        status = {"State": self.state, "StateChangeReason": {}, "Timeline": {k: v for k, v in timeline.items() if v}}
        if self.failure:
            status["FailureDetails"] = self.failure
        return {"Id": self.id, "Name": self.spec["Name"], "ActionOnFailure": self.spec.get("ActionOnFailure", "TERMINATE_CLUSTER"),
                "Config": {"Jar": jar["Jar"], "Args": jar.get("Args", []), "Properties": {p["Key"]: p.get("Value") for p in jar.get("Properties", [])}},
                "Status": status}

    def cancel(self, how):
        if self.state not in ("PENDING", "RUNNING"):
            return False
        self.cancelled = True
        if self.state == "PENDING":
            self.state = "CANCELLED"
        else:
            self.state = "CANCEL_PENDING"
            self.kill(signal.SIGKILL if how == "TERMINATE_PROCESS" else signal.SIGTERM)
        return True

    def kill(self, how):
        """A signal to the step's process alone; of its own processes, only KILL reaches them.

        Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-cancel-steps.html
        """
        self.signal = how  # for a process that is not there yet
        if self.process and self.process.poll() is None:
            self.cluster.node.signal(self.process.pid, how)

    def run(self):
        cluster, jar = self.cluster, self.spec["HadoopJarStep"]
        node, argv = cluster.node, list(jar.get("Args", []))
        log, work = f"/mnt/var/log/hadoop/steps/{self.id}", f"/mnt/var/lib/hadoop/steps/{self.id}"
        if node is None:
            return self._finish(0)
        for folder in (log, work):
            node.path(folder).mkdir(parents=True)
        for name in ("controller", "stdout", "stderr", "syslog"):
            node.path(f"{log}/{name}").touch()
        node.own(log, work)

        def controller(text):
            with open(node.path(f"{log}/controller"), "a") as file:
                file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')}Z INFO {text}\n")

        code = -1
        try:
            controller(f"startExec 'hadoop jar {jar['Jar']} {' '.join(argv)}'")
            if jar["Jar"].endswith("script-runner.jar"):
                # It lies in EMR's own bucket, and comes by the node's role.
                # Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-steps.html; that the role is the node's: guess.
                cluster._fetch(jar["Jar"], f"{work}/script-runner.jar")
                cluster._fetch(argv[0], f"{work}/script")
                argv[0] = f"{work}/script"
            elif jar["Jar"] != "command-runner.jar":
                raise RuntimeError(f"Error fetching jar file {jar['Jar']}")
            self.process = node.popen(argv, work, f"{log}/stdout", f"{log}/stderr", EMR_STEP_ID=self.id)
            if self.signal:
                self.kill(self.signal)
            pushed = time.time()
            while self.process.poll() is None:
                time.sleep(0.02)
                if time.time() - pushed > cluster.emr.pace["logs"]:
                    cluster._push(log, f"steps/{self.id}")
                    pushed = time.time()
            code = self.process.returncode
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            controller(f"ERROR {error}")
        except Exception as error:
            controller(f"ERROR {error!r}")
        if cluster.abandoned:
            return
        controller(f"waitProcessCompletion ended with exit code {code}")
        cluster._push(log, f"steps/{self.id}")
        self._finish(code)

    def _finish(self, code):
        self.ended = time.time()
        cluster, action = self.cluster, self.spec.get("ActionOnFailure", "TERMINATE_CLUSTER")
        if self.cancelled:
            self.state = "CANCELLED"
        elif cluster.stopping.is_set():
            self.state = "INTERRUPTED"
        elif code == 0:
            self.state = "COMPLETED"
        else:
            self.failure = {"Reason": "Unknown Error.", "LogFile": f"{cluster.spec.get('LogUri', '').rstrip('/')}/{cluster.id}/steps/{self.id}/stderr.gz"}
            self.state = "FAILED"
            # Source: https://docs.aws.amazon.com/emr/latest/ManagementGuide/UsingEMR_TerminationProtection.html, its table.
            if action in ("TERMINATE_CLUSTER", "TERMINATE_JOB_FLOW") and not (cluster.protected and cluster.keep_alive):
                cluster.terminate("STEP_FAILURE", "Shut down as step failed")
            elif action == "CANCEL_AND_WAIT":
                for step in cluster.steps:
                    if step.state == "PENDING":
                        step.state = "CANCELLED"
