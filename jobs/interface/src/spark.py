"""The Spark driver of `fruitjob run --engine spark`, which writes this file and submits it.

    spark-submit spark.py EXECUTABLE OPTION...

Starts `EXECUTABLE coordinate OPTION...` and serves it. What the coordinator prints is passed on, but for requests:

    {"map": {"stage": NAME, "description": TEXT, "tasks": [TASK, ...]}}

Each TASK, a line of text, becomes a task of a Spark stage: `EXECUTABLE task OPTION...` on an executor, which reads it from
stdin and prints one line, its result. Answers go to the coordinator's stdin: {"slots": N} once, then for each request any number of
{"progress": {"done": N, "failed": N}} and one of {"results": [LINE, ...]}, in the order of the tasks, and {"error": TEXT}.

Needs Python 3.7, PySpark 3.1 and nothing else. Nothing here knows of images: all data goes through the store.
"""

import json
import os
import subprocess
import sys
import threading
import time

from pyspark import SparkContext, SparkFiles, TaskContext

POLL_SECONDS = 0.25
REMEMBERED = 20  # lines of a task's stderr that its error shows
FAILED = "RuntimeError: task failed: "  # as a traceback shows it


def task_runner(name, options):
    """What Spark runs on executors; closes over text only."""

    def run(index, tasks):
        attempt = TaskContext.get().attemptNumber()
        for task in tasks:
            process = subprocess.Popen(
                [SparkFiles.get(name), "task"] + options,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            last = []

            def pass_on():
                for line in process.stderr:
                    line = line.decode("utf-8", "replace")
                    sys.stderr.write("task %d attempt %d: %s" % (index, attempt, line))
                    sys.stderr.flush()
                    last.append(line.rstrip("\n"))
                    del last[:-REMEMBERED]

            thread = threading.Thread(target=pass_on, daemon=True)
            thread.start()
            try:
                try:
                    process.stdin.write(task.encode() + b"\n")
                    process.stdin.flush()  # and not closed: when we are gone, the process sees its end, and ends
                except BrokenPipeError:
                    pass  # it ended early; its exit status says why
                result = process.stdout.read().decode()
                status = process.wait()
                thread.join(5)
            finally:
                if process.poll() is None:
                    process.kill()
                process.stdin.close()
            if status != 0:
                how = "was ended by signal %d" % -status if status < 0 else "exited with %d" % status
                raise RuntimeError("task failed: %s" % json.dumps({"how": how, "stderr": last}))
            yield result.strip()

    return run


def reason(error):
    """The failed task's own words, where there are some; else Spark's first lines."""
    text = str(getattr(error, "java_exception", None) or error)
    at = text.find(FAILED)
    if at >= 0:
        failure, _ = json.JSONDecoder().raw_decode(text[at + len(FAILED):])
        return "a task %s; its last words: %s" % (failure["how"], " | ".join(failure["stderr"]) or "none")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[:3])


class Driver:
    def __init__(self, executable, options):
        self.options = options
        self.context = SparkContext()
        self.context.setLogLevel("WARN")
        self.name = os.path.basename(executable)
        # Not --files: on YARN that does not reach a driver outside the cluster.
        self.context.addFile(executable)
        self.coordinator = subprocess.Popen(
            [SparkFiles.get(self.name), "coordinate"] + options, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def answer(self, **message):
        try:
            self.coordinator.stdin.write(json.dumps(message).encode() + b"\n")
            self.coordinator.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; the loop sees it

    def serve(self):
        self.answer(slots=self.context.defaultParallelism)
        for line in self.coordinator.stdout:
            request = json.loads(line).get("map") if line.startswith(b'{"map"') else None
            if request is None:
                sys.stdout.buffer.write(line)
                sys.stdout.flush()
            else:
                self.map(**request)
        return self.coordinator.wait()

    def map(self, stage, description, tasks):
        results, errors = [], []

        def job():
            try:  # the group is a property of the thread that submits
                self.context.setJobGroup(stage, description, interruptOnCancel=True)
                rdd = self.context.parallelize(tasks, len(tasks)).setName(stage)
                results.extend(rdd.mapPartitionsWithIndex(task_runner(self.name, self.options)).setName(stage).collect())
            except Exception as error:
                errors.append(error)

        tracker = self.context.statusTracker()
        before = set(tracker.getJobIdsForGroup(stage))
        thread = threading.Thread(target=job, daemon=True)
        thread.start()
        last = (0, 0)
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            done = failed = 0
            for job_id in set(tracker.getJobIdsForGroup(stage)) - before:
                info = tracker.getJobInfo(job_id)
                for stage_id in info.stageIds if info else ():
                    stage_info = tracker.getStageInfo(stage_id)
                    if stage_info:
                        done += stage_info.numCompletedTasks
                        failed += stage_info.numFailedTasks
            if (done, failed) != last:
                last = (done, failed)
                self.answer(progress={"done": done, "failed": failed})
        if errors:
            self.answer(error=reason(errors[0]))
        else:
            self.answer(results=results)


def end_with(launcher):
    """Ends this process when the one that submitted it has ended: Java hands no pipe on by which we could see it."""
    while True:
        time.sleep(1)
        try:
            os.kill(launcher, 0)
        except ProcessLookupError:
            os._exit(1)
        except PermissionError:
            pass


def main():
    if "FRUITJOB_LAUNCHER" in os.environ:
        threading.Thread(target=end_with, args=(int(os.environ["FRUITJOB_LAUNCHER"]),), daemon=True).start()
    driver = Driver(sys.argv[1], sys.argv[2:])
    try:
        status = driver.serve()
    finally:
        driver.coordinator.stdin.close()
        driver.context.stop()
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
