"""Nights on which things go wrong: a walker that draws images' changes and faults from a seed, runs the night, and looks
whether what fruitctl promises has held.

What it promises, after every night:

    clusters   a run never has two, and none is left, whatever became of the command
    locks      none is held by nobody for longer than a lock lives
    results    with _SUCCESS they are, byte by byte, this night's or those that were there before; without it, the command
               did not say that they are
    exit code  0 means that this night's results are there; another is one of the documented ones, with a message,
               and run-summary.json says the same
    the end    a night without faults, after all that, gives the right results

The same seed draws the same nights; what the processes make of them depends on the machine as well.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from functools import cache
from pathlib import Path

from conftest import command, digests, download
from emulator import Emulator, Fault
from nights import Nights

CODES = {0, 2, 4, 5, 6, 7, 8, 9, 128 + signal.SIGINT, 128 + signal.SIGTERM}
# Flakes of a launch, as EMR words them.
FLAKES = [("INTERNAL_ERROR", "An internal error occurred", []),
          ("BOOTSTRAP_FAILURE", "On the master instance, application provisioning timed out", []),
          ("INSTANCE_FAILURE", "The primary instance failed to start", [])]
FAKETIME = shutil.which("faketime")
FULL = "mnt/full"


class Violation(AssertionError):
    pass


class OfNodes(Fault):
    """A fault of calls that nodes make: their keys are a role's."""

    def strikes(self, request):
        return request.access_key.startswith("ASIA") and super().strikes(request)


