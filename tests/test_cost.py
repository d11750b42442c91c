"""What a cluster costs and a run may cost: what counts, what does not, and that what is not known is never nothing."""

import json
import time

import pytest
from conftest import fruitctl
from emulator import Emulator, Fault
from stack import Project, settle

# Types that the price list lacks, one per role.
UNPRICED = "".join(f"[cluster.{role}]\ntypes = [\"i4i.xlarge\"]\n" for role in ("primary", "core"))


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False, start=0.05, bootstrap=0.01, terminate=0.02, propagation=0) as aws:
        yield aws
        settle(aws)


@pytest.fixture
def project(aws, tmp_path, request):
    project = Project(aws, tmp_path, "cost")
    (project.folder / "job").write_text("#!/bin/sh\n")
    yield project
    aws.faults.clear()
    project.run("down", "--purge-bucket")


def stand(aws, project):
    """A cluster, and something to run over; the cluster's id."""
    project.run("up", "--wait")
    found = project.exists()
    aws.client("s3").put_object(Bucket=found["bucket"][0], Key="input/Fig/1.jpg", Body=b"")
    return found["cluster"][0]


# A run whose step does nothing: it goes all its way, and finds no results.
RUN = ["run", "--executable", "job"]


def test_limits_that_limit_nothing_are_refused(tmp_path):
    for flags in (["--max-cost", "nan"], ["--max-cost", "inf"], ["--max-cost", "-1"], ["--max-duration", "0"], ["--max-duration", "0s"]):
        said = fruitctl("run", "--target", "emr", *flags, cwd=tmp_path, code=2).stderr
        assert flags[0] in said and "invalid value" in said, said
    (tmp_path / "fruitctl.toml").write_text("[prices.ec2]\n\"m6g.xlarge\" = nan\n")
    assert "m6g.xlarge: NaN is no price in dollars" in fruitctl("plan", cwd=tmp_path, code=2).stderr


def test_plan_tells_the_range_and_the_date(project):
    project.configure("[cluster.managed_scaling]\nmin = 1\nmax = 8\n")
    cost = json.loads(project.run("plan", "--json").stdout)["cost"]
    least, most = cost["range"]
    assert least == pytest.approx(cost["total"]) and most == pytest.approx(cost["total"] * 9 / 2)
    assert cost["ipv4"] == pytest.approx(2 * 0.005)
    text = project.run("plan").stdout
    assert f"${least:.2f} to ${most:.2f} an hour under managed scaling" in text and f"prices of {cost['as_of']}, " in text, text


def test_a_limit_needs_prices(aws, project):
    """Refused before anything is made, and on a cluster that is there."""
    project.configure(UNPRICED)
    assert "no price of i4i.xlarge here" in project.run("plan").stdout
    said = project.run(*RUN, "--max-cost", "5", code=2).stderr
    assert "--max-cost cannot be kept: there is no price of i4i.xlarge in eu-west-3" in said, said
    assert set(project.exists()) <= {"bucket"}
    stand(aws, project)
    status = project.run("status").stdout
    assert "at least $" in status and "no price of i4i.xlarge" in status, status
    project.configure("[cluster.core]\ncount = 1\n")
    said = project.run(*RUN, "--max-cost", "5", code=2).stderr
    assert "there is no price of i4i.xlarge" in said, said
    assert not [step for cluster in aws.emr.clusters.values() for step in cluster.steps]


def test_a_run_counts_its_own_time_and_outlives_failures(aws, project):
    """On a cluster that has cost more than the run may; and a limit that cannot be asked for now is asked for again."""
    id = stand(aws, project)
    for node in aws.emr.clusters[id].workforce:
        for instance in node.instances:
            then = time.time() - 100 * 3600
            instance["Status"]["Timeline"] |= {"CreationDateTime": then, "ReadyDateTime": then + 300}
    assert json.loads(project.run("status", "--json").stdout)["clusters"][0]["dollars_so_far"] > 40
    # The step waits for a while, in which the limit is looked at; more often than one call is tried.
    aws.emr.pace["poll"] = 2
    failing = Fault("elasticmapreduce:ListInstances", "error", times=25)
    aws.faults[:] = [failing]
    assert "the results are incomplete" in project.run(*RUN, "--max-cost", "5", code=6).stderr
    assert failing.hits == 25
    aws.faults.clear()
    aws.emr.pace["poll"] = 0.05
    (entry,) = json.loads(project.run("runs", "--json").stdout)
    assert entry["dollars"] < 1


def test_a_cluster_that_is_there_is_priced_by_what_it_has(aws, project):
    """Whatever the configuration says by now."""
    project.configure("[cluster.core]\ncount = 8\n")
    stand(aws, project)
    project.configure("[cluster.core]\ncount = 1\n")
    small = json.loads(project.run(*RUN, "--estimate", "--one-shot", "--json").stdout)
    kept = json.loads(project.run(*RUN, "--estimate", "--json").stdout)
    assert kept["start_seconds"] == 0 and kept["dollars"] / kept["seconds"] > 2 * small["dollars"] / (small["start_seconds"] + small["seconds"])


def test_status_goes_on_without_instances(aws, project):
    project.run("up", "--wait")
    aws.faults[:] = [Fault("elasticmapreduce:ListInstances", "deny")]
    (cluster,) = json.loads(project.run("status", "--json").stdout)["clusters"]
    assert cluster["dollars_so_far"] is None and cluster["instances"] is None and cluster["dollars_per_hour"] > 0.3
    said = project.run("status").stdout
    assert "unknown so far" in said and "instances unknown: " in said and "ListInstances" in said, said
