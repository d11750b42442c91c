"""What a release, a region or a policy refuses to tell is no reason to leave a cluster running."""

import json

import pytest
from emulator import Emulator, Fault
from emulator.errors import EmrError
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


def test_sweep_goes_on_past_what_it_cannot_read(aws, tmp_path):
    projects = [Project(aws, tmp_path, name) for name in ("unseen", "undated", "late")]
    for project in projects:
        project.run("up", "--wait")
    ids = [project.exists()["cluster"][0] for project in projects]
    for cluster, deadline in zip(ids, ["2020-01-01T00:00:00Z", "soon", "2020-01-01T00:00:00Z"]):
        aws.emr.clusters[cluster].tags["fruitctl:deadline"] = deadline
    real = aws.emr.describe_cluster

    def describe(params, region):
        if params["ClusterId"] == ids[0]:
            raise EmrError("User is not authorized to perform: elasticmapreduce:DescribeCluster", "AccessDeniedException")
        return real(params, region)

    aws.emr.describe_cluster = describe
    try:
        assert "no cluster" in projects[2].run("sweep", "--dry-run", "--project", "early").stdout
        swept = projects[2].run("sweep", code=9)
    finally:
        del aws.emr.describe_cluster
    assert f"terminated {ids[2]} of project late" in swept.stdout
    assert f"elasticmapreduce:DescribeCluster on {ids[0]}" in swept.stderr and f"cluster {ids[0]} (fruitctl-unseen-" in swept.stderr
    assert f"cluster {ids[1]} of project undated has no deadline that can be read ('soon')" in swept.stderr
    for project in projects:
        project.run("down", "--purge-bucket")
    assert all(project.exists() == {} for project in projects)
