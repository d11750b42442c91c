"""Where moto is kinder than AWS: what AWS refuses before moto is asked, and what it does besides."""

import json
import re
from functools import cache
from urllib.parse import quote
from xml.sax.saxutils import escape

from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.core import responses
from moto.ec2 import ec2_backends
from moto.iam import iam_backends
from moto.iam.access_control import PermissionResult
from moto.s3 import s3_backends
from moto.s3.models import FakeBucket

from . import access

BUCKET = re.compile(r"(?!xn--|.*-s3alias$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def before(request, clusters):
    """(status, code, message, headers...) of a refusal, or None."""
    params = request.params or {}
    if request.service == "s3":
        return bucket_rules(request, params)
    if request.name == "ec2:DeleteSecurityGroup":
        return group_in_use(request, params.get("GroupId"), clusters)
    if request.name == "iam:PutRolePolicy" and len(params.get("PolicyDocument", "")) > 10_240:
        return 400, "LimitExceeded", "Maximum policy size of 10240 bytes exceeded"
    if request.name == "iam:DeleteRole":
        iam = iam_backends[ACCOUNT]["aws"]
        if any(role.name == params.get("RoleName") for p in iam.instance_profiles.values() for role in p.roles):
            return 409, "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first."
    return None


def bucket_rules(request, params):
    name = params.get("Bucket")
    if request.action == "CreateBucket" and not BUCKET.fullmatch(name or ""):
        return 400, "InvalidBucketName", "The specified bucket is not valid."
    buckets = s3_backends[ACCOUNT]["aws"].buckets
    if name in buckets and request.action != "CreateBucket" and (region := buckets[name].region_name) != (request.region or region):
        return 301, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint.", \
            ("x-amz-bucket-region", region)
    if name in FOREIGN and name not in buckets:
        if request.action == "CreateBucket":
            return 409, "BucketAlreadyExists", "The requested bucket name is not available."
        return 403, "AccessDenied", "Access Denied"
    # Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
    if (expected := params.get("ExpectedBucketOwner")) and name in buckets and expected != OWNERS.get(name, ACCOUNT):
        return 403, "AccessDenied", "Access Denied"
    return None


# Names of buckets that other accounts have.
FOREIGN = set()
# Accounts of buckets that are there for everybody, and are not ours.
OWNERS = {}


def names_no_owner(request):
    """Whether fruitctl makes a call on a bucket that it named itself, and does not say whose that should be."""
    sdk = "aws-sdk-rust" in request.environ.get("HTTP_USER_AGENT", "")
    bucket = (request.params or {}).get("Bucket", "")
    ours = bucket.startswith("fruitctl-") and bucket.endswith(f"-{ACCOUNT}-{request.region}")
    return request.service == "s3" and sdk and ours and request.action != "CreateBucket" and "HTTP_X_AMZ_EXPECTED_BUCKET_OWNER" not in request.environ


def group_in_use(request, group_id, clusters):
    """A group that instances have, or that a rule of another group names, cannot be deleted."""
    using = [c.id for c in clusters.values() if c.lives() and group_id in c.groups()]
    for group in ec2_backends[ACCOUNT][request.region].describe_security_groups():
        named = {rule.source_group.get("GroupId") for rule in group.ingress_rules + group.egress_rules}
        if group.id != group_id and group_id in named:
            using.append(group.id)
    if using:
        return 400, "DependencyViolation", f"resource {group_id} has a dependent object ({', '.join(using)})"
    return None


def instead(request):
    """The answer to a call that moto does not have, or takes its time for, or None."""
    if request.name == "s3:ListObjectsV2":
        return listing(request.params)
    if request.name != "ec2:DescribeSpotPriceHistory":
        return None
    prices = "".join(
        f"<item><instanceType>{kind}</instanceType><productDescription>Linux/UNIX</productDescription><spotPrice>{SPOT_PRICE}</spotPrice>"
        f"<availabilityZone>{request.region}{zone}</availabilityZone></item>"
        for kind in request.params.get("InstanceTypes", []) for zone in "ab")
    return f"<DescribeSpotPriceHistoryResponse><spotPriceHistorySet>{prices}</spotPriceHistorySet><nextToken/></DescribeSpotPriceHistoryResponse>".encode()


def listing(params):
    """A plain listing: moto needs a third of a second for a page."""
    backend = s3_backends[ACCOUNT]["aws"]
    bucket, url = backend.buckets.get(params.get("Bucket")), params.get("EncodingType") == "url"
    if bucket is None or not params.keys() <= {"Bucket", "Prefix", "MaxKeys", "ContinuationToken", "EncodingType"}:
        return None
    token, most = params.get("ContinuationToken"), params.get("MaxKeys", 1000)
    keys, truncated, following = backend.list_objects_v2(bucket, params.get("Prefix"), None, token, None, most)

    def text(name):
        return quote(name) if url else escape(name)

    rows = "".join(
        f"<Contents><Key>{text(key.name)}</Key><LastModified>{key.last_modified_ISO8601}</LastModified><ETag>{escape(key.etag)}</ETag>"
        f"<Size>{key.size}</Size><StorageClass>{key.storage_class}</StorageClass></Contents>" for key in keys)
    more = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    more += "<EncodingType>url</EncodingType>" if url else ""
    return ('<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket.name}</Name><Prefix>{text(params.get('Prefix', ''))}</Prefix><MaxKeys>{most}</MaxKeys><KeyCount>{len(keys)}</KeyCount>"
            f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{more}{rows}</ListBucketResult>").encode()


# Dollars an hour of any Spot instance.
SPOT_PRICE = 0.07


def after(request, result):
    """What moto leaves out of a call that it took, and the names that it gets wrong in its answer."""
    if request.name == "s3:CreateBucket":
        tags = (request.params.get("CreateBucketConfiguration") or {}).get("Tags")
        backend = s3_backends[ACCOUNT]["aws"]
        if tags and request.params["Bucket"] in backend.buckets and not backend.get_bucket_tagging(request.params["Bucket"])["Tags"]:
            backend.put_bucket_tagging(request.params["Bucket"], {t["Key"]: t["Value"] for t in tags})
    if request.name == "s3:DeleteBucket" and request.params["Bucket"] not in s3_backends[ACCOUNT]["aws"].buckets:
        # moto remembers its tags for the next of its name.
        s3_backends[ACCOUNT]["aws"].tagger.delete_all_tags_for_resource(f"arn:aws:s3:::{request.params['Bucket']}")
    if root := ROOTS.get(request.name):
        # As long as the wrong one, for the headers are sent.
        return [body.replace(root[0], root[1]) for body in result]
    return result


# Of answers whose root element moto calls otherwise than S3 does: (moto's, S3's).
ROOTS = {"s3:GetBucketVersioning": (b"GetBucketVersioningResponse", b"VersioningConfiguration    ")}


def bucket_permission(bucket, action, resource):
    """What a bucket's policy says. The endpoint is http; to the policies it is TLS, for they would deny all."""
    statements = access.listed(json.loads(bucket.policy)["Statement"]) if bucket.policy else []
    effects = {s["Effect"] for s in statements if access.applies(s, action, resource, {"aws:SecureTransport": "true"})}
    return next((result for effect, result in EFFECTS.items() if effect in effects), PermissionResult.NEUTRAL)


EFFECTS = {"Deny": PermissionResult.DENIED, "Allow": PermissionResult.PERMITTED}
FakeBucket.get_permission = bucket_permission
# What moto finds out anew at every call: of EC2's methods, in a third of its time.
responses.method_names_from_class = cache(responses.method_names_from_class)
