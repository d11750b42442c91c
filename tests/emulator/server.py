"""The server: every request is named, logged, held against the API's model and the caller's policies, and met by the
faults, before it reaches the EMR that is here or the rest of AWS in moto."""

import gc
import os
import platform
import tempfile
import threading
from collections import defaultdict
from functools import cache

import boto3
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.core.model_instances import reset_model_data
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3 import s3_backends
from werkzeug.serving import make_server

from . import access, quirks, validate
from .emr import ElasticMapReduce
from .errors import EmrError
from .node import SSH_PORT
from .request import Request, answer

REGIONS = {region for partition in ("aws", "aws-cn", "aws-us-gov") for region in boto3.Session().get_available_regions("ec2", partition)}

# Where one is told one's own address, as by https://checkip.amazonaws.com/
ADDRESS = "/-/address"


class Emulator:
    """An AWS of its own at a port of 127.0.0.1, empty at first. moto's state is the process's: one at a time.

    calls     names of the calls so far, in order; `log` has them with region, access key and answer
    faults    what happens to calls: see `Fault`
    actions   access key -> IAM actions that its calls needed
    refused   what the validation refused, one line a problem
    organization  service control policies: what they deny, nobody may do
    pace      seconds that things take: see `emr.PACE`
    """

    def __init__(self, region="eu-west-3", port=0, nodes=True, verbose=False, **pace):
        self.region, self.verbose = region, verbose
        self.faults, self.calls, self.log, self.refused, self.organization = [], [], [], [], []
        self.actions = defaultdict(set)
        self._moto, self._clients = DomainDispatcherApplication(create_backend_app), {}
        self._folder = tempfile.TemporaryDirectory(prefix="emulator-", ignore_cleanup_errors=True)
        self._server = make_server("127.0.0.1", port, self._handle, threaded=True, request_handler=Quiet)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.emr = ElasticMapReduce(self.endpoint, self._folder.name, nodes, pace)
        # What is loaded by now stays: it need not be looked through for garbage again and again.
        gc.freeze()
        # For programs under test: this process's environment, and the way here.
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": region,
            "AWS_ENDPOINT_URL": self.endpoint,
            "FRUITCTL_CHECKIP_URL": f"{self.endpoint}{ADDRESS}",
            "FRUITCTL_SSH_PORT": str(SSH_PORT),
            "FRUITCTL_NODE_GLIBC": platform.libc_ver()[1] or "2.34",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def __enter__(self):
        self.reset()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.emr.stop()
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    def reset(self):
        """Empties it."""
        self.emr.stop()
        reset_model_data()
        for service in SERVICES:
            get_backend(service).reset()

    def client(self, service, region=None, key="test", secret="test", token=None):
        """A boto3 client of this AWS; one is made once, for EC2's takes a fifth of a second."""
        wanted = service, region or self.region, key, secret, token
        if wanted not in self._clients:
            self._clients[wanted] = boto3.client(
                service, endpoint_url=self.endpoint, region_name=wanted[1],
                aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token)
        return self._clients[wanted]

    def fill(self, bucket, prefix, folder):
        """Puts a folder's files below a prefix, not by calls: those take a hundred times as long."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            s3_backends[ACCOUNT]["aws"].put_object(bucket, f"{prefix}/{file.relative_to(folder)}", file.read_bytes())

    def user(self, name, policy):
        """A user who may do what `policy` says and no more; returns the environment of its programs."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="policy", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return self.environment | {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def _handle(self, environ, start_response):
        if environ["PATH_INFO"] == ADDRESS:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [environ["REMOTE_ADDR"].encode() + b"\n"]
        request = Request.of(environ)
        if request.region and request.region not in REGIONS:
            # There is no such host.
            environ["werkzeug.socket"].shutdown(2)
            raise ConnectionAbortedError(request.region)
        entry = {"call": request.name, "region": request.region, "key": request.access_key, "answer": None}
        self.calls.append(request.name)
        self.log.append(entry)

        def respond(status, headers, *rest):
            entry["answer"] = status
            if self.verbose:
                print(f"{request.region:<12} {request.name:<48} {status}", flush=True)
            return start_response(status, headers, *rest)

        for fault in self.faults:
            if fault.strikes(request):
                entry["fault"] = fault.mode
                return fault.apply(request, respond, lambda environ, respond: self._serve(request, environ, respond))
        return self._serve(request, environ, respond)

    def _serve(self, request, environ, respond):
        # What programs under test send is checked; what moto cannot parse of this test suite's own is not.
        if request.operation is not None and request.params is not None and request.operation.input_shape is not None:
            strict = request.service == "elasticmapreduce"
            if wrong := validate.problems(request.operation.input_shape, request.params, strict=strict):
                self.refused += [f"{request.name}: {line}" for line in wrong]
                code = {"elasticmapreduce": "ValidationException", "ec2": "InvalidParameterValue", "s3": "InvalidArgument"}
                return answer(respond, request, 400, code.get(request.service, "ValidationError"), "; ".join(wrong))
        if quirks.names_no_owner(request):
            self.refused.append(f"{request.name}: it names no owner of the bucket")
        if (code := access.untimely(request)) is not None:
            return answer(respond, request, 400 if request.service in ("ec2", "elasticmapreduce") else 403, code, "Signature expired: the clock is off")
        try:
            self.actions[request.access_key] |= access.check(request, self.emr.clusters, self.organization)
        except access.Refused as refused:
            code = {"ec2": "UnauthorizedOperation", "elasticmapreduce": "AccessDeniedException"}.get(request.service, "AccessDenied")
            return answer(respond, request, 400 if request.service == "elasticmapreduce" else 403, code, str(refused))
        if request.service == "elasticmapreduce":
            if request.name == "elasticmapreduce:RunJobFlow":
                # EMR may need it to make its service-linked role: `launch.linked_roles`.
                self.actions[request.access_key].add("iam:CreateServiceLinkedRole")
            try:
                return self.emr.serve(request, respond)
            except EmrError as error:
                return answer(respond, request, 400, error.code, str(error))
        if (refusal := quirks.before(request, self.emr.clusters)) is not None:
            status, code, message, *headers = refusal
            return answer(respond, request, status, code, message, headers)
        if (body := quirks.instead(request)) is not None:
            respond("200 OK", [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
            return [body]
        # moto's dispatcher looks through its folder of services at every call; of a signed one the service is known.
        moto = application(request.service) if environ.get("HTTP_AUTHORIZATION") and request.service in SERVICES else self._moto
        return quirks.after(request, moto(environ, respond))


SERVICES = ("s3", "iam", "ec2", "sts")
application = cache(create_backend_app)


class Quiet(MotoRequestHandler):
    """A handler that does not print a line a request, nor a trace when a connection is dropped on purpose."""

    # The body of an answer does not wait until its head is acknowledged.
    disable_nagle_algorithm = True

    def log(self, *_):
        pass

    def connection_dropped(self, *_):
        pass
