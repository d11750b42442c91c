"""How many photographs of a kind a run's input needs before a new photograph of it is known.

    python curve.py --fruitjob ../../../target/release/fruitjob --fruits360 fruits360 --grocery GroceryStoreDataset/dataset \
        --model builtin --model mobilenet_v2.onnx

The data sets are evaluate.py's. The gallery is turntable pictures (30 of each of Fruits-360's 131 classes, those below under
the name of the kind that they show) and photographs of the Grocery Store Dataset's training part; what is looked for are the
photographs of its test part of the kinds that both data sets have. Vectors are the job's features on 64 components of the
gallery; right is a photograph whose nearest picture is of its kind, as `fruitctl recognise` says it.

"all alike": every kind has so many photographs. "one is new": the kind has so many, and every other one all of its own (16
to 70). Photographs are drawn five times; the mean, and the standard deviation of the five.

builtin was trained on the training part too, whose photographs are so nearer to each other than new ones are: what a kind
takes that it has never seen is what a model says that was not, ImageNet's.
"""

import argparse
from pathlib import Path

import numpy as np
from evaluate import COMPONENTS, featurize, photographs, turntable

COUNTS, DRAWS, SEED = (0, 1, 2, 5, 10, 20), 5, 23

# The Grocery Store Dataset's kinds that Fruits-360 has, and its classes of each.
BOTH = {
    "Granny-Smith": ["Apple Granny Smith"],
    "Golden-Delicious": ["Apple Golden 1", "Apple Golden 2", "Apple Golden 3"],
    "Pink-Lady": ["Apple Pink Lady"],
    "Red-Delicious": ["Apple Red Delicious"],
    "Avocado": ["Avocado", "Avocado ripe"],
    "Banana": ["Banana"],
    "Kiwi": ["Kiwi"],
    "Lemon": ["Lemon"],
    "Lime": ["Limes"],
    "Mango": ["Mango"],
    "Cantaloupe": ["Cantaloupe 1", "Cantaloupe 2"],
    "Watermelon": ["Watermelon"],
    "Nectarine": ["Nectarine"],
    "Orange": ["Orange"],
    "Papaya": ["Papaya"],
    "Passion-Fruit": ["Passion Fruit"],
    "Peach": ["Peach", "Peach 2"],
    "Kaiser": ["Pear Kaiser"],
    "Pineapple": ["Pineapple"],
    "Plum": ["Plum", "Plum 2", "Plum 3"],
    "Pomegranate": ["Pomegranate"],
    "Red-Grapefruit": ["Grapefruit Pink"],
    "Satsumas": ["Mandarine", "Clementine"],
    "Aubergine": ["Eggplant"],
    "Cucumber": ["Cucumber Ripe", "Cucumber Ripe 2"],
    "Ginger": ["Ginger Root"],
    "Red-Beet": ["Beetroot"],
    "Green-Bell-Pepper": ["Pepper Green"],
    "Orange-Bell-Pepper": ["Pepper Orange"],
    "Red-Bell-Pepper": ["Pepper Red"],
    "Yellow-Bell-Pepper": ["Pepper Yellow"],
    "Sweet-Potato": ["Potato Sweet"],
    "Regular-Tomato": ["Tomato 1", "Tomato 2", "Tomato 3", "Tomato 4"],
}
KIND = {name: kind for kind, names in BOTH.items() for name in names}


def components(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = features.mean(0)
    _, vectors = np.linalg.eigh(np.cov(features, rowvar=False))
    return mean, vectors[:, ::-1][:, :COMPONENTS]


def nearest(gallery: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of each of `wanted`, the row of `gallery` that is nearest."""
    return ((gallery ** 2).sum(1)[None] - 2 * wanted @ gallery.T).argmin(1)


def curve(features: np.ndarray, kinds: np.ndarray, where: np.ndarray) -> dict[str, list[list[float]]]:
    """Percent right by count and draw. `where`: turntable, train or test."""
    rng = np.random.default_rng(SEED)
    own = {kind: np.flatnonzero((where == "train") & (kinds == kind)) for kind in sorted(set(kinds[where == "train"]))}
    base = np.flatnonzero(where == "turntable")
    test = np.flatnonzero((where == "test") & np.isin(kinds, list(BOTH)))
    out: dict[str, list[list[float]]] = {"all alike": [], "one is new": []}
    mean, axes = components(features[where != "test"])
    projected = (features - mean) @ axes
    for count in COUNTS:
        alike, new = [], []
        for _ in range(DRAWS if count else 1):
            drawn = {kind: rng.permutation(rows)[:count] for kind, rows in own.items()}
            gallery = np.concatenate([base, *drawn.values()]).astype(int)
            own_mean, own_axes = components(features[gallery])
            found = nearest((features[gallery] - own_mean) @ own_axes, (features[test] - own_mean) @ own_axes)
            alike.append(100 * float((kinds[gallery[found]] == kinds[test]).mean()))
            right = 0
            for kind in BOTH:
                others = [rows for other, rows in own.items() if other != kind]
                rows = np.concatenate([base, *others, drawn[kind]]).astype(int)
                mine = test[kinds[test] == kind]
                right += int((kinds[rows[nearest(projected[rows], projected[mine])]] == kind).sum())
            new.append(100 * right / len(test))
        out["all alike"].append(alike)
        out["one is new"].append(new)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fruitjob", type=Path, required=True)
    parser.add_argument("--fruits360", type=Path, required=True)
    parser.add_argument("--grocery", type=Path, required=True)
    parser.add_argument("--model", action="append", help="more than once for more rows")
    args = parser.parse_args()
    chosen = [(file, KIND.get(label, label), "turntable") for file, label, is_test in turntable(args.fruits360) if not is_test]
    chosen += [(file, label.split("/")[-1], "test" if is_test else "train") for file, label, is_test in photographs(args.grocery)]
    kinds, where = (np.array([row[i] for row in chosen]) for i in (1, 2))
    missing = set(BOTH) - set(kinds[where == "train"])
    assert not missing, missing
    print(f"{len(BOTH)} kinds, {((where == 'test') & np.isin(kinds, list(BOTH))).sum()} photographs to know")
    print("| model | photographs of a kind | " + " | ".join(map(str, COUNTS)) + " |\n|---|---|" + "---|" * len(COUNTS))
    for model in args.model or ["builtin"]:
        features = featurize(args.fruitjob, [file for file, _, _ in chosen], "--model", model)
        for name, percents in curve(features, kinds, where).items():
            cells = [f"{np.mean(p):.1f}" + (f" ± {np.std(p, ddof=1):.1f}" if len(p) > 1 else "") for p in percents]
            print("| " + " | ".join([Path(model).stem, name, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
