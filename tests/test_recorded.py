"""Answers as the real AWS gives them, and changes of them that it is free to make, through the real executable.

Two projects, one of instance groups and one of fleets, are brought up on the emulator. What `plan`, `status`, `doctor` and `down`
are answered there is filled up with what recorded answers have besides (fixtures/aws/recorded), and is then replayed, each
time with one change: a member left out, members and values that are unknown to this version, another order.
"""

import json
import re
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from datetime import datetime, timezone
from itertools import count
from urllib.parse import quote, unquote

import pytest
from conftest import ROOT, command
from emulator.request import service_model
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from replay import EMR, MAPS, Change, Each, Recorder, Replay, Scenario, XmlChange, places, put, refusal, structures, without
from stack import Project

pytestmark = pytest.mark.xdist_group("recorded")

GROUPS = """
termination_protection = true
[cluster.task]
count = 2
types = ["m6g.2xlarge"]
[cluster.configurations.spark-defaults]
"spark.sql.shuffle.partitions" = "64"
"spark.ui.enabled" = "false"
[cluster.configurations.core-site]
"io.file.buffer.size" = "65536"
[network]
ssh_cidr = "203.0.113.0/24"
"""
FLEETS = """
[cluster.core]
types = ["m6g.xlarge", "m5.xlarge"]
spot = true
[cluster.task]
types = ["m6g.xlarge", "m6g.2xlarge"]
count = 2
spot = true
[cluster.managed_scaling]
min = 1
max = 8
"""
# Of what depends on the time.
PASSING = {"uptime_seconds": 0, "dollars_so_far": 0}
COMMANDS = {"plan": ["plan", "--json"], "status": ["status", "--json"], "doctor": ["doctor", "--json"], "down": ["down", "--json"]}


# What AWS recorded


def recorded(name, number=1):
    """An answer; times in seconds, as they come."""
    def times(value):
        if isinstance(value, dict) and value.get("__class__") == "datetime":
            parts = [value[k] for k in ("year", "month", "day", "hour", "minute", "second", "microsecond")]
            return datetime(*parts, tzinfo=timezone.utc).timestamp()
        if isinstance(value, dict):
            return {k: times(v) for k, v in value.items() if k != "ResponseMetadata"}
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+[-+]\d\d:\d\d", value):
            return datetime.fromisoformat(value).timestamp()
        return [times(v) for v in value] if isinstance(value, list) else value

    file = ROOT / "tests" / "fixtures" / "aws" / "recorded" / f"{name.replace('.', f'.{EMR}.')}_{number}.json"
    return times(json.loads(file.read_text())["data"])


WAITING = recorded("test_emr_sg.DescribeCluster")
FULL = {
    "DescribeCluster": WAITING,
    "ListClusters": recorded("test_emr_terminate.ListClusters"),
    "DescribeSecurityConfiguration": recorded("test_emr_security_configuration.DescribeSecurityConfiguration"),
    "ListSecurityConfigurations": recorded("test_emr_security_configuration.ListSecurityConfigurations"),
    "GetBlockPublicAccessConfiguration": recorded("test_emr_block_public_access_configuration.GetBlockPublicAccessConfiguration"),
}
# Members of today that no recording has; they are in the API's reference.
GROUP = {"ConfigurationsVersion": 0, "LastSuccessfullyAppliedConfigurations": [], "LastSuccessfullyAppliedConfigurationsVersion": 0, "ShrinkPolicy": {}}
LATER = {
    "DescribeCluster": {"Cluster": {"OSReleaseLabel": "2023.9.20251208.0", "UnhealthyNodeReplacement": False, "Status": {"ErrorDetails": []}}},
    "ListInstanceGroups": {"InstanceGroups": [GROUP | {"EbsBlockDevices": [{"VolumeSpecification": {"Iops": 3000, "Throughput": 125}}]}]},
    "ListInstanceFleets": {"InstanceFleets": [{"InstanceTypeSpecifications": [{"EbsBlockDevices": [], "Configurations": []}]}]},
    "GetManagedScalingPolicy": {"ManagedScalingPolicy": {"ComputeLimits": {"MaximumOnDemandCapacityUnits": 8, "MaximumCoreCapacityUnits": 8}, "UtilizationPerformanceIndex": 50}},
}


