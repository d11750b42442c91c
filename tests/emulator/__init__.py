"""An AWS on loopback for the tests: moto in this process, behind a call log and faults on demand.

    with Emulator() as aws:
        aws.faults.append(Fault("s3:PutObject", "drop_after", every=3))
        …                       # programs find it by aws.environment
        assert "s3:PutObject" in aws.calls

S3 is what the job uses so far.
"""

from .faults import Fault
from .server import Emulator

__all__ = ["Emulator", "Fault"]
