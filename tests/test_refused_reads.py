"""What a release, a region or a policy refuses to tell is no reason to leave a cluster running."""

import json

import pytest
from emulator import Emulator, Fault
from stack import Project, settle

OPTIONAL = ["GetAutoTerminationPolicy", "GetManagedScalingPolicy", "ListBootstrapActions"]


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False, start=0.05, bootstrap=0.01, terminate=0.05, propagation=0) as aws:
        yield aws
        settle(aws)


def test_optional_reads_stop_nothing(aws, tmp_path):
    project = Project(aws, tmp_path, "refused")
    project.run("up", "--wait")
    refused = [Fault(f"elasticmapreduce:{action}", "deny") for action in OPTIONAL]
    aws.faults[:] = refused
    plan = json.loads(project.run("plan", "--json", "--detailed-exitcode").stdout)
    # What is not known is neither right nor wrong: it is said, and nothing is changed.
    for action, what in zip(OPTIONAL, ["idle timeout", "managed scaling", "bootstrap actions"]):
        assert any(what in note and action in note for note in plan["notes"]), plan["notes"]
    assert json.loads(project.run("status", "--json").stdout)["clusters"][0]["dollars_per_hour"] > 0.3
    assert "nothing to do" in project.run("up").stdout
    assert all(fault.hits for fault in refused), refused
    aws.faults[:] = [Fault(f"elasticmapreduce:{action}", "deny") for action in [*OPTIONAL, "ListInstance*"]]
    project.run("down", "--purge-bucket")
    assert project.exists() == {}
    aws.faults.clear()