def merged(ours, theirs):
    """Ours, with what theirs has besides."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {name: merged(ours.get(name), member) for name, member in theirs.items()} | {k: v for k, v in ours.items() if k not in theirs}
    if isinstance(ours, list) and ours and theirs and isinstance(theirs[0], dict):
        return [merged(element, theirs[0]) for element in ours]
    return theirs if ours is None else ours


def shape(call, answer):
    """As the real EMR would give it. What says something else of a cluster is left out: it is not ours to have."""
    if not any(answer.values()):
        return answer
    found = merged(merged(answer, FULL.get(call, {})), LATER.get(call, {}))
    if "Cluster" in found and "CustomAmiId" not in answer["Cluster"]:
        found["Cluster"].pop("CustomAmiId", None)
    for structure in structures(found):
        if structure.get("StateChangeReason") == {}:
            structure["StateChangeReason"] = {"Message": ""}
    return found


# Two projects, and what runs over them


def otherwise(action, params):
    """EMR's answers to what is asked only where another answer was changed."""
    if action == "ListClusters":
        return {"Clusters": []}
    if action in ("DescribeCluster", "ListInstanceFleets", "ListInstanceGroups"):
        return refusal("InvalidRequestException", f"Cluster id '{params['ClusterId']}' is not valid.")
    return None


class World:
    """The records of two projects, and a server that replays them."""

    def __init__(self, folder, replay):
        self.numbers, self.replay = count(), replay
        with Recorder(shape, start=0.02, bootstrap=0, terminate=0.02, propagation=0, resize=0) as aws:
            self.projects = {name: Project(aws, folder, name, more=more) for name, more in (("groups", GROUPS), ("fleets", FLEETS))}
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda project: project.run("up", "--wait"), self.projects.values()))
            self.records = {}
            for name, project in self.projects.items():
                # What `doctor` asks is the same for both.
                for verb in ("plan", "status", "doctor") if name == "groups" else ("plan", "status"):
                    self.records[name, verb] = aws.recorded(lambda: project.run(*COMMANDS[verb], code=None))
                # The lock lies in the bucket; without it, each `down` asks the same.
                remove(aws.client("s3"), f"fruitctl-{name}-{ACCOUNT}-{aws.region}")
                self.records[name, "down"] = aws.recorded(lambda: project.run(*COMMANDS["down"]))
            assert not aws.refused, aws.refused
        with ThreadPoolExecutor() as pool:
            self.base = dict(zip(self.records, pool.map(self.run, *zip(*self.records))))

    def answers(self, name, *verbs):
        """EMR's answers to these commands: action -> its first answer that says something."""
        found = {}
        for verb in verbs:
            for rows in self.records[name, verb].values():
                for call, status, _, answer in rows:
                    if call.startswith(EMR) and status == 200 and len(json.dumps(answer)) > len(json.dumps(found.get(call, {}))):
                        found[call] = answer
        return {call.partition(":")[2]: answer for call, answer in found.items() if answer}

    def run(self, name, verb, change=None, *more, otherwise=otherwise):
        """Runs a command; its outcome."""
        project, access = self.projects[name], f"AKIA{next(self.numbers)}"
        scenario = self.replay.scenarios[access] = Scenario(self.records[name, verb], change, name == "groups", otherwise)
        env = project.env | {"AWS_ACCESS_KEY_ID": access, "AWS_ENDPOINT_URL": self.replay.endpoint, "FRUITCTL_CHECKIP_URL": f"{self.replay.endpoint}/-/address"}
        done = subprocess.run(command("fruitctl", *COMMANDS[verb], *more), cwd=project.folder, env=env, capture_output=True, text=True, timeout=60)
        return Outcome(done, scenario)


