"""What a backbone's vectors are worth on Fruits-360: nearest neighbours after PCA.

    python evaluate.py --data fruits360 --model builtin.onnx [--model mobilenet_v2.onnx ...]

Protocol: 30 training and 20 test images of each class (seeded), one PCA over all of them, 64 components, the nearest
training image by L2, percent correct. Three lines a model: all 131 classes; the classes that the builtin model was not
trained on, among themselves; and the same images as queries among the training images of all classes. Training and
test images are frames of the same turning fruit: this ranks backbones, and does not predict new photographs.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

TRAINING, TEST, COMPONENTS = 30, 20, 64
# Chosen before anything was trained.
HELD_OUT_SEED, HELD_OUT_COUNT = 360, 24


def held_out(classes: list[str]) -> list[str]:
    """The classes that the builtin model has not seen."""
    return sorted(random.Random(HELD_OUT_SEED).sample(sorted(classes), HELD_OUT_COUNT))


def choose(root: Path) -> list[tuple[Path, str, bool]]:
    """(file, class, whether it is a test image)"""
    chosen = []
    for folder in sorted(p for p in (root / "Training").iterdir() if p.is_dir()):
        for part, count in (("Training", TRAINING), ("Test", TEST)):
            files = sorted((root / part / folder.name).glob("*.jpg"))
            rng = random.Random(f"{part}/{folder.name}")
            chosen += [(f, folder.name, part == "Test") for f in sorted(rng.sample(files, min(count, len(files))))]
    return chosen


def featurize(model: Path, files: list[Path]) -> np.ndarray:
    """Features [N, D]: Pillow's bilinear resize, centre crop, the model's own normalisation."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options)
    meta = session.get_modelmeta().custom_metadata_map
    size = int(meta.get("input_size", 224))
    resize = int(meta.get("resize", size))
    mean, std = (float(meta[key].split(",")[0]) if key in meta else 127.5 for key in ("mean", "std"))
    name = session.get_inputs()[0].name
    features = []
    for file in files:
        image = Image.open(file).convert("RGB")
        if image.size != (resize, resize):
            image = image.resize((resize, resize), Image.BILINEAR)
        edge = (resize - size) // 2
        pixels = np.asarray(image, np.float32)[edge:edge + size, edge:edge + size]
        tensor = ((pixels - mean) / std).transpose(2, 0, 1)[None]
        features.append(session.run(None, {name: np.ascontiguousarray(tensor)})[0].reshape(-1))
    return np.stack(features)


def project(features: np.ndarray) -> np.ndarray:
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return centred @ vectors[:, ::-1][:, :COMPONENTS]


def accuracy(gallery: np.ndarray, labels: np.ndarray, queries: np.ndarray, truth: np.ndarray) -> float:
    """Percent of queries whose nearest neighbour in the gallery is of their class."""
    distance = (gallery ** 2).sum(1)[None] - 2 * queries @ gallery.T
    return 100 * float((labels[distance.argmin(1)] == truth).mean())


def evaluate(features: np.ndarray, labels: np.ndarray, test: np.ndarray, new: np.ndarray) -> dict[str, float]:
    """`new`: images of classes that training did not see."""
    x = project(features)
    among = project(features[new])
    return {
        "131 classes": accuracy(x[~test], labels[~test], x[test], labels[test]),
        "held out": accuracy(among[~test[new]], labels[new & ~test], among[test[new]], labels[new & test]),
        "held out among all": accuracy(x[~test], labels[~test], x[new & test], labels[new & test]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, action="append", required=True)
    args = parser.parse_args()
    chosen = choose(args.data)
    labels = np.array([label for _, label, _ in chosen])
    test = np.array([is_test for _, _, is_test in chosen])
    new = np.isin(labels, held_out(sorted(set(labels))))
    print(f"{(~test).sum()} training and {test.sum()} test images of {len(set(labels))} classes, "
          f"{len(set(labels[new]))} of them held out")
    for model in args.model:
        features = featurize(model, [file for file, _, _ in chosen])
        result = evaluate(features, labels, test, new)
        print(f"{model.name} ({features.shape[1]} features): "
              + ", ".join(f"{name} {percent:.2f} %" for name, percent in result.items()), flush=True)


if __name__ == "__main__":
    main()
