"""The job on Spark: a real standalone cluster on loopback, its data in emulated S3; with workers, executors and tasks that
die, hang and fail."""

import json
import os
import re
import signal
import subprocess

import pytest
from conftest import LONG, ROOT, check_complete, command, digests, download, events, fruitctl, fruitjob
from emulator import Emulator, node
from spark import ENVIRONMENT, HOME, QUICK, Cluster, descendants, given, submit
from stack import Project

# One cluster, in one process of pytest.
pytestmark = pytest.mark.xdist_group("spark")
# A Spark application of its own costs several seconds: one executor is enough where it is not about machines.
ONE_EXECUTOR = {"spark_executor_cores": 2}
CLASSES, EACH = 6, 100


@pytest.fixture(scope="module")
def aws():
    with Emulator(start=0.05, bootstrap=0.02, terminate=0.05, propagation=0, logs=0.3, idle=0.2, nodes=node.available() is None) as aws:
        aws.client("s3").create_bucket(Bucket="fruits", CreateBucketConfiguration={"LocationConstraint": aws.region})
        yield aws


@pytest.fixture(scope="module")
def pictures(aws, tmp_path_factory):
    """600 drawn pictures, in S3 and here."""
    folder = tmp_path_factory.mktemp("pictures") / "in"
    fruitctl("samples", folder, "--classes", CLASSES, "--per-class", EACH)
    aws.fill("fruits", "in", folder)
    return folder


@pytest.fixture(scope="module")
def expected(aws, pictures, tmp_path_factory):
    """What the local engine makes of them."""
    fruitjob("run", "-i", "s3://fruits/in", "-o", "s3://fruits/local", env=aws.environment)
    folder = tmp_path_factory.mktemp("local")
    download(aws.client("s3"), "s3://fruits/local", folder)
    return digests(folder)


@pytest.fixture(scope="module")
def standing(aws, tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("spark"), 2, aws.environment)
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(standing):
    standing.want(2)
    return standing


class Run:
    """A run on a cluster: of the executable itself, or, given lines of bash, of one that executes these before each task,
    with the task in $task and the test's own folder in $here."""

    def __init__(self, cluster, aws, folder, name, before="", **conf):
        self.cluster, self.aws, self.folder, self.output, self.before = cluster, aws, folder, f"s3://fruits/{name}", before
        self.name = name
        job = ["-i", "s3://fruits/in", "-o", self.output, "--task-seconds=0.1"]
        conf = cluster.conf(**conf)
        if not before:
            self.command = command("fruitjob", "run", "--engine=spark", *job, *(f"--spark-conf={c}" for c in conf))
            return
        odd = folder / "fruitjob"
        real = command("fruitjob")[0]
        odd.write_text(f'#!/bin/bash\nif [ "$1" != task ]; then exec {real} "$@"; fi\nhere={folder}\nread -r task\n'
                       f'{before}\nexec 3<&0\nexec {real} "$@" < <(printf "%s\\n" "$task"; exec cat <&3 2>/dev/null)\n')
        odd.chmod(0o755)
        self.command = [HOME / "bin" / "spark-submit", *(word for c in conf for word in ("--conf", c)),
                        ROOT / "jobs/interface/src/spark.py", odd, *job]

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=open(self.folder / "stderr", "wb"), text=True,
                                        env=self.aws.environment | ENVIRONMENT)
        return self

    def until_some_are_done(self):
        """Reads events until some images have been featurized and more are to come."""
        for line in self.process.stdout:
            event = json.loads(line) if line.startswith('{"event"') else {"event": None}
            if event["event"] == "progress" and event["stage"] == "featurize" and 0 < event["done"] < event["total"]:
                return self
        raise AssertionError(f"it ended before: {(self.folder / 'stderr').read_text()}")

    def end(self, code=0):
        """Its last event; all its processes gone."""
        out = self.process.stdout.read()
        self.process.wait(timeout=60)
        assert self.process.returncode == code, f"{self.process.returncode}\n{out}\n{(self.folder / 'stderr').read_text()}"
        self.cluster.check_nothing_runs(self.output)
        # Where the driver is submitted by hand, Spark mixes its stderr with its stdout.
        return events("\n".join(line for line in out.splitlines() if not self.before or line.startswith('{"event"')))[-1]

    def objects(self):
        pages = self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket="fruits", Prefix=f"{self.name}/")
        return {item["Key"].removeprefix(f"{self.name}/") for page in pages for item in page.get("Contents", [])}

    def check(self, expected, **spark):
        folder = self.folder / "out"
        download(self.aws.client("s3"), self.output, folder)
        record = check_complete(folder)
        assert digests(folder) == expected
        assert not [name for name in self.objects() if name.startswith((".fruitjob/staging", ".fruitjob/moments"))]
        assert (record["spark"]["start_seconds"] > 0) == (not self.before)
        assert record["spark"] | spark == record["spark"]
        return record


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_same_bytes_as_on_one_machine(cluster, aws, expected, tmp_path, workers):
    run = Run(cluster, aws, tmp_path, f"workers-{workers}", spark_cores_max=workers).start()
    run.end()
    run.check(expected, failed_attempts=0)
    stages = cluster.stages("featurize")
    assert len(stages) == 1 and stages[0]["numCompleteTasks"] > 5 and stages[0]["description"] == f"featurize: {stages[0]['numTasks']} tasks"
    assert len(cluster.stages("fit")) == len(cluster.stages("project")) == 1
    hosts = {task["host"] for task in stages[0]["tasks"].values()}
    assert len(hosts) == workers, hosts
    # Again: nothing new.
    if workers == 1 and not LONG:
        return
    run.start().end()
    images = run.check(expected)["images"]
    assert (images["featurized"], images["cached"]) == (0, CLASSES * EACH)


