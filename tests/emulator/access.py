"""IAM's decision: may this access key do this to that? By the policies of the key's user or role, and a role's boundary.

Keys that no user or role of this account has are the account's root, which may do everything. Resources and the
conditions that fruitctl's policies use are evaluated; users' boundaries and managed policies, and session policies, are
not there.
Sources: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html for how policies are
put together, and https://docs.aws.amazon.com/service-authorization/latest/reference/ (REFERENCE below; list_amazons3,
-ec2, -elasticmapreduce, -identityandaccessmanagement) for the actions, types of resource and conditions of each
service. "Guess" marks what is in neither.
"""

import json
import re
from datetime import datetime, timezone

from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.ec2 import ec2_backends
from moto.iam import iam_backends
from moto.s3 import s3_backends
from moto.sts import sts_backends

# What an API call needs where that is not the action of the same name.
# Source: REFERENCE.
NEEDS = {
    "s3:HeadBucket": ["s3:ListBucket"],
    "s3:ListObjectsV2": ["s3:ListBucket"],
    "s3:ListObjects": ["s3:ListBucket"],
    "s3:ListObjectVersions": ["s3:ListBucketVersions"],
    "s3:ListMultipartUploads": ["s3:ListBucketMultipartUploads"],
    "s3:HeadObject": ["s3:GetObject"],
    "s3:CopyObject": ["s3:PutObject", "s3:GetObject"],
    "s3:CreateMultipartUpload": ["s3:PutObject"],
    "s3:UploadPart": ["s3:PutObject"],
    "s3:CompleteMultipartUpload": ["s3:PutObject"],
    "s3:DeleteObjects": ["s3:DeleteObject"],
    "s3:ListBuckets": ["s3:ListAllMyBuckets"],
    "s3:GetBucketEncryption": ["s3:GetEncryptionConfiguration"],
    "s3:PutBucketEncryption": ["s3:PutEncryptionConfiguration"],
    "s3:GetPublicAccessBlock": ["s3:GetBucketPublicAccessBlock"],
    "s3:PutPublicAccessBlock": ["s3:PutBucketPublicAccessBlock"],
    "s3:GetBucketLifecycleConfiguration": ["s3:GetLifecycleConfiguration"],
    "s3:PutBucketLifecycleConfiguration": ["s3:PutLifecycleConfiguration"],
}
# Actions on a role that know the condition iam:PermissionsBoundary; UpdateAssumeRolePolicy, TagRole and DeleteRole do not.
# Source: REFERENCE.
BOUNDED = {"AttachRolePolicy", "DeleteRolePermissionsBoundary", "DeleteRolePolicy", "DetachRolePolicy", "PutRolePermissionsBoundary", "PutRolePolicy"}
# Actions that know no resource. Source: REFERENCE, where the column of resource types is empty.
ANYWHERE = re.compile(r"ec2:Describe.*|elasticmapreduce:(RunJobFlow|List(Clusters|ReleaseLabels|SupportedInstanceTypes|SecurityConfigurations)|.*SecurityConfiguration|.*BlockPublicAccess.*|DescribeReleaseLabel)|s3:ListAllMyBuckets|sts:.*")


# Service-linked roles that accounts need for EMR on Spot. Sources:
# https://docs.aws.amazon.com/emr/latest/ManagementGuide/using-service-linked-roles.html, and Spot's statement in AWS's
# managed policy AmazonElasticMapReduceRole.
LINKED_ROLES = {"elasticmapreduce.amazonaws.com": "AWSServiceRoleForEMRCleanup", "spot.amazonaws.com": "AWSServiceRoleForEC2Spot"}

# Seconds by which a caller's clock may be off. Source for S3:
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (RequestTimeTooSkewed). Others: "Signature
# expired: ... (... - 5 min.)" is what they answer. Guess: EC2 and EMR allow as much.
SKEW = {"s3": 900}
UNTIMELY = {"s3": "RequestTimeTooSkewed", "ec2": "RequestExpired", "elasticmapreduce": "InvalidSignatureException"}


def untimely(request):
    """The code by which a call is refused whose signature is of another time, or None."""
    text = request.environ.get("HTTP_X_AMZ_DATE")
    if not text:
        return None
    signed = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    off = abs((datetime.now(timezone.utc) - signed).total_seconds())
    return UNTIMELY.get(request.service, "SignatureDoesNotMatch") if off > SKEW.get(request.service, 300) else None


