"""Clusters that EMR takes on and cannot launch: roles of a moment ago, missing service-linked roles, zones without types or room."""

import json
import re

import pytest
from emulator import Emulator, Fault, access, launch
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.iam import iam_backends
from stack import Project, settle

PRIMARY = "m6g.xlarge"
ALONE = f"[cluster.primary]\ntypes = [\"{PRIMARY}\"]\n[cluster.core]\ncount = 0\n"
ZONES = ["eu-west-3a", "eu-west-3b", "eu-west-3c"]


@pytest.fixture
def aws():
    with Emulator(nodes=False, start=0.05, bootstrap=0.01, terminate=0.02, propagation=0) as aws:
        yield aws
        settle(aws)


def launches(aws):
    """All clusters, as they were asked for; never two at once."""
    clusters = sorted(aws.emr.clusters.values(), key=lambda c: c.created)
    for one, following in zip(clusters, clusters[1:]):
        assert one.ended and one.ended <= following.created, "two clusters at once"
    return clusters


def test_roles_of_a_moment_ago_are_waited_for(aws, tmp_path):
    # Five seconds, by the pace of these tests; fruitctl waits ten.
    aws.emr.pace["propagation"] = 0.05
    project = Project(aws, tmp_path, "new", more=ALONE)
    project.run("up", "--wait")
    assert len(launches(aws)) == 1 and aws.calls.count("elasticmapreduce:RunJobFlow") == 1


def test_a_cluster_that_does_not_know_its_roles_is_asked_for_again(aws, tmp_path):
    aws.emr.pace["propagation"] = 0.5
    project = Project(aws, tmp_path, "again", more=ALONE)
    done = project.run("up", "--wait")
    *failed, last = launches(aws)
    assert failed and all(c.reason["Code"] == "VALIDATION_ERROR" for c in failed) and last.lives()
    assert done.stderr.count("EMR did not know its roles yet; another is asked for") == len(failed), done.stderr
    assert f"cluster {last.id} is ready" in done.stdout


def test_it_is_not_asked_for_for_ever(aws, tmp_path):
    aws.emr.pace["propagation"] = 1e6
    project = Project(aws, tmp_path, "ever", more=ALONE)
    done = project.run("up", "--wait", code=6)
    # Which of the two is told depends on which was made first.
    assert re.search("EMR does not take its (service role|nodes' instance profile)", done.stderr) and "fruitctl plan" in done.stderr, done.stderr
    assert len(launches(aws)) == 4


def test_what_may_have_been_billed_is_not_asked_for_again(aws, tmp_path):
    project = Project(aws, tmp_path, "billed", more=ALONE)
    aws.emr.failures.append(("VALIDATION_ERROR", "EMR service role x is invalid", []))
    aws.faults[:] = [Fault("elasticmapreduce:ListInstances", "deny")]
    done = project.run("up", "--wait", code=6)
    assert "EMR does not take its service role" in done.stderr, done.stderr
    assert len(launches(aws)) == 1


def operator(aws, folder, name, without=()):
    project = Project(aws, folder, name)
    project.bound()
    policy = json.loads(project.run("policy").stdout)
    policy["Statement"] = [s for s in policy["Statement"] if not set(access.listed(s["Action"])) & set(without)]
    return Project(aws, folder, name, more=ALONE, env=aws.user(name, json.dumps(policy)))


def has_role(name):
    return any(role.name == name for role in iam_backends[ACCOUNT]["aws"].roles.values())


def test_an_account_new_to_emr(aws, tmp_path):
    """EMR makes its own role with the rights of whoever asks for the cluster."""
    doctor = operator(aws, tmp_path, "first").run("doctor", "--json", code=None).stdout
    (finding,) = [f for f in json.loads(doctor) if f["check"] == "EMR's own role"]
    assert finding["verdict"] == "unknown" and "create-service-linked-role" in finding["what"], finding
    refused = operator(aws, tmp_path, "second", without=["iam:CreateServiceLinkedRole"]).run("up", "--wait", code=6)
    assert re.search(r"no service-linked role of EMR.*\n.*create-service-linked-role --aws-service-name elasticmapreduce", refused.stderr, re.S), refused.stderr
    assert not has_role("AWSServiceRoleForEMRCleanup") and len(launches(aws)) == 1
    operator(aws, tmp_path, "third").run("up", "--wait")
    assert has_role("AWSServiceRoleForEMRCleanup")
    doctor = operator(aws, tmp_path, "fourth").run("doctor", "--json", code=None).stdout
    assert {"check": "EMR's own role", "verdict": "good", "what": "AWSServiceRoleForEMRCleanup is there"} in json.loads(doctor)


