"""The server: every request is named, logged, and met by the faults before it reaches moto."""

import os
import threading
from urllib.parse import parse_qs

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server


class Emulator:
    """An AWS of its own at a free port of 127.0.0.1, empty at first."""

    def __init__(self, region="eu-west-3"):
        self.region = region
        self.faults = []
        self.calls = []
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._handle, threaded=True, request_handler=Quiet)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        # For programs under test: this process's environment, and the way here.
        self.environment = os.environ | {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": region,
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def client(self, service):
        """A boto3 client of this AWS."""
        return boto3.client(
            service, endpoint_url=self.endpoint, region_name=self.region,
            aws_access_key_id="test", aws_secret_access_key="test",
        )

    def _handle(self, environ, start_response):
        service, action = name(environ)
        call = f"{service}:{action}"
        self.calls.append(call)
        for fault in self.faults:
            if fault.strikes(call):
                return fault.apply(service, environ, start_response, self._moto)
        return self._moto(environ, start_response)


class Quiet(MotoRequestHandler):
    """A handler that does not print a line a request, nor a trace when a connection is dropped on purpose."""

    def log(self, *_):
        pass

    def connection_dropped(self, *_):
        pass


def name(environ):
    """Service and action of a request, as IAM and the API reference call them."""
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    service = authorization.split("/")[3] if authorization.count("/") > 3 else "s3"
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return service, target.rpartition(".")[2]
    return service, s3_action(environ) if service == "s3" else environ["REQUEST_METHOD"]


def s3_action(environ):
    """The action of a path-style S3 request, by its method, path and query.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html
    """
    method, query = environ["REQUEST_METHOD"], parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    if "/" not in environ["PATH_INFO"].strip("/"):
        on_bucket = {"GET": "ListObjectsV2", "HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}
        return "DeleteObjects" if method == "POST" and "delete" in query else on_bucket.get(method, method)
    if method == "PUT" and "HTTP_X_AMZ_COPY_SOURCE" in environ:
        return "CopyObject"
    if "uploads" in query or "uploadId" in query:
        return {"POST": "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload", "PUT": "UploadPart"}.get(method, method)
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}.get(method, method)
