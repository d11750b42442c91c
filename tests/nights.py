"""Nights: images that come, change and go, in a bucket and in a folder that is just like it; and what a run over them
must give."""

import random
import shutil

from conftest import digests, fruitctl
from stack import Project

# Types for this machine's processors; a primary node alone.
CLUSTER = "[cluster.primary]\ntypes = [\"m5.xlarge\"]\n[cluster.core]\ncount = 0\n"


class Nights:
    """A project whose images change: `folder` is what the bucket's input/ holds."""

    def __init__(self, aws, tmp_path, name="nights", classes=4, per_class=15, seed=1, **kwargs):
        self.aws, self.random, self.tmp = aws, random.Random(seed), tmp_path
        self.project = Project(aws, tmp_path, name, more=CLUSTER, **kwargs)
        self.bucket = f"fruitctl-{name}-123456789012-{aws.region}"
        self.folder, self.pool = tmp_path / "images", tmp_path / "pool"
        fruitctl("samples", self.pool, "--classes", classes, "--per-class", 3 * per_class)
        self.serial, self.s3 = 0, None
        for label in sorted(p.name for p in self.pool.iterdir()):
            for _ in range(per_class):
                self.add(label)
        self.project.run("upload", self.folder)
        self.s3 = aws.client("s3")

    def _draw(self, label):
        return self.random.choice(sorted((self.pool / label).iterdir())).read_bytes() + self.serial.to_bytes(4, "big")

    def _put(self, path, body):
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body)
        if self.s3:
            self.s3.put_object(Bucket=self.bucket, Key=f"input/{path}", Body=body)

    def add(self, label):
        self.serial += 1
        self._put(f"{label}/{self.serial:04}.jpg", self._draw(label))

    def change(self, path):
        self.serial += 1
        self._put(path, self._draw(path.split("/")[0]))

    def remove(self, path):
        (self.folder / path).unlink()
        self.s3.delete_object(Bucket=self.bucket, Key=f"input/{path}")

    def paths(self):
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*.jpg"))

    def change_some(self, most=3):
        """Adds, changes and removes a few; how many of each."""
        new, changed, removed = (self.random.randrange(most + 1) for _ in range(3))
        touched = self.random.sample(self.paths(), changed + removed)
        for path in touched[:changed]:
            self.change(path)
        for path in touched[changed:]:
            self.remove(path)
        labels = sorted(p.name for p in self.pool.iterdir())
        for _ in range(new):
            self.add(self.random.choice(labels))
        return new, changed, removed

    def expected(self, *flags):
        """The digests of a run from scratch, here, over the images as they are."""
        out = self.tmp / "scratch"
        shutil.rmtree(out, ignore_errors=True)
        fruitctl("run", "-i", self.folder, "-o", out, *flags)
        return digests(out)
