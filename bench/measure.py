"""Runs a command to the end of all that it started, and says what that took.

    python measure.py COMMAND...

The last line on stdout: JSON with `wall` and `cpu` in seconds and `peak` in MB (of the largest process).
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    # Orphans come to us, so that the CPU of every descendant is counted: Spark leaves Python workers behind.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    start = time.monotonic()
    code = subprocess.call(sys.argv[1:])
    wall = time.monotonic() - start
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss / 1000}))
    return code


if __name__ == "__main__":
    sys.exit(main())