def remove(s3, bucket):
    listed = s3.list_object_versions(Bucket=bucket)
    for version in listed.get("Versions", []) + listed.get("DeleteMarkers", []):
        s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    s3.delete_bucket(Bucket=bucket)


class Outcome:
    """What a command said, and did."""

    def __init__(self, done, scenario):
        self.code, self.stderr, self.calls, self.missing = done.returncode, done.stderr, scenario.calls, scenario.missing
        self.json = json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else None

    @property
    def writes(self):
        """Calls that change something, with how often; in no order, for some are made at once."""
        return Counter(call for call in self.calls if not re.search(":(Describe|List|Get|Head)", call))

    @property
    def notes(self):
        return self.json["notes"]

    @property
    def changes(self):
        """Resource -> action and reasons, but for what is as it should be."""
        return [(c["resource"], c["action"], *c["reasons"]) for c in self.json["changes"] if c["action"] != "keep"]

    def broken(self):
        """Why it is a bug's, if it is."""
        if "panicked" in self.stderr or self.code not in (0, 2) or self.json is None or self.missing:
            return f"exit {self.code}: {self.stderr.strip()[:300]} {self.missing[:1]}"
        return None


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Replay() as replay:
        yield World(tmp_path_factory.mktemp("recorded"), replay)


def same(outcome, base):
    """Nothing is different; or what is."""
    if problem := outcome.broken():
        return problem
    if outcome.code != base.code:
        return f"exit {outcome.code}, not {base.code}: {outcome.stderr[:200]}"
    if outcome.writes != base.writes:
        return f"calls {outcome.writes}, not {base.writes}"
    ours, theirs = timeless(outcome.json), timeless(base.json)
    return None if ours == theirs else difference(ours, theirs)


def timeless(value):
    """Without what depends on the time, or on the order in which AWS lists things."""
    if not isinstance(value, dict) or "clusters" not in value:
        return value
    clusters = [c | PASSING | {"instances": sorted(c["instances"], key=lambda i: i["id"])} if isinstance(c, dict) else c for c in value["clusters"]]
    inventory = {kind: sorted(found) if isinstance(found, list) else found for kind, found in value.get("inventory", {}).items()}
    return value | {"clusters": clusters, "inventory": inventory}


def difference(ours, theirs, path=""):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return "; ".join(difference(ours.get(k), theirs.get(k), f"{path}.{k}") for k in ours | theirs if ours.get(k) != theirs.get(k))
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return "; ".join(difference(a, b, f"{path}.{n}") for n, (a, b) in enumerate(zip(ours, theirs)) if a != b)
    return f"{path}: {ours}, not {theirs}"


def lives(outcome, base):
    """The cluster stays, and nothing but the cluster differs: what is not known of it may be said, or set once more."""
    if problem := outcome.broken():
        return problem
    if outcome.code != base.code:
        return f"exit {outcome.code}: {outcome.stderr[:200]}"
    if isinstance(outcome.json, dict) and "changes" in outcome.json:
        others = [(c["resource"], c["action"]) for c in outcome.json["changes"]]
        wanted = [(c["resource"], c["action"]) for c in base.json["changes"]]
        if len(others) != len(wanted) or [row for row, want in zip(others, wanted) if row != want and row != ("cluster", "update")]:
            return f"{outcome.changes}"
    if isinstance(outcome.json, dict) and "locked_by" in outcome.json and len(outcome.json["clusters"]) != len(base.json["clusters"]):
        return "no cluster"
    return None


def unharmed(outcome, _):
    """Nothing is touched."""
    if problem := outcome.broken():
        return problem
    if isinstance(outcome.json, dict) and "changes" in outcome.json:
        return next((str(c) for c in outcome.changes if c[1] in ("replace", "delete")), None)
    return None


