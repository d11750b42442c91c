"""Makes a recording of what AWS said: `aws emr describe-cluster ... | python3 tests/mask.py > NAME.json`.

JSON becomes the form of fixtures/aws/recorded, {"status_code", "data"}; anything else is taken for a log. Both lose what
identifies people and accounts. Ids of clusters, instances, subnets and groups stay, so that recordings can be put together.
Read the result before you commit it: names that you gave to things are not known here.
"""

import json
import re
import sys

PATTERNS = [
    # Key ids, and ids of users and roles. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    (r"\b(AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}", r"\g<1>EXAMPLE"),
    (r"(?i)(X-Amz-(?:Signature|Security-Token|Credential)=)[^&\s\"]+", r"\1MASKED"),
    (r"(arn:aws:(?:iam|sts)::\d{12}:(?:user|assumed-role/[\w+=,.@-]+)/)[\w+=,.@/-]+", r"\1operator"),
    (r"(?<![0-9A-Za-z.])\d{12}(?![0-9A-Za-z.])", "123456789012"),
    (r"\b[\w.+-]+@[\w-]+(\.[\w-]+)+", "you@example.org"),
    (r"\bec2-\d+-\d+-\d+-\d+\.", "ec2-203-0-113-7."),
    # Addresses that are not of a private network.
    (r"(?<![\d.])(?!(?:10|127|0)\.|192\.168\.|169\.254\.|172\.(?:1[6-9]|2\d|3[01])\.)\d{1,3}(?:\.\d{1,3}){3}(?![\d.])", "203.0.113.7"),
]
# Whatever they hold.
SECRET = {"principalId", "userName", "Username", "accessKeyId", "AccessKeyId", "SecretAccessKey", "SessionToken", "sessionToken", "secretAccessKey"}


def mask(value, name=None):
    """The same, without what identifies people and accounts; in JSON that is text, too."""
    if isinstance(value, dict):
        return {k: mask(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [mask(v, name) for v in value]
    if not isinstance(value, str):
        return value
    if name in SECRET:
        return "MASKED"
    if value.startswith("{") and (inner := parsed(value)) is not None:
        return json.dumps(mask(inner))
    for pattern, instead in PATTERNS:
        value = re.sub(pattern, instead, value)
    return value


def parsed(text):
    """What JSON says, or None."""
    try:
        return json.loads(text)
    except ValueError:
        return None


if __name__ == "__main__":
    text = sys.stdin.read()
    data = parsed(text)
    sys.stdout.write(mask(text) if data is None else json.dumps({"status_code": 200, "data": mask(data)}, indent=4) + "\n")
