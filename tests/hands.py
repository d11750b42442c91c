"""Three people at one project: a walker that draws from a seed what each of them types, when a process is killed, and when it
sleeps for longer than a lock lives; and looks, call by call and after each round, whether what fruitctl promises has held.

What it promises, whoever does what beside whom:

    steps      nobody's step is ended by another's command but `down`, which names its cluster, and `sweep` past a deadline
    clusters   a run never has two that live, nor has the project two that stand
    rights     while a cluster lives, nobody takes a role, a key pair, a group, a bucket or what its step may read and write
    doors      nobody's rule for SSH is closed by another
    results    each run whose entry says "done" names the results that its own step wrote; and none says "running" for ever
    exit code  0 is what it says, another is one of the documented ones, and none is a bug
    the end    after the last `down`, nothing is left

There are no nodes: steps are on paper, and do what the job does, as far as others can tell. The same seed draws the same
walk; how its processes meet depends on the machine as well.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter

from conftest import command, soon
from emulator import access, launch
from stack import Project

# Short-lived locks: 0.6 seconds, which is less than one waits for a lock. On a busy machine, some are lost for nothing.
LEASE_PACE = 0.005
LEASE = 120 * LEASE_PACE
CODES = {0, 5, 6, 7, 8, 9, 10, -signal.SIGKILL}
ENDED = ("TERMINATED", "TERMINATED_WITH_ERRORS", "TERMINATING")
COMMANDS = {"up": 3, "run": 5, "run --one-shot": 4, "run --if-changed": 1, "upload": 1, "down": 1, "down --purge-bucket": 1, "sweep": 1,
            "prune": 2}
ALL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})


class Violation(AssertionError):
    pass


class Person:
    """Somebody with an identity, a machine, a configuration and images of his own."""

    def __init__(self, aws, folder, name, number):
        self.number, self.address = number, f"203.0.113.{number}/32"
        (folder / f"of-{number}").mkdir()
        self.project = Project(aws, folder / f"of-{number}", name, env=aws.user(f"{name}-{number}", ALL))
        self.project.env |= {"USER": f"user{number}", "FRUITCTL_LEASE_PACE": str(LEASE_PACE)}
        self.project.key = self.project.env["AWS_ACCESS_KEY_ID"]
        self.folder = self.project.folder
        (self.folder / "job").write_text(f"#!/bin/sh\n# {number}\n")
        (self.folder / "new" / "Fig").mkdir(parents=True)
        # The first and the last one share their output.
        self.input, self.output = f"photos-{number}", f"s3://vectors/{number % 2}"
        aws.client("s3").create_bucket(Bucket=self.input, CreateBucketConfiguration={"LocationConstraint": aws.region})
        aws.client("s3").put_object(Bucket=self.input, Key="in/Fig/1.jpg", Body=b"no picture")
        self.process, self.words, self.calls, self.fate, self.slept, self.ended = None, [], 0, None, None, []

    def configure(self, kind):
        self.project.configure(f"[cluster.primary]\ntypes = [\"{kind}\"]\n[cluster.core]\ncount = 0\n[network]\nssh_cidr = \"{self.address}\"\n"
                               f"[job]\ninput = \"s3://{self.input}/in\"\noutput = \"{self.output}\"\n")

    def start(self, words, fate):
        """`fate`: a signal, and at which of its calls it comes; None for none."""
        self.words, self.fate, self.calls, self.slept, self.ended = words, fate, 0, None, []
        self.said = open(self.folder / "said", "w+b")
        self.process = subprocess.Popen(command("fruitctl", *words), cwd=self.folder, env=self.project.env, stdout=self.said, stderr=self.said)

    def calls_once_more(self):
        self.calls += 1
        if self.fate and self.process and self.calls == self.fate[1] and self.process.poll() is None:
            self.process.send_signal(self.fate[0])
            self.slept = time.monotonic() if self.fate[0] == signal.SIGSTOP else None

    def is_busy(self):
        return self.process is not None and self.process.poll() is None and not self.slept

    def wake(self):
        """After it slept for longer than a lock lives."""
        if self.slept and self.process.poll() is None:
            time.sleep(max(0, self.slept + 1.1 * LEASE - time.monotonic()))
            self.process.send_signal(signal.SIGCONT)
        self.slept = None

    def end(self):
        """(exit code, what it said) of what ran, if something did."""
        if self.process is None:
            return None
        deadline = time.monotonic() + 120
        while (code := self.process.poll()) is None:
            # It may only now come so far as to be stopped.
            self.wake()
            assert time.monotonic() < deadline, self.words
            time.sleep(0.01)
        self.slept = None
        self.said.seek(0)
        said, self.process = self.said.read().decode(), None
        self.said.close()
        return code, said


class Walk:
    """One seed's walk."""

    mode = "watch"

    def __init__(self, aws, folder, seed):
        self.aws, self.seed, self.random, self.name = aws, seed, random.Random(seed), f"walk{seed}"
        self.s3, self.violations, self.struck, self.codes, self.commands = aws.client("s3"), [], Counter(), Counter(), Counter()
        self.s3.create_bucket(Bucket="vectors", CreateBucketConfiguration={"LocationConstraint": aws.region})
        self.people = [Person(aws, folder, self.name, number) for number in range(1, 4)]
        self.by_key = {person.project.key: person for person in self.people}
        # Whose a run is, and the SHA-256 of what its step published.
        self.whose, self.wrote, self.jobs = {}, {}, 0
        self.round, self.log = 0, []
        aws.emr.job = self.job
        aws.faults[:] = [self]

    def walk(self, rounds):
        for self.round in range(rounds):
            self.one_round()
        self.round = "last"
        person = self.random.choice(self.people)
        del person.project.env["FRUITCTL_LEASE_PACE"]
        self.type(person, ["down", "--purge-bucket"], None)
        self.gather()
        left = self.people[0].project.exists()
        self.hold(left == {} and not self.living(), f"left: {left}")
        self.check()

    def one_round(self):
        self.log = []
        for person in self.random.sample(self.people, 3):
            self.draw(person)
            # How far the next one lets it come.
            most = self.random.randrange(90)
            soon(lambda: not person.is_busy() or person.calls >= most, "a command's end", 120)
        # While one sleeps, others go on.
        sleepers = [person for person in self.people if person.slept]
        for person in [p for p in self.people if sleepers and not p.slept][:1]:
            self.finish(person)
            self.draw(person)
        self.gather()
        self.look()

    def draw(self, person):
        """Something that somebody types, and what becomes of it."""
        words = self.random.choices([*COMMANDS], [*COMMANDS.values()])[0].split()
        person.configure(self.random.choice(["m5.xlarge"] * 4 + ["m5.2xlarge"]))
        if words[0] == "run":
            words += ["--executable", "job", "--no-ssh"]
        elif words[0] == "upload":
            (person.folder / "new" / "Fig" / "2.jpg").write_bytes(self.random.randbytes(8))
            words += ["new"]
        elif words[0] == "sweep":
            words += ["--project", self.name]
            for cluster in [c for c in self.living() if self.random.random() < 0.5]:
                cluster.tags["fruitctl:deadline"] = "2026-01-01T00:00:00Z"
        fate = self.random.choice([None, None, signal.SIGKILL, signal.SIGSTOP])
        self.type(person, words, fate and (fate, self.random.randint(1, 100)))

    def type(self, person, words, fate):
        if words == ["down", "--purge-bucket"]:
            words = [*words, "--yes"]
        self.log.append(f"{person.number}: {' '.join(words)} {fate or ''}")
        self.commands[words[0]] += 1
        person.start(words, fate)

    def finish(self, person):
        """Waits for a command, and looks at what it said."""
        words = person.words
        if (ended := person.end()) is None:
            return
        code, said = ended
        self.log.append(f"{person.number}: exit {code}\n{said[-2000:]}")
        if person.fate and person.calls >= person.fate[1]:
            self.struck[person.fate[0].name] += 1
        self.codes[code] += 1
        self.hold(code in CODES and "panicked" not in said, f"{words}: exit {code}")
        if words[0] == "down" and code != -signal.SIGKILL:
            self.hold(all(cluster in said for cluster in person.ended), f"down did not name {person.ended}")
        if words[0] == "run" and code == 0 and "nothing has changed" not in said:
            summary = json.loads((person.folder / "out" / "run-summary.json").read_text())
            self.hold(summary["run"]["warnings"] == [summary["id"]], f"run {summary['id']} reports the results of {summary['run']['warnings']}")

    def gather(self):
        """Until nobody does anything any more, nor does a step."""
        for person in sorted(self.people, key=lambda person: person.slept is not None):
            self.finish(person)
        soon(lambda: all(s.ended or s.state == "CANCELLED" for c in self.living() for s in c.steps), "the end of steps", 60)
        soon(lambda: not [c for c in self.living() if "fruitctl:run" in c.tags], "the end of runs' own clusters", 60)

    def look(self):
        """After a round, when all is quiet."""
        standing = self.living()
        self.hold(len(standing) <= 1, f"clusters that stand: {[c.id for c in standing]}")
        person = self.random.choice(self.people)
        person.configure("m5.xlarge")
        runs = json.loads(person.project.run("runs", "--json").stdout)
        for run in runs:
            self.hold(run["state"] != "running", f"run {run['id']} is running for ever")
            if run["state"] == "done":
                self.hold(run["results"] == self.wrote.get(run["id"]), f"run {run['id']} says that others' results are its own")
        if done := [run for run in runs if run["state"] == "done"]:
            run = self.random.choice(done)
            got = person.project.run("results", "--run", run["id"], "--download", "got", code=None)
            record = json.loads((person.folder / "got" / "run.json").read_text()) if got.returncode == 0 else None
            self.hold(got.returncode in (0, 2, 5, 6) and (record is None or record["warnings"] == [run["id"]]), f"results --run {run['id']}: {got}")
        self.check()

    # What happens in between

    def living(self):
        return [c for c in list(self.aws.emr.clusters.values()) if c.state not in ENDED]

    def hold(self, good, what):
        if not good:
            self.violations.append(what)

    def check(self):
        if self.violations:
            raise Violation(f"seed {self.seed}, round {self.round}: " + "\n".join([*self.violations, *self.log]))

    def strikes(self, request):
        """Every call, before it is served; none is struck."""
        if (person := self.by_key.get(request.access_key)) is not None:
            person.calls_once_more()
            self.watch(person, request.name, request.params or {})
        return False

    def watch(self, person, call, params):
        doing = person.words[0] if person.words else ""
        who = f"{call} by {person.number} for {doing}"
        if call in ("elasticmapreduce:RunJobFlow", "elasticmapreduce:AddJobFlowSteps"):
            self.whose |= {step["Name"].removeprefix("fruitctl run "): person for step in params.get("Steps", [])}
            run = next((tag["Value"] for tag in params.get("Tags", []) if tag["Key"] == "fruitctl:run"), None)
            beside = [c.id for c in self.living() if run and c.tags.get("fruitctl:run") == run]
            self.hold(not beside, f"{who}: a second cluster of run {run} beside {beside}")
        elif call == "elasticmapreduce:TerminateJobFlows":
            for cluster in [c for c in self.living() if c.id in params["JobFlowIds"]]:
                is_late = cluster.tags.get("fruitctl:deadline", "") < "2026-06"
                others = [s.id for s in cluster.steps if s.state in ("PENDING", "RUNNING") and self.whose.get(run_of(s)) is not person]
                self.hold(not others or doing == "down" or doing == "sweep" and is_late, f"{who}: {cluster.id} has others' steps {others}")
                person.ended.append(cluster.id)
        elif call == "elasticmapreduce:CancelSteps":
            steps = [s for c in self.living() for s in c.steps if s.id in params["StepIds"]]
            self.hold(all(self.whose.get(run_of(s)) is person for s in steps), f"{who}: {params} is another's")
        elif call == "ec2:RevokeSecurityGroupIngress":
            ranges = {r["CidrIp"] for rule in params.get("IpPermissions", []) for r in rule.get("IpRanges", [])}
            theirs = ranges & {p.address for p in self.people if p is not person}
            self.hold(doing == "down" or not theirs, f"{who}: {theirs} is another's")
        elif call in ("ec2:DeleteKeyPair", "ec2:DeleteSecurityGroup", "iam:DeleteRole", "iam:DeleteRolePolicy", "iam:DeleteInstanceProfile", "s3:DeleteBucket",
                      "iam:RemoveRoleFromInstanceProfile", "elasticmapreduce:DeleteSecurityConfiguration"):
            living = [c.id for c in self.living()]
            self.hold(not living, f"{who}: {params} while {living} live")

    def job(self, step):
        """A step on paper: reads for a while, and publishes. Its exit code, and what it says."""
        words, options, cluster = step.spec["HadoopJarStep"]["Args"], told(step), step.cluster
        self.jobs += 1
        rng, run = random.Random(f"{self.seed} {self.jobs}"), run_of(step)
        (_, _, source), (_, _, to) = options["input"].partition("s3://"), options["output"].partition("s3://")
        executable = next(word for word in words if word.endswith("/fruitjob")).removeprefix("s3://").split("/", 1)
        until = time.monotonic() + rng.choice([0.05, 0.3, 0.8])
        while time.monotonic() < until and not step.signal:
            may = launch.documents(cluster.spec["JobFlowRole"])
            for action, at in (("s3:GetObject", f"{source}/Fig/1.jpg"), ("s3:PutObject", f"{to}/run.json"), ("s3:GetObject", "/".join(executable))):
                if not access.permitted(may, action, f"arn:aws:s3:::{at}", {}) and not step.signal and not cluster.stopping.is_set():
                    self.violations.append(f"run {run} may not {action} {at} any more")
                    return 1, b""
            time.sleep(0.02)
        if step.signal:
            return -step.signal, b""
        try:
            self.s3.head_object(Bucket=executable[0], Key=executable[1])
        except self.s3.exceptions.ClientError:
            if not step.signal and not cluster.stopping.is_set():
                self.violations.append(f"run {run}: {executable} is gone")
            return 1, b""
        self.wrote[run], said = publish(self.s3, step)
        return 0, said


def told(step):
    """The options of a step's job."""
    words = step.spec["HadoopJarStep"]["Args"]
    return dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)


def publish(s3, step):
    """Results of a step, as short as can be, with its run's name in a warning; the SHA-256 of run.json, and what is said of it."""
    options, run = told(step), run_of(step)
    counts = dict.fromkeys(("listed", "labels", "listed_bytes", "featurized", "cached", "read_bytes", "rejected", "results"), 0)
    record = {"format": 1, "version": "0", "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:00Z", "input": options["input"],
              "output": options["output"], "threads": 1, "model": None, "pca": None, "images": counts, "parts": [], "rejects": [], "stages": [], "warnings": [run]}
    text, (bucket, prefix) = json.dumps(record).encode(), options["output"].removeprefix("s3://").split("/", 1)
    for name, body in (("run.json", text), ("report.html", b""), ("results/_SUCCESS", b"")):
        s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=body)
    return hashlib.sha256(text).hexdigest(), json.dumps({"event": "finished", "run": record}).encode() + b"\n"


def run_of(step):
    return step.spec["Name"].removeprefix("fruitctl run ")