def refused_as_incomplete(outcome, _):
    """Without this, nobody knows whether a cluster is there and whose it is: neither "no" nor "another's" is the answer."""
    if outcome.code != 7 or "AWS's answer is incomplete: it has no " not in outcome.stderr or outcome.writes:
        return f"exit {outcome.code}: {outcome.stderr[:200]} {outcome.writes}"
    return None


def sweep(world, cases):
    """Runs cases (name, project, command, change, judge)."""
    def judge(case):
        name, project, verb, change, judge = case
        return f"{name} ({project}, {verb})", judge(world.run(project, verb, change), world.base[project, verb])

    with ThreadPoolExecutor(4) as pool:
        outcomes = dict(pool.map(judge, cases))
    assert len(outcomes) == len(cases), "two cases have one name"
    print(len(cases), "changes")
    failed = {name: why for name, why in outcomes.items() if why}
    assert not failed, "\n".join(f"{name}: {why}" for name, why in failed.items())


# What says that a cluster is there, and whose it is.
IDENTITY = {
    ("Clusters",), ("Clusters", "*", "Id"), ("Clusters", "*", "Name"),
    ("Cluster",), ("Cluster", "Tags"), ("Cluster", "Tags", "*", "Key"), ("Cluster", "Tags", "*", "Value"),
}
# What is asked for in a plan, below the name of the answer; all else has no part in it.
ASKED = {
    "DescribeCluster": [
        "ReleaseLabel", "Applications", "Applications.*.Name", "LogUri", "ServiceRole", "SecurityConfiguration", "EbsRootVolumeSize",
        "TerminationProtected", "InstanceCollectionType", "Configurations", "Configurations.*.Classification", "Configurations.*.Properties",
        "Ec2InstanceAttributes", "Ec2InstanceAttributes.IamInstanceProfile", "Ec2InstanceAttributes.Ec2SubnetId", "Ec2InstanceAttributes.Ec2KeyName",
        "Ec2InstanceAttributes.EmrManagedMasterSecurityGroup", "Ec2InstanceAttributes.EmrManagedSlaveSecurityGroup",
    ],
    "ListBootstrapActions": ["", "*.ScriptPath", "*.Args"],
    "GetAutoTerminationPolicy": ["", "IdleTimeout"],
    "GetManagedScalingPolicy": ["", "ComputeLimits", "ComputeLimits.MinimumCapacityUnits", "ComputeLimits.MaximumCapacityUnits"],
    "ListInstanceGroups": ["", "*.InstanceGroupType", "*.InstanceType", "*.Market", "*.RequestedInstanceCount"],
    "ListInstanceFleets": [
        "", "*.InstanceFleetType", "*.InstanceTypeSpecifications", "*.InstanceTypeSpecifications.*.InstanceType",
        "*.TargetOnDemandCapacity", "*.TargetSpotCapacity",
    ],
}
# What a plan can do without, and yet would lead to other calls or sums.
SPARE = {
    ("Cluster", "Id"), ("Cluster", "Name"), ("Cluster", "Status"), ("Cluster", "Status", "State"), ("Cluster", "Status", "Timeline"),
    ("Cluster", "Status", "Timeline", "CreationDateTime"), ("Clusters", "*", "Status"), ("SecurityConfiguration",),
    ("InstanceGroups", "*", "Id"), ("InstanceFleets", "*", "Id"), ("InstanceGroups", "*", "EbsBlockDevices"),
    ("InstanceGroups", "*", "EbsBlockDevices", "*", "VolumeSpecification"), ("InstanceGroups", "*", "EbsBlockDevices", "*", "VolumeSpecification", "SizeInGB"),
}


def asked(answer, action):
    (top,) = [name for name in answer if name in ("Cluster", "BootstrapActions", "AutoTerminationPolicy", "ManagedScalingPolicy", "InstanceGroups", "InstanceFleets")]
    return {(top, *path.split(".")) if path else (top,) for path in ASKED[action]}