class Refused(Exception):
    """The denial, in AWS's words. Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"""


def policies_of(access_key):
    """(principal, its policy documents, its boundary or None), or None for root."""
    iam = iam_backends[ACCOUNT]["aws"]
    for user in iam.users.values():
        if any(key.access_key_id == access_key for key in user.access_keys):
            return f"arn:aws:iam::{ACCOUNT}:user/{user.name}", [json.loads(p) for p in user.policies.values()], None
    for assumed in sts_backends[ACCOUNT]["aws"].assumed_roles:
        if assumed.access_key_id == access_key:
            name = assumed.role_arn.split("/")[-1]
            role = next((r for r in iam.roles.values() if r.name == name), None)
            documents = [json.loads(p) for p in role.policies.values()] if role else []
            documents += [managed(p) for p in role.managed_policies.values()] if role else []
            boundary = iam.managed_policies.get(role.permissions_boundary_arn) if role else None
            return f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{assumed.session_name}", documents, boundary and managed(boundary)
    return None


def user_id(access_key):
    """Of a node's session, its role's id and the instance's.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
    """
    return next((a.user_id for a in sts_backends[ACCOUNT]["aws"].assumed_roles if a.access_key_id == access_key), None)


def managed(policy):
    """The document of a managed policy that is in force."""
    return json.loads(next(version.document for version in policy.versions if version.is_default))


def check(request, clusters, organization=()):
    """Raises `Refused` unless the request's key may make it; the actions that it needs.

    GetCallerIdentity needs no right: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
    """
    wanted = list(needs(request, clusters)) if request.name != "sts:GetCallerIdentity" else []
    wanted = [(action, resource, context | {"aws:userid": user_id(request.access_key)}) for action, resource, context in wanted]
    principal, documents, boundary = policies_of(request.access_key) or (None, None, None)
    for action, resource, context in wanted:
        if denied(organization, action, resource, context | {"aws:RequestedRegion": request.region}):
            raise Refused(in_organizations_words(request, principal or f"arn:aws:iam::{ACCOUNT}:root", action, resource))
    for action, resource, context in wanted if principal else []:
        context = context | {"aws:RequestedRegion": request.region}
        if not permitted(documents, action, resource, context):
            raise Refused(f"User: {principal} is not authorized to perform: {action} on resource: {resource} "
                          "because no identity-based policy allows the action")
        # Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
        if boundary is not None and not permitted([boundary], action, resource, context):
            raise Refused(f"User: {principal} is not authorized to perform: {action} on resource: {resource} "
                          "because no permissions boundary allows the action")
    return {action for action, _, _ in wanted}


def in_organizations_words(request, principal, action, resource):
    """An explicit deny of a service control policy, as users report it, with the policy's ARN in IAM's, S3's and EMR's newer
    form; where EC2 puts its encoded message is a guess.

    Source for whom it denies, the account's root too:
    https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps.html
    """
    text = f"User: {principal} is not authorized to perform: {action} on resource: {resource} with an explicit deny in a service control policy"
    if request.service == "ec2":
        return f"You are not authorized to perform this operation. {text}. Encoded authorization failure message: {'x' * 64}"
    return f"{text}: arn:aws:organizations::{ACCOUNT}:policy/o-emulated/service_control_policy/p-emulated"


def denied(documents, action, resource, context):
    """Whether a statement denies it."""
    return any(s["Effect"] == "Deny" and applies(s, action, resource, context) for d in documents for s in listed(d["Statement"]))