@pytest.mark.slow
def test_executors_have_the_variables_that_they_are_given(cluster, aws, pictures, tmp_path):
    """And none of the driver's: what fruitctl does not give by spark.executorEnv is not there on YARN either."""
    before = 'env > "$here/$BASHPID.env"'
    run = Run(cluster, aws, tmp_path, "environment", before, spark_cores_max=1, **{"spark.executorEnv.FRUIT": "fig"}).start()
    run.end()
    for file in tmp_path.glob("*.env"):
        names = {line.partition("=")[0] for line in file.read_text().splitlines()}
        assert {name for name in names if name.startswith("AWS_")} == cluster.given.keys(), names
        assert "FRUIT" in names and "HOME" not in names and not any(name.startswith("FRUITCTL_") for name in names), names
    assert list(tmp_path.glob("*.env"))


SLOWLY = "sleep 0.3"


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "executor"])
def test_a_killed_machine_costs_some_tasks(cluster, aws, expected, tmp_path, victim):
    run = Run(cluster, aws, tmp_path, f"killed-{victim}", SLOWLY).start().until_some_are_done()
    if victim == "worker":
        # As when the machine goes: all there is on it.
        pids = [cluster.workers[2].pid, *descendants(cluster.workers[2].pid)]
    else:
        pids = cluster.executors()[2]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    if victim == "worker":
        cluster.workers[2].wait()
    run.end()
    run.check(expected)


@pytest.mark.slow
def test_a_straggler_is_overtaken(cluster, aws, expected, tmp_path):
    before = 'if [[ $task == *\'"partition":7,\'* ]] && mkdir "$here/slow" 2>/dev/null; then exec sleep 600; fi'
    # Spark gives Python two seconds to end by itself, in which the whole run may end: then no death is reported.
    run = Run(cluster, aws, tmp_path, "straggler", before, spark_speculation="true", spark_speculation_quantile="0.5",
              spark_speculation_interval="100ms", spark_speculation_minTaskRuntime="100ms",
              spark_python_task_killTimeout="100ms").start()
    run.end()
    run.check(expected)
    assert (tmp_path / "slow").exists()
    tasks = [task for stage in cluster.stages("featurize") for task in stage["tasks"].values()]
    assert [task["status"] for task in tasks if task["speculative"]].count("SUCCESS") >= 1, tasks
    assert [task for task in tasks if task["status"] == "KILLED"]


