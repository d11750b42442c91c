"""The job in plain Python: onnxruntime, Pillow, scikit-learn; a process a core.

    python plain.py IMAGES MODEL.onnx OUT.parquet COMPONENTS
"""

import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.decomposition import PCA

SIZE = 224
SESSION = None


def start(model: str) -> None:
    global SESSION
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    SESSION = onnxruntime.InferenceSession(model, options)


def featurize(file: str) -> np.ndarray:
    image = Image.open(file).convert("RGB")
    if image.size != (SIZE, SIZE):
        image = image.resize((SIZE, SIZE), Image.BILINEAR)
    tensor = (np.asarray(image, np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
    return SESSION.run(None, {SESSION.get_inputs()[0].name: np.ascontiguousarray(tensor)})[0].reshape(-1)


def main() -> None:
    images, model, out, components = sys.argv[1:]
    files = sorted(str(f) for f in Path(images).rglob("*.jpg"))
    with multiprocessing.Pool(os.cpu_count(), start, (model,)) as pool:
        features = np.stack(pool.map(featurize, files, chunksize=64))
    vectors = PCA(int(components), svd_solver="covariance_eigh").fit_transform(features)
    labels = [Path(f).parent.name for f in files]
    pq.write_table(pa.table({"path": files, "label": labels, "pca": list(vectors.astype(np.float32))}), out)


if __name__ == "__main__":
    main()
