"""What is usual of a model's features on the pictures that it was trained on: `models/NAME.usual`, by which a run finds out that
its pictures are of another sort.

    python usual.py --fruitjob ../../../target/release/fruitjob --model builtin --size 128 --out ../models/builtin.usual \
        --train fruits360/Training --train GroceryStoreDataset/dataset/train [--try FOLDER...]

The folders of --train count alike. The file is of little-endian f32: the input's size in pixels; the root of the mean square of
what the first 64 components leave out; the mean; the components. Prints, for each folder of --train and --try, that root over
the usual one: the run warns from jobs/fruitjob/src/model/usual.rs's UNUSUAL on. Of --try, also the least and the most of its
folders of at least 50 images alone.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

COMPONENTS, SEED, ENOUGH = 64, 7, 50


def features(fruitjob: Path, folder: Path, model: str, size: str) -> tuple[np.ndarray, np.ndarray]:
    """The job's features [N, D] of a folder's images, and the label of each."""
    with tempfile.TemporaryDirectory() as place:
        words = [fruitjob, "run", "--input", folder, "--output", place, "--model", model, "--input-size", size]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        table = pa.concat_tables(pq.read_table(file) for file in sorted(Path(place).glob(".fruitjob/features/*/*.parquet")))
    rows = [row for row in table.select(["path", "features"]).to_pylist() if row["features"]]
    return np.array([row["features"] for row in rows], np.float64), np.array([str(Path(row["path"]).parent) for row in rows])


def left_out(rows: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> float:
    centred = rows - mean
    return float(np.sqrt(((centred ** 2).sum(1) - ((centred @ axes) ** 2).sum(1)).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fruitjob", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--size", required=True)
    parser.add_argument("--train", type=Path, action="append", required=True)
    parser.add_argument("--try", dest="tried", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rng = np.random.default_rng(SEED)
    sets = {folder: features(args.fruitjob, folder, args.model, args.size) for folder in [*args.train, *args.tried]}
    number = min(len(sets[folder][0]) for folder in args.train)
    rows = np.concatenate([rng.permutation(sets[folder][0])[:number] for folder in args.train])
    mean = rows.mean(0)
    axes = np.linalg.eigh(np.cov(rows, rowvar=False))[1][:, ::-1][:, :COMPONENTS]
    usual = left_out(rows, mean, axes)
    np.concatenate([[float(args.size), usual], mean, axes.T.ravel()]).astype("<f4").tofile(args.out)
    for folder, (found, labels) in sets.items():
        alone = [left_out(found[labels == label], mean, axes) / usual for label in set(labels) if (labels == label).sum() >= ENOUGH]
        each = f"; of its folders alone, {min(alone):.2f} to {max(alone):.2f}" if alone and folder in args.tried else ""
        print(f"{args.model} {'/'.join(folder.parts[-2:])}: {left_out(found, mean, axes) / usual:.2f} of {len(found)}{each}", flush=True)


if __name__ == "__main__":
    main()
