"""`tests/emulate`: an AWS on this machine, until it is stopped."""

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import spark  # noqa: E402
from emulator import Emulator, node  # noqa: E402

parser = argparse.ArgumentParser(prog="tests/emulate", description="An AWS on this machine, to try fruitctl with no account: S3, IAM, EC2, STS, and an EMR whose primary node really runs. It is empty at first, and forgets all when it is stopped.")
parser.add_argument("--port", type=int, default=5360, help="default: 5360")
parser.add_argument("--region", default="eu-west-3", help="default: eu-west-3")
parser.add_argument("--quiet", action="store_true", help="do not print the calls")
args = parser.parse_args()

problem = node.available()
with Emulator(args.region, args.port, nodes=problem is None, verbose=not args.quiet, start=3, bootstrap=1) as aws:
    if problem:
        print(f"clusters will have no node here: {problem}", file=sys.stderr)
    aws.emr.spark["spark-submit"] = spark.submit("--master", "local[*]")
    print("# In another terminal:")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL", "FRUITCTL_CHECKIP_URL", "FRUITCTL_SSH_PORT", "FRUITCTL_NODE_GLIBC"):
        print(f"export {name}={aws.environment[name]}")
    print("export FRUITCTL_PACE=0.1   # waits are ten times shorter")
    print("# Ctrl-C ends it.", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
