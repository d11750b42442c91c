"""An AWS on loopback, for tests and for trying fruitctl without an account: moto behind a call log, the API's own
validation, IAM's decisions and faults on demand, and an EMR whose primary nodes exist.

By hand: `tests/emulate` (see --help).
"""

from .faults import Fault
from .server import Emulator

__all__ = ["Emulator", "Fault"]