class Chaos:
    """One seed's walk."""

    KINDS = ["throttle", "error", "reset", "lost", "slow", "ssh cut", "ssh gone", "node loss", "somebody terminates", "flake",
             "step crash", "crash at a call", "command killed", "command stopped", "two runners", "clock", "expired", "full disk"]

    def __init__(self, aws, folder, seed):
        self.aws, self.folder, self.seed = aws, folder, seed
        self.random = random.Random(seed)
        self.nights = Nights(aws, folder, f"chaos{seed}", classes=3, per_class=8, seed=seed)
        self.project = self.nights.project
        self.s3, self.night, self.struck = aws.client("s3"), 0, Counter()
        self.good = None  # Digests of the results that are there.
        self.codes = Counter()

    def walk(self, nights):
        for self.night in range(nights):
            self.one_night(self.draw() if self.night else [])
        self.night = "last"
        self.one_night([])

    def draw(self):
        kinds = self.KINDS if FAKETIME else [k for k in self.KINDS if k != "clock"]
        return self.random.sample(kinds, self.random.choice([1, 1, 2, 2, 3]))

    def one_night(self, kinds):
        if self.random.random() < 0.8:
            self.nights.change_some(2)
        wanted, clusters = self.nights.expected(), set(self.aws.emr.clusters)
        said = self.run(kinds)
        self.aws.faults.clear()
        self.aws.emr.failures.clear()
        try:
            self.check(kinds, wanted, clusters, said)
        except Violation as violation:
            raise Violation(f"seed {self.seed}, night {self.night}, {kinds}: {violation}\n" +
                            "\n".join(f"--- exit {code}\n{out[-3000:]}\n{err[-3000:]}" for code, out, err, _ in said)) from None

    # What happens

    def run(self, kinds):
        """Runs the night; (exit code, stdout, stderr, what was done to the process) of each command."""
        key, rng = self.project.key, self.random
        service = rng.choice(["s3:*", "elasticmapreduce:*", "ec2:*", "iam:*", "*"])
        # Rules hit calls of the command and, one time in two, those of the node.
        whose = rng.choice([key, ""])
        modes = {"throttle": "throttle", "error": "error", "reset": "drop_before", "lost": "drop_after", "slow": "delay"}
        for kind in (k for k in kinds if k in modes):
            self.aws.faults.append(Fault(service, modes[kind], every=rng.randint(2, 6), first=rng.randint(1, 60),
                                         times=rng.randint(1, 12), key=whose, seconds=rng.choice([0.1, 0.4])))
        if "expired" in kinds:
            self.aws.faults.append(Fault("*", "expire", first=rng.randint(1, 90), key=key))
        if "crash at a call" in kinds:
            # At the first writes of the job, or, where it publishes, at the last ones.
            call, first = rng.choice([("s3:*", rng.randint(1, 150)), ("s3:CopyObject", rng.randint(1, 14)), ("s3:Delete*", rng.randint(1, 14))])
            self.aws.faults.append(OfNodes(call, rng.choice(["kill_before", "kill_after"]), first=first, times=1, kill=rng.choice([self.crash, self.lose])))
        if "flake" in kinds:
            self.aws.emr.failures.append(rng.choice(FLAKES))
        strikers = [threading.Thread(target=self.strike, args=(kind, rng.random()), daemon=True)
                    for kind in kinds if kind in ("ssh cut", "ssh gone", "node loss", "somebody terminates", "step crash", "full disk")]
        self.over = threading.Event()
        self.known = set(self.aws.emr.clusters)
        for striker in strikers:
            striker.start()
        runners = [self.start(kinds, 0)]
        if "two runners" in kinds:
            time.sleep(rng.choice([0, 0.05, 0.5]))
            runners.append(self.start(kinds, 1))
        how = {"command killed": signal.SIGKILL, "command stopped": rng.choice([signal.SIGINT, signal.SIGTERM])}
        ends = [how[k] for k in kinds if k in how]
        done = []
        for kind in ends[:1]:
            time.sleep(rng.random() * 4)
            if runners[0].poll() is None:
                runners[0].send_signal(kind)
                self.struck["command killed" if kind == signal.SIGKILL else "command stopped"] += 1
                done.append(kind)
        said = []
        for n, runner in enumerate(runners):
            try:
                out, err = runner.communicate(timeout=180)
            except subprocess.TimeoutExpired:
                runner.kill()
                raise Violation(f"seed {self.seed}, night {self.night}, {kinds}: the command did not end in three minutes") from None
            said.append((runner.returncode, out, err, done if n == 0 else []))
            self.codes[runner.returncode] += 1
        # What ends without the command.
        deadline = time.time() + 60
        while self.living() and time.time() < deadline:
            time.sleep(0.05)
        self.over.set()
        for striker in strikers:
            striker.join()
        for fault in self.aws.faults:
            names = {mode: kind for kind, mode in modes.items()} | {"expire": "expired"} | dict.fromkeys(["kill_before", "kill_after"], "crash at a call")
            self.struck[names[fault.mode]] += fault.hits
        self.struck["flake"] += "flake" in kinds and not self.aws.emr.failures
        self.struck["two runners"] += "two runners" in kinds
        self.struck["clock"] += "clock" in kinds
        return said

    def start(self, kinds, number):
        environment = dict(self.project.env)
        words = command("fruitctl", "run", "--one-shot", "--if-changed", "--max-duration", "10m", "--lock-wait", "20",
                        "--download", f"got-{number}")
        if "clock" in kinds:
            # Within what AWS takes, mostly; one time in four beyond.
            off = self.random.choice([-1, 1]) * self.random.choice([60, 200, 270, 1500])
            # Without its wrapper, which would get the signals.
            environment |= {"LD_PRELOAD": preloaded(), "FAKETIME": f"{off:+}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        shutil.rmtree(self.project.folder / f"got-{number}", ignore_errors=True)
        return subprocess.Popen(words, cwd=self.project.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def strike(self, kind, when):
        """Does something to the night's cluster, a while after it has a node."""
        cluster = self.soon(lambda: next((c for i, c in list(self.aws.emr.clusters.items()) if i not in self.known and c.node), None))
        if cluster is None:
            return
        if kind == "full disk":
            cluster.node.path(FULL).touch()
        elif kind == "step crash":
            if (pid := self.soon(lambda: job_of(cluster))) is None:
                return
            time.sleep(when * 0.6)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return
        else:
            if self.soon(lambda: cluster.state == "RUNNING") is None:
                return
            time.sleep(when * 1.5)
            if not cluster.lives():
                return
            if kind == "node loss":
                cluster.terminate("INSTANCE_FAILURE", "The master node was terminated")
            elif kind == "somebody terminates":
                cluster.terminate("USER_REQUEST", "Terminated by user request")
            else:
                cluster.node.cut(for_good=kind == "ssh gone")
        self.struck[kind] += 1

    def crash(self):
        for cluster in self.living():
            if (pid := job_of(cluster)) is not None:
                os.kill(pid, signal.SIGKILL)

    def lose(self):
        for cluster in self.living():
            cluster.terminate("INSTANCE_FAILURE", "The master node was terminated")
            self.crash()

    def soon(self, condition):
        while not self.over.is_set():
            if found := condition():
                return found
            time.sleep(0.01)
        return None

    def living(self):
        return [c for c in list(self.aws.emr.clusters.values()) if c.lives()]

    # What has to hold

    def check(self, kinds, wanted, before, said):
        def hold(condition, words):
            if not condition:
                raise Violation(words)

        hold(not self.living(), f"left: {[(c.id, c.state) for c in self.living()]}")
        runs = Counter(c.tags.get("fruitctl:run") for i, c in self.aws.emr.clusters.items() if i not in before)
        hold(all(n == 1 for n in runs.values()), f"clusters of a run: {runs}")
        hold(len(runs) <= len(said), f"{len(runs)} clusters of {len(said)} commands")
        there = shutil.rmtree(self.folder / "there", ignore_errors=True) or self.folder / "there"
        download(self.s3, f"s3://{self.nights.bucket}/output", there)
        whole = (there / "results" / "_SUCCESS").exists()
        found = digests(there) if whole else None
        succeeded = [code for code, *_ in said if code == 0]
        if whole:
            hold(found in (wanted, self.good), "the results are neither this night's nor those that were there before")
        if succeeded:
            hold(whole and found == wanted, f"exit code 0, and the results are {'other ones' if whole else 'not whole'}")
        if not kinds:
            hold(succeeded, "a night without faults failed")
        if whole:
            self.good = found
        else:
            self.good = "none"
            self.struck["(cut off while publishing)"] += 1
        for n, (code, out, err, done) in enumerate(said):
            hold("panicked" not in err and "RUST_BACKTRACE" not in err, "a panic")
            if code == -signal.SIGKILL:
                hold(signal.SIGKILL in done, "killed by nobody")
                continue
            hold(code in CODES, f"exit code {code} is not documented")
            hold(code < 128 or done, f"exit code {code}, and no signal was sent")
            hold(code == 0 or "error:" in err, f"exit code {code} without a message")
            hold(code != 8 or "two runners" in kinds or self.killed, "locked by nobody")
            summary = json.loads((self.project.folder / f"got-{n}" / "run-summary.json").read_text())
            hold(summary["exit_code"] == code, f"run-summary.json says {summary['exit_code']}, not {code}")
        self.killed = any(code == -signal.SIGKILL for code, *_ in said)
        for item in self.s3.list_objects_v2(Bucket=self.nights.bucket, Prefix=".fruitctl/").get("Contents", []):
            holder = json.loads(self.s3.get_object(Bucket=self.nights.bucket, Key=item["Key"])["Body"].read())
            hold("expires" not in holder or holder["expires"] < time.time() + 120 + 1500, f"a lock for ever: {holder}")

    killed = False


@cache
def preloaded():
    """The library by which faketime turns a clock."""
    said = subprocess.run([FAKETIME, "-f", "+0s", "env"], capture_output=True, text=True, check=True).stdout
    return next(line.partition("=")[2] for line in said.splitlines() if line.startswith("LD_PRELOAD="))


def job_of(cluster):
    """The process number of the job on a cluster's node."""
    for step in cluster.steps:
        if step.process and step.process.poll() is None:
            waiting = [step.process.pid]
            while waiting:
                pid = waiting.pop()
                try:
                    waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
                    if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(b"/fruitjob"):
                        return pid
                except OSError:
                    pass
    return None


def emulator():
    return Emulator(start=0.05, bootstrap=0.02, terminate=0.05, propagation=0, logs=0.3, idle=0.2)


def main():
    parser = argparse.ArgumentParser(prog="tests/chaos", description=__doc__.split("\n\n")[0])
    parser.add_argument("--nights", type=int, default=20, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first walk (%(default)s); a failure prints its own")
    parser.add_argument("--walk", type=int, default=10, help="nights of a walk, each on an AWS of its own (%(default)s)")
    options = parser.parse_args()
    struck, codes, violations, left, seed = Counter(), Counter(), [], options.nights, options.seed
    while left > 0:
        with emulator() as aws, tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            chaos, begun = Chaos(aws, Path(folder), seed), time.time()
            try:
                chaos.walk(min(options.walk, left))
                outcome = "held"
            except Violation as violation:
                violations.append(seed)
                outcome = f"VIOLATION: {violation}\n  again: tests/chaos --seed {seed} --nights {min(options.walk, left)} --walk {options.walk}"
            struck, codes = struck + chaos.struck, codes + chaos.codes
            print(f"seed {seed}: {min(options.walk, left)} nights in {time.time() - begun:.0f} s: {outcome}", flush=True)
        left, seed = left - options.walk, seed + 1
    print("faults that struck: " + ", ".join(f"{kind} {n}" for kind, n in sorted(struck.items()) if n))
    print("exit codes: " + ", ".join(f"{code}: {n}" for code, n in sorted(codes.items())))
    print(f"{options.nights} nights, {len(violations)} walks with violations{f': seeds {violations}' if violations else ''}")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
