"""A cluster on EMR: its groups or fleets, its life from the first instance to the last, and its steps.

With what EMR does by itself: late refusals, rules in security groups, bootstrap actions, logs to LogUri. Without nodes, steps
and logs are made on paper.
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

import boto3
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.ec2 import ec2_backends
from moto.iam import iam_backends
from moto.s3 import s3_backends
from moto.s3.exceptions import MissingBucket
from moto.sts import sts_backends

from . import bounds, launch, network, node
from .errors import SHUT, EmrError, invalid_request

ENDED = ("TERMINATED", "TERMINATED_WITH_ERRORS")
# Seconds by which the end of a cluster is told after that of its steps.
CLUSTER_TOLD_LATER = 0.1


def new_id(prefix, length=13):
    return prefix + "".join(random.choices(string.ascii_uppercase + string.digits, k=length))


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
        more = [group for name in ("AdditionalMasterSecurityGroups", "AdditionalSlaveSecurityGroups") for group in instances.get(name, [])]
        return {group for group in [*more, *map(instances.get, names)] if group}

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
            # Empty where there are none, and CustomAmiId absent: as recorded in cloud-custodian's tests and by AWS's page of the call.
            "AdditionalMasterSecurityGroups": instances.get("AdditionalMasterSecurityGroups", []),
            "AdditionalSlaveSecurityGroups": instances.get("AdditionalSlaveSecurityGroups", []),
        }
        return self.summary() | {k: v for k, v in {
            "Ec2InstanceAttributes": {k: v for k, v in attributes.items() if v is not None},
            "InstanceCollectionType": "INSTANCE_FLEET" if self.fleets else "INSTANCE_GROUP", "LogUri": log,
            "ReleaseLabel": spec.get("ReleaseLabel"), "AutoTerminate": not self.keep_alive, "TerminationProtected": self.protected,
            "VisibleToAllUsers": True, "Applications": [{"Name": a["Name"], "Version": "3"} for a in spec.get("Applications", [])],
            "Tags": [{"Key": k, "Value": v} for k, v in self.tags.items()], "ServiceRole": spec.get("ServiceRole"),
            "MasterPublicDnsName": self.host(), "Configurations": spec.get("Configurations", []),
            "SecurityConfiguration": spec.get("SecurityConfiguration"), "ScaleDownBehavior": spec.get("ScaleDownBehavior", "TERMINATE_AT_TASK_COMPLETION"),
            "CustomAmiId": spec.get("CustomAmiId"), "EbsRootVolumeSize": spec.get("EbsRootVolumeSize"), "StepConcurrencyLevel": spec.get("StepConcurrencyLevel", 1),
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
            program = f"{script}/script"
            try:
                # A path may name a file of the node. Source: terraform-aws-modules/terraform-aws-emr, examples/private-cluster/main.tf.
                if uri.startswith("file:"):
                    program = "/" + uri.removeprefix("file:").lstrip("/")
                else:
                    self._fetch(uri, program)
            except Exception as error:
                self.node.path(f"{log}/controller").write_text(f"{error}\n")
                self._push(log, f"node/{self.primary_id}/bootstrap-actions/{number}")
                self.terminate("BOOTSTRAP_FAILURE", f"{where}failed to download", [detail("BOOTSTRAP_FAILURE_BA_DOWNLOAD_FAILED_PRIMARY", data)])
                return False
            process = self.node.popen([program, *args], script, f"{log}/stdout", f"{log}/stderr")
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

    def log_on_paper(self, step, logs):
        """A step's logs to LogUri, where there is no node."""
        bucket, _, base = self.spec["LogUri"].partition("://")[2].partition("/")
        for name, text in logs.items():
            try:
                s3_backends[ACCOUNT]["aws"].put_object(bucket, f"{base.rstrip('/')}/{self.id}/steps/{step}/{name}.gz", gzip.compress(text))
            except MissingBucket:
                pass

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
    for group_id in cluster.groups():
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
            code, said = cluster.emr.job(self)
            cluster.log_on_paper(self.id, {"stdout": said, "stderr": b""})
            return self._finish(code)
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
