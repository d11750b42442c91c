"""What of the AWS command line the nodes' scripts use: `aws s3 cp SOURCE TARGET`, '-' being stdin or stdout."""

import errno
import os
import sys

import boto3


# A file by which a test says that the disk is full.
FULL = "/mnt/full"


def place(uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


words = [w for w in sys.argv[1:] if w not in ("--only-show-errors", "--quiet")]
region = os.environ.get("AWS_REGION")
if "--region" in words:
    at = words.index("--region")
    region = words[at + 1]
    del words[at:at + 2]
if words[:2] != ["s3", "cp"] or len(words) != 4:
    sys.exit(f"aws: the emulator's nodes know 'aws s3 cp SOURCE TARGET' only, not: {' '.join(sys.argv[1:])}")
source, target = words[2:]
s3 = boto3.client("s3", region_name=region)
try:
    if source.startswith("s3://") and target != "-" and os.path.exists(FULL):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)
    if source.startswith("s3://"):
        with open(target, "wb") if target != "-" else sys.stdout.buffer as out:
            s3.download_fileobj(**place(source), Fileobj=out)
    else:
        with open(source, "rb") if source != "-" else sys.stdin.buffer as body:
            s3.put_object(**place(target), Body=body.read())
except Exception as error:
    sys.exit(f"fatal error: {error}")