@pytest.mark.slow
def test_a_task_that_fails_twice_is_tried_again(cluster, aws, expected, tmp_path):
    before = ('if [[ $task == *\'"partition":7,\'* ]] && { mkdir "$here/once" || mkdir "$here/twice"; } 2>/dev/null; '
              'then echo "error: no luck today" >&2; exit 6; fi')
    run = Run(cluster, aws, tmp_path, "twice", before, **ONE_EXECUTOR).start()
    run.end()
    run.check(expected, failed_attempts=2)
    (stage,) = cluster.stages("featurize")
    assert stage["numFailedTasks"] == 2
    errors = [task["errorMessage"] for task in stage["tasks"].values() if task["status"] == "FAILED"]
    assert len(errors) == 2 and all("no luck today" in error for error in errors)


@pytest.mark.slow
def test_a_poison_image_is_a_reject(cluster, aws, pictures, tmp_path):
    s3 = aws.client("s3")
    aws.fill("fruits", "poison/in/Fig 1", pictures / "Fig 1")
    s3.put_object(Bucket="fruits", Key="poison/in/Fig 1/poison.jpg", Body=b"\xff\xd8\xff but no picture")
    job = ["-i", "s3://fruits/poison/in", "-o", "s3://fruits/poison/out", "--spark-conf=spark.cores.max=1", "--engine=spark"]
    done = fruitjob("run", *job, *(f"--spark-conf={c}" for c in cluster.conf()), env=aws.environment | ENVIRONMENT)
    run = events(done.stdout)[-1]["run"]
    assert (run["images"]["results"], run["images"]["rejected"]) == (EACH, 1)
    cluster.check_nothing_runs("s3://fruits/poison")


