"""What the training is made of: public sources, each at a commit, with its licence and a hash of what is taken.

    python sources.py --fruits360 DIR --grocery DIR --caltech DIR --start image-model.zip

checks that what lies there is what is meant; `train.py` does so before it begins.

| source | licence |
|---|---|
| Fruits-360, release 2020.05.18: `Training`, 100 images of each class, evenly spaced | MIT |
| github.com/marcusklasson/GroceryStoreDataset at fc80ba90, folder `dataset` | MIT |
| Caltech-101, doi:10.22002/D1.20086, folder `101_ObjectCategories` | CC BY 4.0 |
| MobileNetV2 0.35 of Keras, in github.com/googlecreativelab/teachablemachine-community at 55aa0bb8, snippets/converter/image/test/image-model.zip | Apache-2.0 |
| MobileNetV2 1.0, the teacher: ../models/mobilenet_v2.onnx | Apache-2.0 |
"""

import argparse
import hashlib
from pathlib import Path

from evaluate import held_out, held_out_kinds

# Of names and contents, as `digest` makes them.
DIGESTS = {
    "fruits360": "f750fdb53d5efc801825e81dc66e18659244673db9abdf35ee3e3206693b6231",
    "grocery": "b2543a319a80615ecf7e10fd055728fc520d79f33558beeb93b2cb5552e8ef5a",
    "caltech": "1967eeedaf97be75a87034213f283ba3f8a1fde2b91fcbf472318a93e0b31a1d",
    "start": "13ee9aae89d61ced74ce89d4cd0f1b3b1591d75d0eb1758fb83952afdbb7f39a",
}
PER_CLASS = 33  # of Caltech-101; that is the smallest class but two


def fruits360(root: Path) -> list[tuple[Path, str]]:
    """Turntable pictures and their classes; never the held-out ones."""
    classes = sorted(p.name for p in (root / "Training").iterdir() if p.is_dir())
    new = held_out(classes)
    return [(f, c) for c in classes if c not in new for f in sorted((root / "Training" / c).glob("*.jpg"))]


def grocery(root: Path, tops: tuple[str, ...], splits: tuple[str, ...]) -> list[tuple[Path, str]]:
    """Photographs from shops and their fine labels."""
    return [(file, "/".join(file.relative_to(root / split).parts[1:-1]))
            for split in splits for top in tops for file in sorted((root / split / top).rglob("*.jpg"))]


def photographs(root: Path, hold_out: bool) -> list[tuple[Path, str]]:
    """Fruit and vegetables; with `hold_out`, without the kinds that are kept for the figures on unseen fruit, and without
    the validation images."""
    found = grocery(root, ("Fruit", "Vegetables"), ("train",) if hold_out else ("train", "val"))
    new = held_out_kinds(sorted({label for _, label in found})) if hold_out else []
    return [(file, label) for file, label in found if label not in new]


def packages(root: Path) -> list[tuple[Path, str]]:
    """Packages: other things in the same light and from the same hands."""
    return grocery(root, ("Packages",), ("train", "val", "test"))


def caltech(root: Path) -> list[Path]:
    """Pictures of other things, without people's faces, at most `PER_CLASS` of each kind: only the teacher speaks of them."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and "Faces" not in p.name)
    return [file for folder in folders for file in sorted(folder.glob("*.jpg"))[:PER_CLASS]]


def digest(root: Path, files: list[Path]) -> str:
    """SHA-256 over name and content of each file, in the order of names."""
    total = hashlib.sha256()
    for file in sorted(set(files)):
        total.update(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(root)}\n".encode())
    return total.hexdigest()


def check(fruits: Path, shops: Path, others: Path | None, start: Path) -> None:
    """Raises where a source is not the one that is meant."""
    found = {
        "fruits360": digest(fruits, [f for f, _ in fruits360(fruits)]),
        "grocery": digest(shops, [f for f, _ in photographs(shops, False) + packages(shops)]),
        "start": hashlib.sha256(start.read_bytes()).hexdigest(),
    }
    if others:
        found["caltech"] = digest(others, caltech(others))
    for name, value in found.items():
        if value != DIGESTS[name]:
            raise SystemExit(f"{name}: {value}, and not {DIGESTS[name]}: another release, or not all of it")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fruits360", type=Path, required=True)
    parser.add_argument("--grocery", type=Path, required=True)
    parser.add_argument("--caltech", type=Path, help="101_ObjectCategories; left out, the teacher speaks of the photographs alone")
    parser.add_argument("--start", type=Path, required=True, help="image-model.zip")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments(parser)
    args = parser.parse_args()
    check(args.fruits360, args.grocery, args.caltech, args.start)
    print("all sources are those that are meant")