def test_the_records_are_whole(world):
    """Each command does over its record what it did over the emulator; no change is no change."""
    for (name, verb), base in world.base.items():
        assert not base.broken(), base.broken()
        if verb == "plan":
            assert base.changes == [] and base.notes == [], (base.changes, base.notes)
        if verb == "status":
            (cluster,) = base.json["clusters"]
            assert cluster["state"] == "WAITING" and cluster["dollars_per_hour"] > 0.3 and len(cluster["instances"]) >= 3
        if verb == "down":
            assert not any(base.json.values() if "contents" not in base.json else [v for k, v in base.json.items() if k != "contents"])
            assert f"{EMR}:DeleteSecurityConfiguration" in base.writes
    described = world.answers("groups", "plan")["DescribeCluster"]
    # All but the image that the recorded one was made from.
    assert {p[:2] for p in places(WAITING)} - {("Cluster", "CustomAmiId")} <= {p[:2] for p in places(described)}


def said(outcome, base):
    """The cluster stays, and something is said: what is not known is not fine."""
    return lives(outcome, base) or ("nothing is said" if same(outcome, base) is None else None)


def test_any_member_may_be_left_out_of_a_plan(world):
    """One at a time where it is asked for; all others at once, to no effect."""
    cases = []
    for project in world.projects:
        for action, answer in world.answers(project, "plan").items():
            special = asked(answer, action) if action in ASKED else set()
            there = list(places(answer))
            assert special <= set(there) | {("Cluster", "Configurations", "*", n) for n in ("Classification", "Properties")}, special - set(there)
            for path in there:
                judge = refused_as_incomplete if path in IDENTITY else said if path in special else lives if path in SPARE else None
                # The two projects differ in this.
                if judge and (project == "groups" or action in ("ListInstanceFleets", "GetManagedScalingPolicy") or path[-1] == "InstanceCollectionType"):
                    name = f"{action} without {'.'.join(path)}"
                    cases.append((name, project, "plan", Change(name, without(*path), action), judge))
            others = [p for p in there if p not in IDENTITY | special | SPARE]
            if others:
                cases.append((f"{action} without {len(others)} others", project, "plan", Change("others", without_all(others), action), same))
    sweep(world, cases)


def without_all(paths):
    def drop(answer):
        for path in reversed(paths):
            answer = without(*path)(answer)
        return answer
    return drop


def test_any_member_may_be_left_out_of_what_others_ask(world):
    cases = []
    for verb, actions in {
        "status": ["DescribeCluster", "ListClusters", "ListInstances", "ListSecurityConfigurations"],
        "doctor": ["GetBlockPublicAccessConfiguration", "DescribeReleaseLabel", "ListSupportedInstanceTypes"],
    }.items():
        for action in actions:
            for path in places(world.answers("groups", verb)[action]):
                # Of DescribeCluster, what a plan was asked about is not asked about again.
                if action != "DescribeCluster" or path[1:2] in ((), ("Status",), ("Tags",), ("Name",), ("MasterPublicDnsName",)):
                    name = f"{action} without {'.'.join(path)}"
                    judge = refused_as_incomplete if path in IDENTITY else lives if verb == "status" else unharmed
                    cases.append((name, "groups", verb, Change(name, without(*path), action), judge))
    sweep(world, cases)


# What an answer may hold besides


def unknown_members(answer):
    for structure in list(structures(answer)):
        structure |= {"ZzText": "new", "ZzNumber": 1.5, "ZzList": [{"ZzFlag": True}], "ZzStructure": {"ZzText": ""}, "ZzNull": None}
    return answer


def shape_at(action, path):
    """The API's shape of a member; none, if it is not in the model."""
    shape = service_model(EMR).operation_model(action).output_shape
    for step in path:
        shape = shape.member if step == "*" else shape.members.get(step) if shape.type_name == "structure" else None
        if shape is None:
            return None
    return shape


