"""Faults: what can happen to a request on its way to a cloud and back."""

import fnmatch
import time
from dataclasses import dataclass, field
from threading import Lock

MODES = ("throttle", "error", "deny", "delay", "drop_before", "drop_after")

# Code and HTTP status with which each service asks for patience; others answer Throttling, 400.
THROTTLES = {
    "s3": ("SlowDown", 503),
    "ec2": ("RequestLimitExceeded", 503),
    "elasticmapreduce": ("ThrottlingException", 400),
}


@dataclass
class Fault:
    """A rule: what happens to which calls.

    call    glob over `service:Action`, for example `s3:Put*`
    mode    throttle: refused, asked to slow down; error: refused, HTTP 500; deny: refused, HTTP 403; delay: held for `seconds`;
            drop_before: the connection breaks before the call is applied; drop_after: the call is applied, and
            the answer lost
    every   of the calls that match, each `every`-th
    times   at most so many
    """

    call: str
    mode: str
    every: int = 1
    times: int = 1_000_000
    seconds: float = 0.2
    hits: int = 0
    _seen: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def __post_init__(self):
        assert self.mode in MODES, self.mode

    def strikes(self, call):
        """Whether this call is one of those."""
        if not fnmatch.fnmatchcase(call, self.call):
            return False
        with self._lock:
            self._seen += 1
            hit = self._seen % self.every == 0 and self.hits < self.times
            self.hits += hit
            return hit

    def apply(self, service, environ, start_response, app):
        """Answers instead of `app`, or before it."""
        if self.mode == "delay":
            time.sleep(self.seconds)
            return app(environ, start_response)
        if self.mode in ("drop_before", "drop_after"):
            if self.mode == "drop_after":
                for _ in app(environ, lambda *_: None):
                    pass
            environ["werkzeug.socket"].shutdown(2)
            raise ConnectionAbortedError(self.mode)
        answers = {"throttle": THROTTLES.get(service, ("Throttling", 400)), "error": ("InternalError", 500), "deny": ("AccessDenied", 403)}
        code, status = answers[self.mode]
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made up by a fault rule</Message></Error>"
        start_response(f"{status} {code}", [("Content-Type", "application/xml")])
        return [body.encode()]