@pytest.mark.slow
def test_a_poison_chunk_fails_the_run_and_keeps_the_rest(cluster, aws, expected, tmp_path):
    poison = 'if [[ $task == *\'"partition":7,\'* ]]; then echo tried >> "$here/tries"; echo "this chunk is poison" >&2; kill -SEGV $$; fi'
    run = Run(cluster, aws, tmp_path, "chunk", poison, **ONE_EXECUTOR).start()
    failed = run.end(code=6)
    assert failed["event"] == "failed" and failed["exit_code"] == 6
    assert "stage featurize failed on Spark" in failed["message"] and "this chunk is poison" in failed["message"], failed
    assert "signal 11" in failed["message"], failed
    assert (tmp_path / "tries").read_text().count("tried") == 4
    assert "results/_SUCCESS" not in run.objects()
    (stage,) = cluster.stages("featurize")
    assert stage["status"] == "FAILED" and "this chunk is poison" in stage["failureReason"]
    # Fixed, what is missing is computed, and no more.
    kept = len([name for name in run.objects() if name.startswith(".fruitjob/features/")])
    assert kept > 0
    fixed = Run(cluster, aws, tmp_path, "chunk", **ONE_EXECUTOR).start()
    fixed.end()
    images = fixed.check(expected)["images"]
    assert 0 < images["featurized"] < CLASSES * EACH and images["cached"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_no_process_and_goes_on(cluster, aws, expected, tmp_path, number):
    """Whoever is killed, what it had started ends; the next run takes what was done."""
    run = Run(cluster, aws, tmp_path, f"stopped-{number}").start().until_some_are_done()
    run.process.send_signal(number)
    run.process.stdout.read()
    run.process.wait(timeout=60)
    assert run.process.returncode == (143 if number == signal.SIGTERM else -number)
    cluster.check_nothing_runs(run.output)
    assert "results/_SUCCESS" not in run.objects()
    again = Run(cluster, aws, tmp_path, run.name, **ONE_EXECUTOR).start()
    again.end()
    again.check(expected)


@pytest.mark.slow
def test_what_spark_cannot_do_is_said(cluster, aws, tmp_path):
    job = ["run", "--engine=spark", "-i", "s3://fruits/in", "-o", "s3://fruits/nowhere"]
    assert "type: fruitjob run --engine spark" in fruitjob("fit", *job[1:], code=2).stderr
    nothing = {k: v for k, v in aws.environment.items() if k != "SPARK_HOME"} | {"PATH": "/usr/bin:/bin"}
    assert "engine spark needs spark-submit" in fruitjob(*job, code=2, env=nothing).stderr
    environment = aws.environment | ENVIRONMENT
    done = fruitjob(*job, "--spark-conf=spark.master=nonsense", code=6, env=environment)
    failed = events(done.stdout)[-1]
    assert "Spark ended (exit status 1)" in failed["message"] and "Master must" in failed["message"], failed
    # What would fail again anywhere is not tried four times.
    model = tmp_path / "none.onnx"
    conf = [f"--spark-conf={c}" for c in cluster.conf(**ONE_EXECUTOR)]
    done = fruitjob(*job, *conf, "--model", model, code=2, env=environment)
    assert "none.onnx" in events(done.stdout)[-1]["message"]
    cluster.check_nothing_runs("s3://fruits/nowhere")


@pytest.mark.slow
@pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")
def test_from_here_to_results_by_way_of_spark(cluster, aws, fruits, done, tmp_path):
    """`fruitctl run` with engine spark: the step's spark-submit is Spark's own, and brings the job to the cluster."""
    # What a node's instance profile and network give to any process on it; the region is fruitctl's to give.
    node_has = given({name: value for name, value in aws.environment.items() if name.startswith("AWS_") and not name.endswith("REGION")})
    conf = QUICK | node_has | {"spark.driver.host": "127.0.0.1"}
    aws.emr.spark["spark-submit"] = submit("--master", cluster.master, *(word for k, v in conf.items() for word in ("--conf", f"{k}={v}")))
    more = 'idle_minutes = 1\n[cluster.primary]\ntypes = ["m5.xlarge"]\n[cluster.core]\ntypes = ["m5.xlarge"]\ncount = 2\n'
    project = Project(aws, tmp_path, "spark", more=more)
    try:
        # What cannot be is refused before anything is made for it, but the bucket that holds the run's lock.
        project.run("upload", fruits)
        project.configure(more.replace("count = 2", "count = 0"))
        assert "needs core or task nodes" in project.run("run", "--engine", "spark", code=2).stderr
        assert project.exists().keys() == {"bucket"}
        project.configure(more)
        project.run("up")
        ran = project.run("run", "--engine", "spark", "--one-shot")
        assert "engine: Spark on 8 slots: engine spark" in ran.stderr and "INFO" not in ran.stderr, ran.stderr
        assert re.search(r"spark +8 slots, \d+ tasks, \d+\.\d s to start", ran.stdout), ran.stdout
        (bucket,) = project.exists()["bucket"]
        download(aws.client("s3"), f"s3://{bucket}/output", tmp_path / "out")
        assert check_complete(tmp_path / "out")["spark"]["slots"] == 8
        assert digests(tmp_path / "out") == digests(done)
        cluster.check_nothing_runs(f"s3://{bucket}/output")
        # Few pictures: not worth it, and it says why. Nothing is new.
        ran = project.run("run")
        assert "engine: the primary node alone: 480 images take it less than 5 minutes" in ran.stderr, ran.stderr
        assert "480 from the cache" in ran.stdout
    finally:
        project.run("down", "--purge-bucket", "--force-unlock")
    assert not aws.refused, aws.refused