def nulls(action):
    """Each member that the API has, and the answer has not, is null."""
    def fill(value, shape):
        if shape.type_name == "structure" and isinstance(value, dict):
            for name, member in shape.members.items():
                fill(value.setdefault(name), member)
        elif shape.type_name == "list" and value:
            for element in value:
                fill(element, shape.member)
        return value
    return lambda answer: fill(answer, shape_at(action, ()))


def test_what_is_new_in_an_answer_changes_nothing(world):
    cases = []
    for name, verb in world.records:
        answers = world.answers(name, verb)
        asked_for, others = {}, {}
        for action, answer in answers.items():
            for path in new_values(action, answer):
                is_asked = action in ASKED and path in asked(answer, action) or path[-1] in ("State", "Code", "Market")
                (asked_for if is_asked else others).setdefault(action, []).append(path)
        news = Each("other new values", {action: lambda answer, paths=paths: put_all(paths, answer) for action, paths in others.items()})
        for change in (Change("unknown members", unknown_members), XmlChange("unknown elements", unknown_elements), Each("nulls", {a: nulls(a) for a in answers}), news):
            cases.append((change.name, name, verb, change, same))
        if verb in ("plan", "status") and (name, verb) != ("fleets", "status"):
            for action, paths in asked_for.items():
                for path in paths:
                    title = f"{action} with a new {'.'.join(path)}"
                    cases.append((title, name, verb, Change(title, put("SOMETHING_NEW", *path), action), lives))
    sweep(world, cases)


def new_values(action, answer):
    """Members whose values are of an enumeration, which may have grown."""
    return [path for path in places(answer) if (shape := shape_at(action, path)) is not None and getattr(shape, "enum", None)]


def put_all(paths, answer):
    for path in paths:
        put("SOMETHING_NEW", *path)(answer)
    return answer


def unknown_elements(root):
    for element in list(root.iter()):
        # What has text has no elements. Elements of a list are all alike.
        if len(element) and not is_list(element):
            new = ET.SubElement(element, re.sub("[^}]*$", "ZzNew", element[0].tag, count=1))
            ET.SubElement(new, new.tag).text = "new"


def is_list(element):
    names = [child.tag.rpartition("}")[2] for child in element]
    return element.tag.endswith("}Statement") or set(names) <= {"item", "member", "Tag"} or len(set(names)) < len(names)


# In what order, and in which form


def reversed_members(value):
    if isinstance(value, dict):
        return {name: member if name in MAPS else reversed_members(member) for name, member in reversed(value.items())}
    if isinstance(value, list):
        return [reversed_members(element) for element in value]
    return value


def reversed_lists(value, name=""):
    if isinstance(value, dict):
        return {name: reversed_lists(member, name) for name, member in value.items()}
    # In these the order means something.
    if isinstance(value, list) and name not in ("Args", "BootstrapActions"):
        return [reversed_lists(element) for element in reversed(value)]
    return value


def reversed_elements(root):
    for element in list(root.iter()):
        # A result comes before what is said of the request.
        if not any(child.tag.endswith("ResponseMetadata") for child in element):
            element[:] = reversed(element)


def documents(root):
    """Policies: other white space, another order of members."""
    for element in root.iter():
        if element.tag.endswith("PolicyDocument"):
            element.text = quote(json.dumps(reversed_members(json.loads(unquote(element.text))), indent=4))


def exponents(answer):
    """Times as EMR writes them: 1.795732070891E9."""
    return re.sub(r"\b\d{10}\.\d+", lambda m: f"{float(m[0]):.12E}".replace("E+09", "E9"), json.dumps(answer)).encode()


def other_json(value):
    """A security configuration, written otherwise and with what holds by default."""
    content = json.loads(value) | {"EncryptionConfiguration": {"EnableInTransitEncryption": False, "EnableAtRestEncryption": False}}
    return json.dumps(reversed_members(content), indent=1)


