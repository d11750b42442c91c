"""A listing of a million objects: from a store that makes its pages up, since none here would hold so many."""

import http.server
import os
import subprocess
import threading
import urllib.parse

import pyarrow.parquet as pq
import pytest
from conftest import command

PAGE, CLASS = 1000, 10_000


class Store(http.server.BaseHTTPRequestHandler):
    """S3's ListObjectsV2 over `count` keys: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_GET(self):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        assert query["list-type"] == "2" and query["prefix"] == "in/"
        start = int(query.get("continuation-token", 0))
        end = min(start + PAGE, self.count)
        entry = ("<Contents><Key>in/Class {:04}/{:08}.jpg</Key><LastModified>2026-11-24T02:00:00.000Z</LastModified>"
                 "<ETag>&quot;{:032x}&quot;</ETag><Size>4321</Size><StorageClass>STANDARD</StorageClass></Contents>")
        entries = "".join(entry.format(i // CLASS, i, i) for i in range(start, end))
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{end}</NextContinuationToken>" if end < self.count else "<IsTruncated>false</IsTruncated>"
        body = ('<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<Name>many</Name><Prefix>in/</Prefix><KeyCount>{end - start}</KeyCount><MaxKeys>1000</MaxKeys>{more}{entries}</ListBucketResult>").encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def peak_mb(endpoint, count, output):
    Store.count = count
    environment = os.environ | {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "eu-west-3"}
    process = subprocess.Popen(command("fruitjob", "list", "-i", "s3://many/in", "-o", output), stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


@pytest.mark.slow
def test_a_listing_is_not_held_in_memory(endpoint, tmp_path):
    few = peak_mb(endpoint, 100_000, tmp_path / "few")
    many = peak_mb(endpoint, 1_000_000, tmp_path / "many")
    print(f"peak {few:.0f} MB for 100,000 objects, {many:.0f} MB for 1,000,000")
    assert many < few + 30, (few, many)
    manifest = tmp_path / "many" / ".fruitjob" / "manifest.parquet"
    print(f"manifest {manifest.stat().st_size / 1e6:.1f} MB")


def test_a_listing_of_many_misses_none(endpoint, tmp_path):
    peak_mb(endpoint, 123_456, tmp_path)
    paths = pq.read_table(tmp_path / ".fruitjob" / "manifest.parquet", columns=["path", "label"]).to_pydict()
    assert paths["path"] == [f"Class {i // CLASS:04}/{i:08}.jpg" for i in range(123_456)]
    assert paths["label"][-1] == "Class 0012"
