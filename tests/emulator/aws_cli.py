"""What of the AWS command line the nodes' scripts use: `aws s3 cp SOURCE TARGET`, '-' being stdin or stdout, and who they are.

By http.client alone: the SDK takes a second to load, and a node copies several times. The emulator wants to know whose call
it is and checks no signature.
"""

import errno
import http.client
import os
import shutil
import sys
import time
from urllib.parse import quote, urlsplit

# A file by which a test says that the disk is full.
FULL = "/mnt/full"
# As the SDK: so many attempts, and these answers are worth another.
ATTEMPTS = 5
PASSING = (429, 500, 502, 503, 504)

HEAD = {403: "Forbidden", 404: "Not Found"}


def call(method, uri, region, body, take):
    """Sends it until the answer is worth reading, and hands that to `take`."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{time.strftime('%Y%m%d')}/{region}/s3/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0",
               "X-Amz-Date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), "X-Amz-Security-Token": os.environ.get("AWS_SESSION_TOKEN", "")}
    place = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    for attempt in range(1, ATTEMPTS + 1):
        connection = http.client.HTTPConnection(place.hostname, place.port)
        try:
            connection.request(method, f"/{bucket}/{quote(key)}", body, headers)
            answer = connection.getresponse()
            if answer.status < 300:
                return take(answer)
            problem = f"{method} {uri}: {answer.status} {answer.read().decode(errors='replace')}"
            # A copy asks for the object's head first, of which a refusal has no body: aws/aws-cli#1689, aws/res#111.
            if method == "GET" and answer.status in (403, 404):
                problem = f"An error occurred ({answer.status}) when calling the HeadObject operation: {HEAD[answer.status]}"
            if answer.status not in PASSING:
                break
        except (http.client.HTTPException, ConnectionError) as error:
            problem = f"{method} {uri}: {error!r}"
        finally:
            connection.close()
        time.sleep(0.05 * 2 ** attempt)
    raise RuntimeError(problem)


def caller(region):
    """The id by which AWS knows whose credentials these are."""
    place = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{time.strftime('%Y%m%d')}/{region}/sts/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0",
               "X-Amz-Date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), "X-Amz-Security-Token": os.environ.get("AWS_SESSION_TOKEN", ""),
               "Content-Type": "application/x-www-form-urlencoded"}
    connection = http.client.HTTPConnection(place.hostname, place.port)
    connection.request("POST", "/", "Action=GetCallerIdentity&Version=2011-06-15", headers)
    answer = connection.getresponse().read().decode()
    return answer.partition("<UserId>")[2].partition("</UserId>")[0]


def main(words):
    words = [w for w in words if w not in ("--only-show-errors", "--quiet")]
    region = os.environ.get("AWS_REGION")
    if "--region" in words:
        at = words.index("--region")
        region = words[at + 1]
        del words[at:at + 2]
    if words == ["sts", "get-caller-identity", "--query", "UserId", "--output", "text"]:
        return print(caller(region))
    if words[:2] != ["s3", "cp"] or len(words) != 4:
        sys.exit(f"aws: the emulator's nodes know 'aws s3 cp SOURCE TARGET' only, not: {' '.join(words)}")
    source, target = words[2:]
    try:
        if not source.startswith("s3://"):
            with open(source, "rb") if source != "-" else sys.stdin.buffer as body:
                return call("PUT", target, region, body.read(), lambda answer: answer.read())
        if target == "-":
            return call("GET", source, region, None, lambda answer: sys.stdout.buffer.write(answer.read()))
        if os.path.exists(FULL):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

        def save(answer):
            with open(target, "wb") as out:
                shutil.copyfileobj(answer, out, 1 << 20)

        call("GET", source, region, None, save)
    except Exception as error:
        sys.exit(f"fatal error: {error}")


main(sys.argv[1:])
