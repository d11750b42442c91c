"""Answers of an emulated AWS, recorded once and then replayed in microseconds: as they were, or changed on the way."""

import json
import re
import threading
import xml.etree.ElementTree as ET
from collections import defaultdict
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse

from emulator import Emulator
from emulator.server import ADDRESS

# Members of requests that differ from one time to the next, or lead from page to page.
PASSING = ("CreatedAfter", "CreatedBefore", "Marker")
EMR = "elasticmapreduce"
JSON = "application/x-amz-json-1.1"


class Recorder(Emulator):
    """An emulator that writes down what it answers. `record`: request -> its answers, in order.

    `shape(call, answer)` is what the real service would have said to an EMR call.
    """

    def __init__(self, shape, **pace):
        super().__init__(nodes=False, **pace)
        self.shape, self.record = shape, defaultdict(list)

    def _serve(self, request, environ, respond):
        said = []

        def hear(status, headers, *rest):
            said[:] = [int(status.split()[0]), headers]
            return respond(status, headers, *rest)

        raw = getattr(environ["wsgi.input"], "getvalue", bytes)()
        body = b"".join(super()._serve(request, environ, hear))
        url = environ["PATH_INFO"] + "?" + environ.get("QUERY_STRING", "")
        status, headers = said
        if request.service == EMR and status == 200:
            answer = self.shape(request.action, json.loads(body))
        else:
            answer = body
        kept = {k: v for k, v in headers if k.lower() not in ("content-length", "connection", "date", "server")}
        self.record[key(request.service, environ["REQUEST_METHOD"], url, environ.get("HTTP_X_AMZ_TARGET"), raw)].append((request.name, status, kept, answer))
        return [body]

    def recorded(self, work):
        """What `work` was answered."""
        self.record = defaultdict(list)
        work()
        record, self.record = self.record, defaultdict(list)
        return dict(record)


def key(service, method, url, target, body):
    """By what the same request is known again."""
    if target:
        params = json.loads(body or b"{}")
        return service, target, json.dumps({k: v for k, v in params.items() if k not in PASSING}, sort_keys=True)
    if service == "s3":
        return service, method, url, ""
    # In whatever order lists are.
    pairs = sorted(re.sub(rb"\.\d+", b"", pair) for pair in body.split(b"&") if not pair.startswith(b"StartTime="))
    return service, method, url, b"&".join(pairs)


class Scenario:
    """A program's view of AWS: the record, each answer changed by `change(call, params, answer)`.

    A request that was recorded several times gets its answers in turn, and the last of them from then on. What was not
    recorded is asked for only where an answer was changed: `otherwise(action, params)` answers EMR's.
    """

    def __init__(self, record, change=None, protected=False, otherwise=lambda *_: None):
        self.record, self.change, self.protected, self.otherwise = record, change, protected, otherwise
        self.turns, self.calls, self.missing = defaultdict(int), [], []
        self.lock = threading.Lock()

    def answer(self, service, method, url, target, body):
        """Status, headers, body."""
        wanted = key(service, method, url, target, body)
        params = json.loads(body or b"{}") if target else {}
        with self.lock:
            if wanted not in self.record:
                if target and (said := self.otherwise(target.partition(".")[2], params)) is not None:
                    return said if isinstance(said, tuple) else (200, {"Content-Type": JSON}, json.dumps(said).encode())
                self.missing.append(wanted)
                return refusal("NotRecorded", str(wanted), target)
            row = self.record[wanted]
            call, status, headers, answer = row[min(self.turns[wanted], len(row) - 1)]
            self.calls.append(call)
            if call == f"{EMR}:SetTerminationProtection":
                self.protected = params["TerminationProtected"]
            if call == f"{EMR}:TerminateJobFlows" and self.protected:
                return refusal("ValidationException", "Could not shut down one or more job flows since they are termination protected", target)
            if not (self.change and params.get("Marker") is None and self.change.holds(call)):
                self.turns[wanted] += 1
        if self.change and status == 200:
            answer = self.change(call, params, deepcopy(answer))
        return status, headers, answer if isinstance(answer, bytes) else json.dumps(answer).encode()


