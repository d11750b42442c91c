"""The job on Daft: its own download and decoding, onnxruntime in a class UDF, scikit-learn's PCA.

    python daft_job.py IMAGES MODEL.onnx OUT COMPONENTS
"""

import os
import sys

import daft
import numpy as np
import onnxruntime
from daft import DataType, col
from PIL import Image
from sklearn.decomposition import PCA


@daft.cls(max_concurrency=os.cpu_count(), use_process=True)
class Featurizer:
    def __init__(self, model: str):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options)

    @daft.method(return_dtype=DataType.list(DataType.float32()))
    def __call__(self, image: np.ndarray) -> np.ndarray:
        resized = Image.fromarray(np.asarray(image)).resize((224, 224), Image.BILINEAR)
        tensor = (np.asarray(resized, np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
        name = self.session.get_inputs()[0].name
        return self.session.run(None, {name: np.ascontiguousarray(tensor)})[0].reshape(-1).tolist()


def main() -> None:
    images, model, out, components = sys.argv[1:]
    featurizer = Featurizer(model)
    files = daft.from_glob_path(f"{images}/**/*.jpg")
    decoded = files.with_column("image", col("path").download().decode_image(mode="RGB"))
    table = decoded.select("path", featurizer(col("image")).alias("features")).to_arrow()
    features = np.stack(table["features"].to_numpy(zero_copy_only=False))
    vectors = PCA(int(components), svd_solver="covariance_eigh").fit_transform(features)
    daft.from_pydict({"path": table["path"].to_pylist(), "pca": list(vectors.astype(np.float32))}).write_parquet(out)


if __name__ == "__main__":
    main()
