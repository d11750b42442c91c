"""A request as the API models that botocore ships see it: service, action, parameters; and answers in its protocol."""

import io
import json
from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qs, unquote

from moto.core.parse import PROTOCOL_PARSERS
from moto.core.utils import get_service_model
from werkzeug.datastructures import Headers, MultiDict

# Signing name -> botocore's name, where they differ.
MODELS = {"elasticmapreduce": "emr"}
# Bodies beyond this are objects; their parameters are in the path, the query and the headers.
LARGEST_PARSED_BODY = 1 << 20


@dataclass
class Request:
    """One call. `name` is as IAM writes it, `service:Action`, with the API's name of the action."""

    environ: dict
    service: str
    action: str
    region: str
    access_key: str
    operation: object = None
    params: dict = None

    @property
    def name(self):
        return f"{self.service}:{self.action}"

    @classmethod
    def of(cls, environ):
        credential = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition(",")[0].split("/")
        access_key, _, region, service = (credential + [""] * 4)[:4] if len(credential) > 3 else ("", "", "", "s3")
        request = cls(environ, service, environ["REQUEST_METHOD"], region, access_key)
        body = request._body()
        headers = Headers([(k[5:].replace("_", "-"), v) for k, v in environ.items() if k.startswith("HTTP_")])
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        uri, values = {}, query
        try:
            model = service_model(service)
        except Exception:
            return request
        if target := environ.get("HTTP_X_AMZ_TARGET"):
            request.action = target.rpartition(".")[2]
        elif service == "s3":
            bucket, _, key = unquote(environ["PATH_INFO"]).lstrip("/").partition("/")
            uri = {"Bucket": bucket, "Key": key}
            request.action = s3_operation(environ["REQUEST_METHOD"], bucket, key, query, headers) or request.action
        else:
            values = query | parse_qs(body.decode(), keep_blank_values=True)
            request.action = values.get("Action", [request.action])[0]
        if request.action not in model.operation_names:
            return request
        request.operation = model.operation_model(request.action)
        protocol = model.metadata["protocol"]
        if protocol == "json":
            request.params = json.loads(body or b"{}")
        elif service != "s3" or len(body) <= LARGEST_PARSED_BODY and "HTTP_X_AMZ_DECODED_CONTENT_LENGTH" not in environ:
            flat = MultiDict([(k, v) for k, vs in values.items() for v in vs])
            parser = PROTOCOL_PARSERS[protocol](request.operation)
            payload = request.operation.input_shape and request.operation.input_shape.serialization.get("payload")
            is_object = payload and request.operation.input_shape.members[payload].type_name == "blob"
            parsed = parser.parse({
                "query_params": flat, "values": flat, "headers": headers, "url_params": uri, "method": environ["REQUEST_METHOD"],
                "body": b"" if is_object else body, "url_path": environ["PATH_INFO"],
            })
            request.params = {k: v for k, v in parsed.items() if v not in (None, {}, [])}
        else:
            request.params = {k: v for k, v in uri.items() if v}
        return request

    def _body(self):
        """The body, put back to be read again; of a large one, nothing."""
        environ = self.environ
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > LARGEST_PARSED_BODY or environ.get("HTTP_TRANSFER_ENCODING") == "chunked":
            return b""
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
        return body


@cache
def service_model(service):
    return get_service_model(MODELS.get(service, service))


@cache
def s3_operations():
    """(method, has key, query constants, required query and header members, name) of each operation of S3."""
    operations = []
    model = service_model("s3")
    for name in model.operation_names:
        operation = model.operation_model(name)
        path, _, constants = operation.http["requestUri"].partition("?")
        query = dict(pair.partition("=")[::2] for pair in constants.split("&")) if constants else {}
        headers = []
        if (shape := operation.input_shape) is not None:
            for member in shape.required_members:
                place = shape.members[member].serialization
                if place.get("location") == "querystring":
                    query[place["name"]] = ""
                elif place.get("location") == "header":
                    headers.append(place["name"])
        query.pop("x-id", None)
        operations.append((operation.http["method"], "{Bucket}" in path, "{Key" in path, query, headers, name))
    return operations


def s3_operation(method, bucket, key, query, headers):
    """The most special operation of S3 that a path-style request fits."""
    fits = [
        (len(constants) + len(needed), name)
        for m, has_bucket, has_key, constants, needed, name in s3_operations()
        if m == method and has_bucket == bool(bucket) and has_key == bool(key)
        and all(k in query and (not v or query[k] == [v]) for k, v in constants.items())
        and all(header in headers for header in needed)
    ]
    best = max((n for n, _ in fits), default=0)
    # Of equally special ones, those of the plain API come before their session and directory variants.
    names = sorted((name for n, name in fits if n == best), key=lambda name: (name in LATE, name))
    return names[0] if names else None


LATE = {"CreateSession", "GetObjectTorrent", "ListDirectoryBuckets", "GetBucketNotification", "PutBucketNotification",
        "GetBucketLifecycle", "PutBucketLifecycle", "WriteGetObjectResponse"}


def answer(start_response, request, status, code, message, headers=()):
    """An error, in the form of the request's protocol."""
    if request.environ.get("HTTP_X_AMZ_TARGET"):
        kind, body = "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message})
    else:
        kind, message = "text/xml", message.replace("&", "&amp;").replace("<", "&lt;")
        error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        body = {
            "s3": error,
            "ec2": f"<Response><Errors>{error}</Errors><RequestID>0</RequestID></Response>",
        }.get(request.service, f"<ErrorResponse>{error.replace('<Code>', '<Type>Sender</Type><Code>')}<RequestId>0</RequestId></ErrorResponse>")
        body = f"<?xml version='1.0'?>{body}"
    if request.environ["REQUEST_METHOD"] == "HEAD":
        body = ""
    start_response(f"{status} {code}", [("Content-Type", kind), ("Content-Length", str(len(body.encode()))), *headers])
    return [body.encode()]
