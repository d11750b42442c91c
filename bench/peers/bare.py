"""onnxruntime's inference alone, on one thread: milliseconds of CPU an image, a line a round.

    python bare.py MODEL.onnx SIZE ROUNDS [--no-avx512 FOLDER]

With `--no-avx512` a copy of onnxruntime is made in FOLDER whose XGETBV answers that the system does not keep AVX-512's
registers: it then does without, as it would on an older processor.
"""

import shutil
import sys
import time
from pathlib import Path

import numpy as np


def without_avx512(folder: Path) -> None:
    """`xor ecx, ecx; xgetbv` becomes `xor ecx, ecx; push 7; pop rax`: x87, SSE and AVX."""
    import importlib.util

    package = Path(importlib.util.find_spec("onnxruntime").origin).parent
    copy = folder / "onnxruntime"
    if not copy.exists():
        shutil.copytree(package, copy)
        [library] = copy.glob("capi/onnxruntime_pybind11_state*.so")
        code = library.read_bytes()
        patched = code.replace(b"\x31\xc9\x0f\x01\xd0", b"\x31\xc9\x6a\x07\x58")
        assert patched != code, "no XGETBV found: measure on a processor without AVX-512"
        library.write_bytes(patched)
    sys.path.insert(0, str(folder))


def main() -> None:
    model, size, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if "--no-avx512" in sys.argv:
        without_avx512(Path(sys.argv[5]))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options)
    inputs = {session.get_inputs()[0].name: np.random.default_rng(0).random((1, 3, size, size), np.float32) * 2 - 1}
    start = time.thread_time()
    session.run(None, inputs)
    images = int(min(max(0.3 / (time.thread_time() - start), 5), 5000))
    for _ in range(rounds):
        start = time.thread_time()
        for _ in range(images):
            session.run(None, inputs)
        print(f"{(time.thread_time() - start) * 1000 / images:.4f}")


if __name__ == "__main__":
    main()
