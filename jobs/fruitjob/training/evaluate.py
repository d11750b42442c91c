"""What a backbone's vectors are worth: the nearest neighbour after PCA, on two data sets, by the job's own features.

    python evaluate.py --fruitjob ../../../target/release/fruitjob --fruits360 fruits360 --grocery GroceryStoreDataset/dataset \
        --model builtin --input-size 128 --input-size 160 [--precision int8]

`--fruits360` holds `Training` and `Test` of Fruits-360 (release 2020.05.18); `--grocery` is the folder `dataset` of
github.com/marcusklasson/GroceryStoreDataset at fc80ba90. Either can be left out. Prints a row of the model card's table
a size.

Turntable: 30 training and 20 test images of each of the 131 classes (seeded), one PCA over all of them, 64 components,
the nearest training image by L2, percent correct. Training and test images are frames of the same turning fruit: this
ranks backbones, and does not predict photographs. Photographs: fruit and vegetables of the Grocery Store Dataset, test
images among training images, in the same way; fine labels (50) and coarse ones. Of both, the kinds that a held-out
training has not seen: among all, and among themselves, with a PCA of their own.
"""

import argparse
import json
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

TRAINING, TEST, COMPONENTS = 30, 20, 64
# Chosen before anything was trained.
HELD_OUT_SEED, HELD_OUT_COUNT = 360, 24
HELD_OUT_KINDS_SEED, HELD_OUT_KINDS = 50, 12


def held_out(classes: list[str]) -> list[str]:
    """The classes of Fruits-360 that no training has seen."""
    return sorted(random.Random(HELD_OUT_SEED).sample(sorted(classes), HELD_OUT_COUNT))


def held_out_kinds(labels: list[str]) -> list[str]:
    """The fine labels (`coarse/fine` or `coarse`) that the held-out training has not seen: whole coarse kinds, in a
    seeded order, until there are twelve."""
    coarse = sorted({label.split("/")[0] for label in labels})
    random.Random(HELD_OUT_KINDS_SEED).shuffle(coarse)
    out: list[str] = []
    for kind in coarse:
        members = [label for label in labels if label.split("/")[0] == kind]
        if len(out) < HELD_OUT_KINDS and len(out) + len(members) <= HELD_OUT_KINDS + 1:
            out += members
    return sorted(out)


def turntable(root: Path) -> list[tuple[Path, str, bool]]:
    """(file, class, whether it is a test image)"""
    chosen = []
    for folder in sorted(p for p in (root / "Training").iterdir() if p.is_dir()):
        for part, count in (("Training", TRAINING), ("Test", TEST)):
            files = sorted((root / part / folder.name).glob("*.jpg"))
            rng = random.Random(f"{part}/{folder.name}")
            chosen += [(f, folder.name, part == "Test") for f in sorted(rng.sample(files, min(count, len(files))))]
    return chosen


def photographs(root: Path, splits: tuple[str, ...] = ("train", "test")) -> list[tuple[Path, str, bool]]:
    """(file, `coarse/fine` or `coarse`, whether it is a test image) of fruit and vegetables."""
    return [
        (file, "/".join(file.relative_to(root / split).parts[1:-1]), split == "test")
        for split in splits for top in ("Fruit", "Vegetables") for file in sorted((root / split / top).rglob("*.jpg"))
    ]


def featurize(fruitjob: Path, files: list[Path], *options: str) -> np.ndarray:
    """The job's features [N, D] of these images, turned and centred: the PCA keeps every component."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for number, file in enumerate(files):
            below = place / "in" / f"{number // 1000}"
            below.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, below / f"{number}{file.suffix}")
        run = [fruitjob, "run", "--input", place / "in", "--output", place / "out", "--variance", "0.99999999", *options]
        done = subprocess.run([str(word) for word in run], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        record = json.loads((place / "out" / "run.json").read_text())
        assert record["images"]["results"] == len(files), record["rejects"]
        table = pq.read_table(place / "out" / "results")
        order = np.argsort([int(Path(path).stem) for path in table["path"].to_pylist()])
        vectors = np.array(table["pca"].to_pylist(), np.float64)
        return vectors[order]


def project(features: np.ndarray) -> np.ndarray:
    centred = features - features.mean(0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return centred @ vectors[:, ::-1][:, :COMPONENTS]


def accuracy(gallery: np.ndarray, labels: np.ndarray, queries: np.ndarray, truth: np.ndarray) -> float:
    """Percent of queries whose nearest neighbour in the gallery is of their class."""
    distance = (gallery ** 2).sum(1)[None] - 2 * queries @ gallery.T
    return 100 * float((labels[distance.argmin(1)] == truth).mean())


def score(features: np.ndarray, chosen: list[tuple[Path, str, bool]], new: np.ndarray) -> dict[str, float]:
    """`new`: images of kinds that the held-out training did not see."""
    labels = np.array([label for _, label, _ in chosen])
    coarse = np.array([label.split("/")[0] for label in labels])
    test = np.array([is_test for _, _, is_test in chosen])
    x, among = project(features), project(features[new])
    return {
        "all": accuracy(x[~test], labels[~test], x[test], labels[test]),
        "coarse": accuracy(x[~test], coarse[~test], x[test], coarse[test]),
        "new among all": accuracy(x[~test], labels[~test], x[new & test], labels[new & test]),
        "new among themselves": accuracy(among[~test[new]], labels[new & ~test], among[test[new]], labels[new & test]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fruitjob", type=Path, required=True)
    parser.add_argument("--fruits360", type=Path)
    parser.add_argument("--grocery", type=Path)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--input-size", action="append", help="of the model's input; more than once for more rows")
    parser.add_argument("--precision", default="f32")
    args = parser.parse_args()
    sets = []
    if args.fruits360:
        chosen = turntable(args.fruits360)
        new = np.isin([label for _, label, _ in chosen], held_out(sorted({label for _, label, _ in chosen})))
        sets.append((chosen, new, ["all", "new among all", "new among themselves"]))
    if args.grocery:
        chosen = photographs(args.grocery)
        new = np.isin([label for _, label, _ in chosen], held_out_kinds(sorted({label for _, label, _ in chosen})))
        sets.append((chosen, new, ["all", "coarse", "new among all", "new among themselves"]))
    print("| model | input | Fruits-360, 131 classes | 24 unseen, among all | among themselves | photographs, fine | coarse | "
          "held-out kinds, among all | among themselves |\n|---|---|---|---|---|---|---|---|---|")
    for size in args.input_size or [None]:
        options = ["--model", args.model, "--precision", args.precision, *(["--input-size", size] if size else [])]
        figures = [f"{scores[name]:.1f}" for chosen, new, names in sets
                   for scores in [score(featurize(args.fruitjob, [f for f, _, _ in chosen], *options), chosen, new)]
                   for name in names]
        print("| " + " | ".join([Path(args.model).stem, f"{size or 'its own'} {args.precision}", *figures]) + " |", flush=True)


if __name__ == "__main__":
    main()
