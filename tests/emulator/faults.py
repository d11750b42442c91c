"""Faults: what can happen to a request on its way to a cloud and back."""

import fnmatch
import time
from dataclasses import dataclass, field
from threading import Lock

from .request import answer

MODES = ("throttle", "error", "deny", "delay", "drop_before", "drop_after", "kill_before", "kill_after", "expire")

# Code and HTTP status with which each service asks for patience; others answer Throttling, 400.
THROTTLES = {
    "s3": ("SlowDown", 503),
    "ec2": ("RequestLimitExceeded", 503),
    "elasticmapreduce": ("ThrottlingException", 400),
}

# Code and HTTP status with which each service says that a session's time is over.
EXPIRIES = {"s3": ("ExpiredToken", 400), "ec2": ("RequestExpired", 400), "elasticmapreduce": ("ExpiredTokenException", 400)}

# The code with which a service says that a key may not do something.
DENIALS = {"ec2": "UnauthorizedOperation", "elasticmapreduce": "AccessDeniedException"}


@dataclass
class Fault:
    """A rule: what happens to which calls.

    call    glob over `service:Action`, for example `s3:Put*`
    mode    throttle: refused, asked to slow down; error: refused, HTTP 500; deny: refused, HTTP 403;
            expire: refused, the session's time is over; delay: held for `seconds`;
            drop_before: the connection breaks before the call is applied; drop_after: the call is applied, and
            the answer lost; kill_before, kill_after: the same, and `kill` is called
    every   of the calls that match, each `every`-th
    first   of the calls that match, none before this one
    times   at most so many
    key     only calls that are signed with this access key
    """

    call: str
    mode: str
    every: int = 1
    first: int = 1
    times: int = 1_000_000
    key: str = ""
    kill: object = None
    seconds: float = 0.2
    hits: int = 0
    _seen: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def __post_init__(self):
        assert self.mode in MODES, self.mode

    def strikes(self, request):
        """Whether this call is one of those."""
        if not fnmatch.fnmatchcase(request.name, self.call) or self.key and self.key != request.access_key:
            return False
        with self._lock:
            self._seen += 1
            hit = self._seen >= self.first and self._seen % self.every == 0 and self.hits < self.times
            self.hits += hit
            return hit

    def apply(self, request, start_response, app):
        """Answers instead of `app`, or before it."""
        environ = request.environ
        if self.mode == "delay":
            time.sleep(self.seconds)
            return app(environ, start_response)
        how, _, when = self.mode.partition("_")
        if how in ("drop", "kill"):
            if self.mode == "kill_before":
                self.kill()
            if when == "after":
                for _ in app(environ, lambda *_: None):
                    pass
            if self.mode == "kill_after":
                self.kill()
            environ["werkzeug.socket"].shutdown(2)
            raise ConnectionAbortedError(self.mode)
        answers = {
            "throttle": THROTTLES.get(request.service, ("Throttling", 400)),
            "error": ("InternalError" if request.service in ("s3", "ec2") else "InternalFailure", 500),
            "deny": (DENIALS.get(request.service, "AccessDenied"), 400 if request.service == "elasticmapreduce" else 403),
        }
        answers["expire"] = EXPIRIES.get(request.service, ("ExpiredToken", 403))
        code, status = answers[self.mode]
        return answer(start_response, request, status, code, "made up by a fault rule")
