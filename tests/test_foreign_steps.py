"""Steps of another program on a project's cluster: they are neither cancelled nor counted, and not ended with the cluster
unless that is what was asked for."""

import pytest
from conftest import soon
from emulator import Emulator, node
from stack import Project

pytestmark = pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")
CLUSTER = "idle_minutes = 1\n[cluster.primary]\ntypes = [\"m5.xlarge\"]\n[cluster.core]\ncount = 0\n"


@pytest.fixture
def aws():
    with Emulator(start=0.1, bootstrap=0.05, terminate=0.05, propagation=0, logs=0.2, idle=1) as aws:
        yield aws


def add(aws, cluster, *command):
    """A step of somebody else's."""
    jar = {"Jar": "command-runner.jar", "Args": list(command)}
    return aws.client("emr").add_job_flow_steps(JobFlowId=cluster, Steps=[{"Name": "nightly report", "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}])["StepIds"][0]


def job(project, text):
    path = project.folder / "job"
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_run_leaves_them_alone(aws, tmp_path):
    project = Project(aws, tmp_path, "shared", more=CLUSTER)
    project.run("up", "--wait")
    (cluster,) = aws.emr.clusters.values()
    first = add(aws, cluster.id, "true")
    soon(lambda: cluster.step(first).state == "COMPLETED")
    waiting = add(aws, cluster.id, "sleep", "300")
    cluster.spec["StepConcurrencyLevel"] = 2
    soon(lambda: cluster.step(waiting).state == "RUNNING")
    # It fails, as it is no fruitjob; and the cluster, which the other needs, is left.
    ran = project.run("run", "--executable", job(project, "echo hello"), code=6)
    assert f"cluster {cluster.id} is kept, for it has other steps ({waiting})" in ran.stderr, ran.stderr
    ours = next(s for s in cluster.steps if s.id not in (first, waiting))
    assert (ours.state, cluster.step(waiting).state, cluster.lives()) == ("COMPLETED", "RUNNING", True)
    # The latest step is another's: logs and history go by their own.
    later = add(aws, cluster.id, "true")
    soon(lambda: cluster.step(later).state == "COMPLETED")
    assert project.run("logs").stdout == "hello\n"
    runs = project.run("runs", "--json").stdout
    assert ours.id in runs and waiting not in runs and later not in runs
    assert f"cluster {cluster.id} running" in project.run("status").stdout
    # One that is stopped cancels its own.
    process = project.start("run", "--executable", job(project, "sleep 300"))
    soon(lambda: [s.state for s in cluster.steps][-1] == "RUNNING")
    process.terminate()
    assert process.wait(30) == 143
    soon(lambda: cluster.steps[-1].state == "CANCELLED")
    assert (cluster.step(waiting).state, cluster.lives()) == ("RUNNING", True)
    # What was asked for is done.
    project.run("down", "--purge-bucket", "--force-unlock")
    assert project.exists() == {} and cluster.step(waiting).state == "INTERRUPTED"


def test_a_cluster_with_a_step_to_run_is_not_replaced(aws, tmp_path):
    project = Project(aws, tmp_path, "early", more=CLUSTER)
    aws.emr.pace["start"] = 3
    project.run("up")
    (cluster,) = aws.emr.clusters.values()
    step = add(aws, cluster.id, "sleep", "300")
    project.configure(CLUSTER.replace("m5.xlarge", "m5.2xlarge"))
    refused = project.run("up", code=5).stderr
    assert "has to be replaced" in refused and f"it has a step to run ({step})" in refused, refused
    soon(lambda: cluster.step(step).state == "RUNNING")
    assert f"it is running a step ({step})" in project.run("up", code=5).stderr
    assert cluster.lives()
    aws.emr.pace["start"] = 0.1
    project.run("down", "--purge-bucket")
    assert project.exists() == {}
