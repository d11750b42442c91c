"""A short walk of tests/chaos, and that its checks can fail."""

import shutil

import pytest
from chaos import Chaos, Violation, emulator
from emulator import node

pytestmark = [pytest.mark.slow, pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")]


@pytest.mark.parametrize("seed", [7, 360])
def test_nights_on_which_things_go_wrong(tmp_path, seed):
    with emulator() as aws:
        chaos = Chaos(aws, tmp_path, seed)
        chaos.walk(7)
        print(f"\n  struck: {dict(chaos.struck)}; exit codes: {dict(chaos.codes)}")
        assert sum(chaos.struck.values()) > 0
        assert not aws.refused, aws.refused


def test_the_walker_sees_what_is_wrong(tmp_path):
    """Other bytes, a second cluster, a wrong exit code, a lock for ever: each is a violation."""
    with emulator() as aws:
        chaos = Chaos(aws, tmp_path, 1)
        chaos.one_night([])
        wanted, clusters = chaos.good, set(aws.emr.clusters)
        got = chaos.project.folder / "got-0"
        fine = [(0, "", "", [])]
        chaos.check([], wanted, clusters, fine)

        def wrong(words, *args):
            with pytest.raises(Violation, match=words):
                chaos.check(*args)
            shutil.rmtree(chaos.folder / "there", ignore_errors=True)

        wrong("exit code 0, and the results are other", [], dict(wanted, more="1"), clusters, fine)
        wrong("run-summary.json says 0, not 6", ["error"], wanted, clusters, [(6, "", "error: x", [])])
        wrong("without a message", ["error"], wanted, clusters, [(6, "", "", [])])
        wrong("no signal was sent", ["error"], wanted, clusters, [(130, "", "error: x", [])])
        wrong("a night without faults failed", [], wanted, clusters, [(6, "", "error: x", [])])
        wrong("1 clusters of 0 commands", ["error"], wanted, set(), [])
        part = "output/results/part-00000.parquet"
        body = chaos.s3.get_object(Bucket=chaos.nights.bucket, Key=part)["Body"].read()
        chaos.s3.put_object(Bucket=chaos.nights.bucket, Key=part, Body=body + b"!")
        wrong("neither this night's nor", ["error"], wanted, clusters, [(6, "", "error: x", [])])
        chaos.s3.put_object(Bucket=chaos.nights.bucket, Key=part, Body=body)
        chaos.s3.put_object(Bucket=chaos.nights.bucket, Key=".fruitctl/lock", Body=b'{"expires": 4000000000}')
        wrong("a lock for ever", [], wanted, clusters, fine)