def needs(request, clusters):
    """(action, resource, context) of all that a request needs."""
    params = request.params or {}
    arns, context = resources(request, params, clusters)
    actions = NEEDS.get(request.name, [request.name])
    # Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
    if any(o.get("VersionId") for o in (params.get("Delete") or {}).get("Objects", [])):
        actions = ["s3:DeleteObjectVersion"]
    for action in actions:
        for resource in ["*"] if ANYWHERE.fullmatch(action) else arns:
            yield action, resource, context
    if request.service == "s3" and (key := key_of(params.get("Bucket"))):
        # Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html, and for a head with its checksum
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
        for action in KEYS.get(request.action, []) if request.action != "HeadObject" or params.get("ChecksumMode") else []:
            yield action, key, {"kms:ViaService": f"s3.{request.region}.amazonaws.com"}
    tags = request_tags(params)
    if request.name == "elasticmapreduce:RunJobFlow":
        # Tags need AddTags, on "cluster/*", for the cluster has no id yet. Source: refusals in public, gchq/sleeper#2584 and
        # segment-boneyard/segment-docs#7000. Guess: it is decided by the request's tags. Of a cluster that is made with tags, AWS's page has examples of
        # conditions on ResourceTag too (https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-fine-grained-cluster-access.html):
        # our policy allows either. Source for both roles and the services that they are passed to: AWS's managed policy
        # AmazonEMRFullAccessPolicy_v2 (PassRoleForElasticMapReduce, PassRoleForEC2).
        if tags:
            yield "elasticmapreduce:AddTags", f"arn:aws:elasticmapreduce:{request.region}:{ACCOUNT}:cluster/*", context
        iam = f"arn:aws:iam::{ACCOUNT}:role/"
        yield "iam:PassRole", iam + params.get("ServiceRole", ""), {"iam:PassedToService": "elasticmapreduce.amazonaws.com"}
        yield "iam:PassRole", iam + params.get("JobFlowRole", ""), {"iam:PassedToService": "ec2.amazonaws.com"}
    # REFERENCE: decided on the group and on its VPC. The request's tags are the group's only.
    if request.name == "ec2:CreateSecurityGroup":
        yield request.name, f"arn:aws:ec2:{request.region}:{ACCOUNT}:vpc/{params.get('VpcId')}", {}
    # Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
    if request.service == "ec2" and tags and request.action != "CreateTags":
        yield "ec2:CreateTags", arns[0], context | {"ec2:CreateAction": request.action}
    # Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    elif request.name == "s3:CreateBucket" and tags:
        yield "s3:TagResource", arns[0], context
    # Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_AddRoleToInstanceProfile.html
    # Guess: iam:PassedToService is not given.
    elif request.name == "iam:AddRoleToInstanceProfile":
        yield "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{params.get('RoleName')}", {}
    # Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags_roles.html. Guess: instance profiles alike.
    elif request.name in ("iam:CreateRole", "iam:CreateInstanceProfile") and tags:
        yield f"iam:Tag{request.action.removeprefix('Create')}", arns[0], context


# What S3 does with the key of a bucket, in the caller's name.
KEYS = {"PutObject": ["kms:GenerateDataKey"], "CreateMultipartUpload": ["kms:GenerateDataKey", "kms:Decrypt"], "UploadPart": ["kms:GenerateDataKey", "kms:Decrypt"],
        "CompleteMultipartUpload": ["kms:Decrypt"], "GetObject": ["kms:Decrypt"], "HeadObject": ["kms:Decrypt"]}


def key_of(name):
    """The key of KMS that encrypts what is in a bucket, or None."""
    bucket = s3_backends[ACCOUNT]["aws"].buckets.get(name)
    rules = listed(((bucket and bucket.encryption) or {}).get("Rule", []))
    key = next((r["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID") for r in rules), None)
    return key if not key or key.startswith("arn:") else f"arn:aws:kms:{bucket.region_name}:{ACCOUNT}:key/{key}"


