"""Holds fruitjob against its peers on this machine: the same images, the same weights, rounds in turn.

    bench/run [--rounds N] [inference] [int8] [job] [builtin] [threads] [pca] [photo]      all parts, where none is named

Prints a table a part: the median, the range, and how many times fruitjob's that is. What a quantity is, and what
the figures mean: docs/explanation/performance.md.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target"))
WORK = TARGET / "bench"
FRUITJOB = TARGET / "release" / "fruitjob"
INFERENCE = TARGET / "release" / "examples" / "inference"
DECODE = TARGET / "release" / "examples" / "decode"
COMPONENTS = "50"
SMALL = 2000

Entrants = dict[str, Callable[[], list[float]]]


def run(*command: object, **env: str) -> str:
    # Some machines pin an old kernel for OpenBLAS; NumPy's own choice is faster.
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    done = subprocess.run([str(c) for c in command], env=clean | env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def peer(name: str, *args: object) -> list[float]:
    return [float(line) for line in run(sys.executable, HERE / "peers" / name, *args).split()]


def measured(quantity: str, *command: object, **env: str) -> list[float]:
    out = run(sys.executable, HERE / "measure.py", *command, **env)
    return [json.loads(out.strip().splitlines()[-1])[quantity]]


def compare(title: str, unit: str, entrants: Entrants, rounds: int, digits: int = 2) -> None:
    """The first entrant is ours. A round asks each of them once."""
    samples: dict[str, list[float]] = {name: [] for name in entrants}
    for number in range(rounds):
        for name, sample in entrants.items():
            print(f"\r\033[K{title}: round {number + 1} of {rounds}, {name}", end="", file=sys.stderr, flush=True)
            try:
                samples[name] += sample()
            except RuntimeError as error:
                # A peer's crash is a result too: the others' rounds go on.
                print(f"\n{name}, round {number + 1}: {error}", file=sys.stderr)
    print("\r\033[K", end="", file=sys.stderr)
    ours = statistics.median(next(iter(samples.values())))
    width = max(map(len, entrants))
    print(f"\n{title} ({unit})")
    for name, values in samples.items():
        if not values:
            print(f"  {name:<{width}} failed in every round")
            continue
        failed = f"   of {len(values)} rounds that did not fail" if len(values) < rounds else ""
        middle = statistics.median(values)
        print(f"  {name:<{width}} {middle:>10.{digits}f}   {min(values):.{digits}f} to {max(values):.{digits}f}"
              f"   {middle / ours:>6.2f}x{failed}", flush=True)


class Bench:
    def __init__(self, data: Path, rounds: int):
        self.rounds = rounds
        self.model = data / "models" / "mobilenet_v2_1.0_224.onnx"
        self.all = WORK / "fruits360" / "Test"
        if not self.all.exists():
            with tarfile.open(data / "data" / "fruits360-test.tar.gz") as archive:
                archive.extractall(WORK, filter="data")
        self.some = WORK / "some"
        if not self.some.exists():
            files = sorted(self.all.glob("*/*.jpg"))
            for i in range(SMALL):
                file = files[i * len(files) // SMALL]
                (self.some / file.parent.name).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, self.some / file.parent.name)

    def out(self, name: str) -> Path:
        """A place for results where there are none yet."""
        out = WORK / "out" / name
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(exist_ok=True)
        return out

    def job(self, quantity: str, images: Path, *args: object) -> list[float]:
        return measured(quantity, FRUITJOB, "run", "-i", images, "-o", self.out("ours"), "-k", COMPONENTS, *args)

    def python(self, quantity: str, script: str, images: Path, *args: object) -> list[float]:
        command = (sys.executable, HERE / "peers" / script, images, self.model, self.out(script), COMPONENTS, *args)
        return measured(quantity, *command)

    def inference(self) -> None:
        def ours(isa: str) -> list[float]:
            return [float(x) for x in run(INFERENCE, self.model, 3, FRUITJOB_ISA=isa).split()]

        without = ("--no-avx512", WORK / "onnxruntime-no-avx512")
        isas = ["avx512", "avx2"] if "avx512f" in Path("/proc/cpuinfo").read_text() else ["avx2"]
        entrants: Entrants = {f"fruitjob, {isa}": lambda isa=isa: ours(isa) for isa in isas}
        entrants["onnxruntime"] = lambda: peer("bare.py", self.model, 224, 3)
        if "avx512" in isas:
            entrants["onnxruntime without AVX-512"] = lambda: peer("bare.py", self.model, 224, 3, *without)
        entrants["rten"] = lambda: [float(x) for x in run(INFERENCE, self.model, 3, "--general").split()]
        compare("Inference alone, MobileNetV2 1.0 at 224", "ms of CPU an image, one thread", entrants, self.rounds)

    def int8(self) -> None:
        quantised = WORK / "mobilenet_v2_int8.onnx"
        if not quantised.exists():
            run(sys.executable, HERE / "peers" / "int8.py", self.model, self.some, quantised)
        ours = lambda *flags: [float(x) for x in run(INFERENCE, self.model, 3, *flags).split()]
        compare("Inference alone in int8, MobileNetV2 1.0 at 224", "ms of CPU an image, one thread", {
            "fruitjob, int8": lambda: ours("--int8"),
            "fruitjob, f32": ours,
            "onnxruntime, int8": lambda: peer("bare.py", quantised, 224, 3),
        }, self.rounds)

    def whole(self) -> None:
        compare(f"The whole job, MobileNetV2 1.0 at 224, {SMALL} images", "seconds of CPU", {
            "fruitjob": lambda: self.job("cpu", self.some, "-m", self.model),
            "onnxruntime + Pillow + scikit-learn": lambda: self.python("cpu", "plain.py", self.some),
            "Daft + onnxruntime + scikit-learn": lambda: self.python("cpu", "daft_job.py", self.some),
            "PySpark + TensorFlow + MLlib": lambda: self.python("cpu", "spark.py", self.some, 24),
        }, self.rounds)

    def builtin(self) -> None:
        count = sum(1 for _ in self.all.glob("*/*.jpg"))
        compare(f"The whole job, {count} images", "seconds", {
            "fruitjob, builtin model": lambda: self.job("wall", self.all),
            "onnxruntime + Pillow + scikit-learn, MobileNetV2": lambda: self.python("wall", "plain.py", self.all),
        }, max(1, self.rounds // 2))
        compare(f"The whole job, builtin model, {count} images", "peak MB", {
            "fruitjob": lambda: self.job("peak", self.all),
        }, 1, 0)

    def threads(self) -> None:
        for name, args in {"MobileNetV2 1.0 at 224": ("-m", self.model), "builtin model": ()}.items():
            images = self.some if args else self.all
            compare(f"The whole job, {name}", "seconds", {
                "two threads": lambda: self.job("wall", images, "-t", 2, *args),
                "one thread": lambda: self.job("wall", images, "-t", 1, *args),
            }, self.rounds)

    def pca(self) -> None:
        out = WORK / "out" / "features"
        command = (FRUITJOB, "run", "-i", self.all, "-o", out, "-m", self.model, "-k", COMPONENTS)
        run(*command)
        [features] = (out / ".fruitjob" / "features").iterdir()
        fit = (FRUITJOB, "fit", "-i", self.all, "-o", out, "-m", self.model, "-k", COMPONENTS)
        compare("PCA of 22,688 x 1280 features, in f64", "seconds of CPU", {
            "fruitjob fit, reading included": lambda: measured("cpu", *fit),
            "scikit-learn covariance_eigh, reading included": lambda: peer("pca.py", "sklearn", features, COMPONENTS),
            "the same, the features being in memory": lambda: peer("pca.py", "in-memory", features, COMPONENTS),
            "Spark MLlib": lambda: peer("pca.py", "spark", features, COMPONENTS),
        }, self.rounds)

    def photo(self) -> None:
        photos, out = WORK / "photo", self.out("photo")
        photo = photos / "photo.jpg"
        if not photo.exists():
            photos.mkdir(parents=True, exist_ok=True)
            run(sys.executable, HERE / "peers" / "draft.py", "make", photo)
        out.mkdir()
        compare("A photograph of 12 megapixels, decoded for 100 pixels", "ms of CPU", {
            "fruitjob, process included": lambda: [1000 * x for x in measured("cpu", DECODE, photos, out, 100)],
            "Pillow with draft": lambda: peer("draft.py", "time", photo, 1),
        }, self.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"inference": Bench.inference, "int8": Bench.int8, "job": Bench.whole, "builtin": Bench.builtin, "threads": Bench.threads,
             "pca": Bench.pca, "photo": Bench.photo}
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if unknown := set(args.parts) - parts.keys():
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(parts)}")
    data = os.environ.get("FRUITCTL_TEST_DATA")
    if not data:
        sys.exit("FRUITCTL_TEST_DATA names no folder with data/fruits360-test.tar.gz and "
                 "models/mobilenet_v2_1.0_224.onnx")
    bench = Bench(Path(data).resolve(), args.rounds)
    version = importlib.metadata.version
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    print(f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()}, " + ", ".join(
        f"{name} {version(name)}" for name in
        ["onnxruntime", "tensorflow-cpu", "pyspark", "scikit-learn", "daft", "pillow", "numpy"]))
    for name in args.parts or parts:
        parts[name](bench)


if __name__ == "__main__":
    main()