def test_an_account_new_to_spot(aws, tmp_path):
    """Spot's role is made with the rights of the service role."""
    spot = ALONE.replace("[cluster.core]", "spot = true\n[cluster.core]")
    project = Project(aws, tmp_path, "spot", more=spot)
    project.run("up", "--wait")
    assert has_role("AWSServiceRoleForEC2Spot")
    project.run("down")
    iam = aws.client("iam")
    iam_backends[ACCOUNT]["aws"].roles = {i: r for i, r in iam_backends[ACCOUNT]["aws"].roles.items() if r.name != "AWSServiceRoleForEC2Spot"}
    iam.create_role(RoleName="theirs", AssumeRolePolicyDocument=json.dumps(
        {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "elasticmapreduce.amazonaws.com"}}]}))
    project.configure(spot + "[roles]\nservice = \"theirs\"\n")
    done = project.run("up", "--wait", code=6)
    assert "no service-linked role of Spot" in done.stderr and "--aws-service-name spot.amazonaws.com" in done.stderr, done.stderr


def test_a_zone_that_has_the_types_is_chosen(aws, tmp_path):
    project = Project(aws, tmp_path, "zones", more=ALONE)
    launch.NOT_OFFERED |= {("eu-west-3a", PRIMARY), ("eu-west-3c", PRIMARY)}
    project.run("up", "--wait")
    (cluster,) = launches(aws)
    assert cluster.zone == "eu-west-3b"
    assert "nothing to do" in project.run("up").stdout
    project.run("down", "--purge-bucket")
    # Found out before anything is made.
    launch.NOT_OFFERED.add(("eu-west-3b", PRIMARY))
    for command in ("plan", "up"):
        done = project.run(command, code=2)
        assert "eu-west-3b has no m6g.xlarge" in done.stderr and "[network]" in done.stderr, done.stderr
    doctor = json.loads(project.run("doctor", "--json", code=None).stdout)
    assert [f["verdict"] for f in doctor if f["check"] == "zones"] == ["bad"]
    assert project.exists() == {} and len(launches(aws)) == 1


def test_where_it_is_not_told_what_zones_offer_all_are_tried(aws, tmp_path):
    project = Project(aws, tmp_path, "untold", more=ALONE)
    aws.faults[:] = [Fault("ec2:DescribeInstanceTypeOfferings", "deny")]
    launch.NOT_OFFERED.add(("eu-west-3a", PRIMARY))
    done = project.run("up", "--wait")
    assert "eu-west-3a lacks a type; eu-west-3b is next" in done.stderr, done.stderr
    assert [c.zone for c in launches(aws)][-1] == "eu-west-3b"


@pytest.mark.parametrize("types", [f"\"{PRIMARY}\"", f"\"{PRIMARY}\", \"m7g.xlarge\""], ids=["groups", "fleets"])
def test_a_zone_without_room_is_left_for_the_next(aws, tmp_path, types):
    project = Project(aws, tmp_path, "room", more=ALONE.replace(f"\"{PRIMARY}\"", types))
    kinds = re.findall(r"\w+\.xlarge", types)
    aws.emr.exhausted |= {(zone, kind) for zone in ZONES[:1] for kind in kinds}
    project.run("up", "--wait")
    # Of a fleet's subnets, EMR takes one with room by itself.
    assert [c.zone for c in launches(aws)] == (ZONES[:2] if len(kinds) == 1 else ZONES[1:2])
    project.run("down")
    aws.emr.exhausted |= {(zone, kind) for zone in ZONES for kind in kinds}
    aws.emr.clusters.clear()
    done = project.run("up", "--wait", code=6)
    assert [c.zone for c in launches(aws)] == ZONES
    assert "no such instances left in this availability zone" in done.stderr and "name more instance types or subnets" in done.stderr, done.stderr


def test_in_place_of_a_cluster_that_did_not_begin_a_run_has_its_own(aws, tmp_path):
    """So that it is found, and ended, wherever the run is stopped."""
    project = Project(aws, tmp_path, "instead", more=ALONE)
    (project.folder / "job").write_text("#!/bin/sh\n")
    aws.emr.exhausted |= {(ZONES[0], PRIMARY)}
    aws.emr.pace["start"] = 2
    project.run("up")
    done = project.run("run", "--executable", "job", code=6)
    assert "ended before it began" in done.stderr and "the results are incomplete" in done.stderr, done.stderr
    standing, own = launches(aws)
    assert "fruitctl:run" not in standing.tags and "fruitctl:run" in own.tags