def resources(request, params, clusters):
    """The ARNs that a request is about, and what conditions may ask about them. Source: REFERENCE.

    Guesses: what does not exist has no tags, and a role that does not exist has the path "/".
    """
    context = {f"aws:RequestTag/{k}": v for k, v in request_tags(params).items()}
    region, service = request.region, request.service
    if service == "s3":
        bucket, key = params.get("Bucket", ""), params.get("Key", "")
        if request.action == "DeleteObjects":
            return [f"arn:aws:s3:::{bucket}/{o['Key']}" for o in params.get("Delete", {}).get("Objects", [])] or [f"arn:aws:s3:::{bucket}/*"], context
        if "Prefix" in params:
            context["s3:prefix"] = params["Prefix"]
        return [f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "")], context
    if request.name == "iam:CreateServiceLinkedRole":
        linked = params.get("AWSServiceName", "")
        context["iam:AWSServiceName"] = linked
        # Guess for services that are not in LINKED_ROLES.
        name = LINKED_ROLES.get(linked, f"AWSServiceRoleFor{linked.split('.')[0]}")
        return [f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/{linked}/{name}"], context
    if service == "iam":
        kind = "instance-profile" if "InstanceProfile" in request.action else "role"
        name = params.get("InstanceProfileName" if kind == "instance-profile" else "RoleName", "*")
        role = next((r for r in iam_backends[ACCOUNT]["aws"].roles.values() if r.name == name), None)
        if request.action == "GetPolicy":
            return [params.get("PolicyArn", "*")], context
        # Of a call that sets it, the one that is asked for; of others, the role's.
        # Source: access_policies_boundaries.html, the policy of somebody who may make users.
        if bound := params.get("PermissionsBoundary") or (role.permissions_boundary_arn if role and request.action in BOUNDED else None):
            context["iam:PermissionsBoundary"] = bound
        if "PolicyArn" in params:
            context["iam:PolicyARN"] = params["PolicyArn"]
        if kind == "role" and role:
            return [role.arn], context
        return [f"arn:aws:iam::{ACCOUNT}:{kind}/{name}"], context
    if service == "elasticmapreduce":
        ids = [params.get("ClusterId") or params.get("JobFlowId") or params.get("ResourceId") or "*"]
        ids = params.get("JobFlowIds", ids)
        for cluster in (clusters.get(i) for i in ids):
            if cluster:
                context |= {f"elasticmapreduce:ResourceTag/{k}": v for k, v in cluster.tags.items()}
        return [f"arn:aws:elasticmapreduce:{region}:{ACCOUNT}:cluster/{i}" for i in ids], context
    if service == "ec2":
        kind, ids, ec2 = "*", ["*"], ec2_backends[ACCOUNT][region]
        if "SecurityGroup" in request.action:
            kind, ids = "security-group", [params.get("GroupId", "*")]
            tagged = ids[0]
        elif "KeyPair" in request.action:
            kind, ids = "key-pair", [params.get("KeyName", "*")]
            tagged = ec2.key_pairs[ids[0]].id if ids[0] in ec2.key_pairs else None
        if kind != "*" and tagged:
            context |= {f"aws:ResourceTag/{t['key']}": t["value"] for t in ec2.describe_tags(filters={"resource-id": [tagged]})}
        return [f"arn:aws:ec2:{region}:{ACCOUNT}:{kind}/{i}" for i in ids], context
    return ["*"], context


def request_tags(params):
    """The tags that a call gives to what it creates."""
    lists = [params.get("Tags"), (params.get("CreateBucketConfiguration") or {}).get("Tags"), params.get("TagSet")]
    lists += [spec.get("Tags") for spec in params.get("TagSpecifications") or []]
    return {t["Key"]: t.get("Value", "") for tags in lists for t in tags or []}


def permitted(documents, action, resource, context):
    """An explicit Deny wins; else some Allow must be there. Source: that of this file's docstring."""
    allowed = False
    for document in documents:
        for statement in listed(document["Statement"]):
            if applies(statement, action, resource, context):
                if statement["Effect"] == "Deny":
                    return False
                allowed = True
    return allowed


def applies(statement, action, resource, context):
    actions = any(matches(p, action, re.I) for p in listed(statement.get("Action", [])))
    # A variable that is not known matches nothing.
    patterns = (p.replace("${aws:userid}", context.get("aws:userid") or "\0") for p in listed(statement.get("Resource", [])))
    targets = any(matches(p, resource) for p in patterns)
    return actions and targets and all(
        condition(operator, key, listed(values), context)
        for operator, tests in statement.get("Condition", {}).items() for key, values in tests.items())


def condition(operator, key, values, context):
    """Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html"""
    actual = context.get(key)
    if operator.endswith("IfExists"):
        return actual is None or condition(operator.removesuffix("IfExists"), key, values, context)
    if operator == "Null":
        return all((actual is None) == (str(value).lower() == "true") for value in values)
    if operator == "StringNotEquals":
        return actual not in values
    if operator in ("StringEquals", "ArnEquals", "Bool"):
        return actual in values
    if operator == "StringLike":
        return actual is not None and any(matches(v, actual) for v in values)
    raise NotImplementedError(f"condition operator {operator}")


def matches(pattern, text, flags=0):
    return re.fullmatch("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern), text, flags | re.S) is not None


def listed(value):
    return value if isinstance(value, list) else [value]