def pages(name):
    """The first page is empty, and there is another."""
    return lambda params, answer: answer if params.get("Marker") else {name: [], "Marker": "more"}


CLUSTER_LISTS = {"ListClusters": "Clusters", "ListInstances": "Instances", "ListSecurityConfigurations": "SecurityConfigurations"}
FORMS = [
    Change("reversed members", reversed_members),
    Change("reversed lists", reversed_lists),
    XmlChange("reversed elements", reversed_elements),
    XmlChange("rewritten policies", documents),
    Change("times with exponents", exponents),
    Change("an empty reason", put({}, "Cluster", "Status", "StateChangeReason"), "DescribeCluster"),
    Change("a security configuration written otherwise", put(other_json, "SecurityConfiguration"), "DescribeSecurityConfiguration"),
    *[Change(f"{action} in pages", pages(name), action, pages=True) for action, name in CLUSTER_LISTS.items()],
]
SAME_CLUSTER = [
    *[Change(f"logs in {scheme}:, {end or 'no slash'}", put(lambda uri, scheme=scheme, end=end: f"{scheme}://{uri.partition('://')[2].rstrip('/')}{end}", "Cluster", "LogUri"), "DescribeCluster")
      for scheme in ("s3", "s3n") for end in ("", "/")],
    Change("applications in lower case", put(str.lower, "Cluster", "Applications", "*", "Name"), "DescribeCluster"),
    Change("applications in upper case", put(str.upper, "Cluster", "Applications", "*", "Name"), "DescribeCluster"),
    Change("the service role's ARN", put(lambda name: f"arn:aws:iam::{ACCOUNT}:role/{name}", "Cluster", "ServiceRole"), "DescribeCluster"),
]


def test_what_is_said_otherwise_is_the_same(world):
    cases = [(change.name, "groups", "plan", change, same) for change in SAME_CLUSTER]
    for name, verb in world.records:
        # Whether a page is empty is nothing that fleets and groups differ in.
        forms = FORMS if name == "groups" else FORMS[:3]
        # A reason is part of what status shows.
        cases += [(form.name, name, verb, form, lives if (form.name, verb) == ("an empty reason", "status") else same) for form in forms if verb != "doctor"]
    sweep(world, cases)


def test_a_range_is_the_same_without_the_bits_behind_its_length(world):
    assert same(world.run("groups", "plan", None, "--ssh-cidr", "203.0.113.7/24"), world.base["groups", "plan"]) is None


# To the end


def unknown_state(cluster):
    if cluster["Status"]["State"] in ("WAITING", "TERMINATING"):
        cluster["Status"]["State"] = "HIBERNATING"
    return cluster


DOWN = [
    Change("without termination protection", without("Cluster", "TerminationProtected"), "DescribeCluster"),
    Change("in an unknown state", put(unknown_state, "Cluster"), "DescribeCluster"),
    Change("without a state", put(lambda s: s if s["State"] == "TERMINATED" else s | {"State": None}, "Cluster", "Status"), "DescribeCluster"),
    Change("without a status in the list", without("Clusters", "*", "Status"), "ListClusters"),
    Change("without instances' settings", without("Cluster", "Ec2InstanceAttributes"), "DescribeCluster"),
    Change("without a security configuration's text", without("SecurityConfiguration"), "DescribeSecurityConfiguration"),
    Change("without a timeline", without("Cluster", "Status", "Timeline"), "DescribeCluster"),
]


def test_down_takes_all_of_it(world):
    """And by the same calls, whatever EMR leaves out."""
    sweep(world, [(change.name, "groups", "down", change, same) for change in DOWN])


# Clusters that were recorded


def ours(world, cluster, **more):
    """A recorded cluster, as if it were the project's."""
    mine = world.answers("groups", "plan")["DescribeCluster"]["Cluster"]
    return {"Cluster": deepcopy(cluster) | {name: mine[name] for name in ("Id", "Name", "Tags")} | more}


