"""What `fruitctl recognise` takes with millions of pictures: CPU, and memory at its peak.

    python bench/recognise.py --fruitctl target/release/fruitctl --output OUT --images FOLDER [--rows 100000 1000000 3000000]

OUT is the output of a run; its rows are repeated, each time moved a little (seeded), until there are as many as asked for, in
parts as long as a run's. FOLDER holds the images: some hundreds. Prints a row of docs/howto/recognise.md's table each: the
CPU seconds of one image (to read the results, and to work out what is unlike them), and the CPU milliseconds of each other one.
"""

import argparse
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PART = 256
SCHEMA = pa.schema([("path", pa.string()), ("label", pa.string()), ("pca", pa.list_(pa.float32()))])


def enlarge(output: Path, rows: int, place: Path) -> None:
    """Results as `output`'s, of so many rows."""
    (place / "results").mkdir(parents=True)
    shutil.copytree(output / "model", place / "model")
    table = pq.read_table(output / "results").to_pydict()
    vectors = np.array(table["pca"], np.float32)
    spread = vectors.std(0) / 10
    rng = np.random.default_rng(1)
    record = json.loads((output / "run.json").read_text())
    record["parts"] = []
    for number, start in enumerate(range(0, rows, PART)):
        at = np.arange(start, min(start + PART, rows)) % len(vectors)
        moved = vectors[at] + rng.normal(0, 1, (len(at), vectors.shape[1])).astype(np.float32) * spread
        part = pa.table({"path": [f"{start}/{table['path'][i]}" for i in at], "label": [table["label"][i] for i in at],
                         "pca": pa.FixedSizeListArray.from_arrays(pa.array(moved.ravel()), moved.shape[1]).cast(pa.list_(pa.float32()))}, SCHEMA)
        name = f"part-{number:05}.parquet"
        pq.write_table(part, place / "results" / name, compression="zstd", use_dictionary=False, store_schema=False)
        sha256 = hashlib.sha256((place / "results" / name).read_bytes()).hexdigest()
        record["parts"].append({"name": name, "rows": len(at), "sha256": sha256})
    (place / "run.json").write_text(json.dumps(record))
    (place / "results" / "_SUCCESS").touch()


def measure(words: list[str]) -> tuple[float, float]:
    """CPU seconds, and megabytes at the peak."""
    child = os.posix_spawn(words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
    _, status, usage = os.wait4(child, 0)
    assert status == 0, status
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fruitctl", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 3_000_000])
    args = parser.parse_args()
    images = sorted(str(file) for file in args.images.rglob("*") if file.is_file())
    print(f"{len(images)} images\n| pictures | CPU of one image | and of each other one | memory |\n|---|---|---|---|")
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            enlarge(args.output, rows, Path(folder) / "out")
            words = [str(args.fruitctl), "recognise", "--json", "--output", f"{folder}/out"]
            one = min(measure([*words, images[0]])[0] for _ in range(2))
            every, memory = measure([*words, *images])
            each = 1000 * (every - one) / (len(images) - 1)
            print(f"| {rows:,} | {one:.1f} s | {each:.1f} ms | {memory:,.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