def refusal(code, message, target="EMR"):
    kind = JSON if target else "text/xml"
    body = json.dumps({"__type": code, "message": message}) if target else f"<ErrorResponse><Error><Code>{code}</Code><Message>x</Message></Error></ErrorResponse>"
    return 400, {"Content-Type": kind}, body.encode()


class Replay:
    """A server of scenarios. Whose call it is, its access key says."""

    def __init__(self):
        self.scenarios = {}
        scenarios = self.scenarios

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.path == ADDRESS:
                    return self.reply(200, {}, b"127.0.0.1\n")
                who = self.headers.get("Authorization", "").partition("Credential=")[2].split("/")
                url = urlparse(self.path)
                self.reply(*scenarios[who[0]].answer(who[3], self.command, f"{url.path}?{url.query}", self.headers.get("X-Amz-Target"), body))

            do_POST = do_PUT = do_HEAD = do_DELETE = do_GET

            def reply(self, status, headers, body):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else body)
                self.wfile.flush()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Change:
    """A change of answers, with a name. `calls`: of these calls only (names of actions), or of all of EMR's."""

    def __init__(self, name, function, *calls, pages=False):
        self.name, self.function, self.calls, self.pages = name, function, calls, pages

    def __call__(self, call, params, answer):
        service, _, action = call.partition(":")
        if isinstance(answer, bytes) or (self.calls and action not in self.calls):
            return answer
        if self.pages:
            return self.function(params, answer)
        return self.function(answer)

    def holds(self, call):
        """An answer that comes in pages is one answer."""
        return self.pages and call.partition(":")[2] in self.calls


class Each(Change):
    """One change that is another for each action: action -> function."""

    def __init__(self, name, functions):
        super().__init__(name, None, *functions)
        self.functions = functions

    def __call__(self, call, params, answer):
        function = self.functions.get(call.partition(":")[2])
        return function(answer) if function and not isinstance(answer, bytes) else answer


class XmlChange(Change):
    """The same of answers that are XML."""

    def __call__(self, call, params, answer):
        if not isinstance(answer, bytes) or not answer.lstrip().startswith(b"<"):
            return answer
        root = ET.fromstring(answer)
        self.function(root)
        return ET.tostring(root, "UTF-8", default_namespace=root.tag[1:].partition("}")[0] if root.tag.startswith("{") else None)


# Where in an answer: names of members, "*" for each element of a list, or its number.

# Members whose value is a map: what is in it are not members.
MAPS = ("Properties", "ErrorData")


def places(value, path=()):
    """Each member of a structure, at any depth; of a list, once for all its elements."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield (*path, name)
            if name not in MAPS:
                yield from places(member, (*path, name))
    elif isinstance(value, list):
        yield from dict.fromkeys(place for element in value for place in places(element, (*path, "*")))


def owners(value, path):
    """The structures that have the member at the end of a path."""
    first, *rest = path
    if isinstance(value, list):
        for element in value if first == "*" else value[first:first + 1]:
            yield from owners(element, rest)
    elif isinstance(value, dict) and first in value:
        if rest:
            yield from owners(value[first], rest)
        else:
            yield value


def without(*path):
    def drop(answer):
        for owner in owners(answer, path):
            del owner[path[-1]]
        return answer
    return drop


def put(value, *path):
    """`value` in place of a member, or what it makes of the member."""
    def change(answer):
        for owner in owners(answer, path):
            owner[path[-1]] = value(owner[path[-1]]) if callable(value) else value
        return answer
    return change


def structures(value):
    """All of them, at any depth."""
    if isinstance(value, dict):
        yield value
        for name, member in list(value.items()):
            if name not in MAPS:
                yield from structures(member)
    elif isinstance(value, list):
        for element in value:
            yield from structures(element)