def test_recorded_clusters_are_understood(world):
    def plan(name):
        answer = ours(world, recorded(name)["Cluster"])
        outcome = world.run("groups", "plan", Change(name, lambda _: answer, "DescribeCluster"))
        assert not outcome.broken(), outcome.broken()
        return outcome

    # Of another release, in other groups: all that differs is said.
    ((resource, action, *reasons),) = plan("test_emr_sg.DescribeCluster").changes
    assert (resource, action) == ("cluster", "replace")
    for text in ("release emr-5.23.0 -> emr-7.13.0", "applications Ganglia+Hadoop -> Hadoop+Spark", "root volume 20 GiB -> 30 GiB", "logs s3://aws-logs-644160558196-us-east-1/elasticmapreduce -> "):
        assert any(reason.startswith(text) for reason in reasons), reasons
    # Little is known of this one; it is said, and nothing is done.
    sparse = plan("test_emr_termination_policy.DescribeCluster")
    assert sparse.changes == [] and len(sparse.notes) > 8, sparse.json


def test_recorded_policies_are_understood(world):
    """One that is not there is told as an answer without members."""
    for number, reason in ((1, "never"), (2, "after 60 min")):
        answer = recorded("test_emr_termination_policy.GetAutoTerminationPolicy", number)
        outcome = world.run("groups", "plan", Change("policy", lambda _: answer, "GetAutoTerminationPolicy"))
        assert outcome.changes == [("cluster", "update", f"end when idle {reason} -> after 30 min")], outcome.json


def failure(world, status):
    """What `status` says of a cluster that ended like this."""
    ended = ours(world, recorded("test_emr_terminate.DescribeCluster")["Cluster"])
    ended["Cluster"]["Status"] |= status

    def answer(params, _):
        return ended if "ClusterId" in params else {"Clusters": []}

    def listed(action, params):
        assert action == "ListClusters"
        return {"Clusters": [{name: ended["Cluster"][name] for name in ("Id", "Name", "Status")}]}

    change = Change("ended", answer, "DescribeCluster", "ListClusters", pages=True)
    outcome = world.run("groups", "status", change, otherwise=lambda action, params: listed(action, params) if action == "ListClusters" else otherwise(action, params))
    assert outcome.code == 0 and "panicked" not in outcome.stderr, outcome.stderr
    return outcome.json["last_failure"]


def test_recorded_failures_are_explained(world):
    recorded_one = failure(world, {})
    assert "The requested instance profile EMR_AutoScaling_DefaultRole is invalid" in recorded_one and "fruitctl plan" in recorded_one
    # A map for each datum, or one for all of them.
    data = {"primary-instance-id": "i-0abc", "bootstrap-action": "1", "public-doc": "https://docs.aws.amazon.com/"}
    for maps in ([{k: v} for k, v in data.items()], [data]):
        details = [{"ErrorCode": "BOOTSTRAP_FAILURE_PRIMARY_WITH_NON_ZERO_CODE", "ErrorData": maps, "ErrorMessage": "It failed."}]
        text = failure(world, {"StateChangeReason": {"Code": "BOOTSTRAP_FAILURE", "Message": "It failed."}, "ErrorDetails": details})
        assert "bootstrap action 1 'hostkeys.sh' failed on node i-0abc" in text, text
    for status in (
        {"StateChangeReason": {}}, {"StateChangeReason": None}, {"StateChangeReason": {"Message": ""}}, {"StateChangeReason": {"Code": "BOOTSTRAP_FAILURE"}},
        {"ErrorDetails": [{"ErrorCode": "SOMETHING_NEW", "ErrorData": [{}, {"new": "x"}]}]}, {"ErrorDetails": [{}]},
        {"StateChangeReason": {"Code": "SOMETHING_NEW", "Message": "It is new."}}, {"Timeline": {}},
    ):
        text = failure(world, status)
        assert " ended: " in text, (status, text)
        assert status.get("StateChangeReason") != {} or "does not say why" in text
