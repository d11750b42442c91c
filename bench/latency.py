"""Images a second from a store that answers late: a small S3 on loopback, and the job on it.

    python bench/latency.py FRUITJOB FOLDER [MILLISECONDS...]

FOLDER holds the images (fruitctl samples draws some). A row a latency: images a second of the featurize stage, how much of the
first latency's that is, and the most requests that the store had before it at once; medians of five rounds.
"""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from statistics import median
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 1000
ROUNDS = 5


class Store(asyncio.Protocol):
    """GET of objects and of ListObjectsV2, a request at a time on each connection."""

    objects, listing, late = {}, [], 0.0
    flying = most = 0

    def connection_made(self, transport):
        self.transport, self.held = transport, b""

    def data_received(self, data):
        self.held += data
        while b"\r\n\r\n" in self.held:
            head, _, self.held = self.held.partition(b"\r\n\r\n")
            cls = type(self)
            cls.flying += 1
            cls.most = max(cls.most, cls.flying)
            asyncio.get_running_loop().call_later(self.late, self.answer, head.split(b" ", 2)[1].decode())

    def answer(self, target):
        type(self).flying -= 1
        if self.transport.is_closing():
            return
        url = urlsplit(target)
        if "list-type" in url.query:
            body, etag = self.page(parse_qs(url.query)), ""
        else:
            body = self.objects.get(unquote(url.path))
            etag = f'ETag: "{hashlib.md5(body[:99]).hexdigest()}"\r\n' if body else ""
        status = "404 Not Found" if body is None else "200 OK"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body or b'')}\r\n{etag}Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"
        self.transport.write(head.encode() + (body or b""))

    def page(self, query):
        start = int(query.get("continuation-token", ["0"])[0])
        end = min(start + PAGE, len(self.listing))
        more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < len(self.listing) else ""
        return f"<ListBucketResult>{''.join(self.listing[start:end])}{more}</ListBucketResult>".encode()


def serve(folder):
    """The port of a store with the files of a folder in the bucket `images`."""
    for file in sorted(folder.rglob("*.jpg"), key=lambda file: str(file.relative_to(folder)).encode()):
        key, body = f"in/{file.relative_to(folder)}", file.read_bytes()
        Store.objects[f"/images/{key}"] = body
        Store.listing.append(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(body)}</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        )
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(Store, "127.0.0.1", 0, backlog=2048))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return server.sockets[0].getsockname()[1]


def measure(job, env, latency):
    """Images a second of the featurize stage, and the most requests at once."""
    Store.late, Store.most = latency / 1000, 0
    with tempfile.TemporaryDirectory() as output:
        done = subprocess.run([job, "run", "-i", "s3://images/in", "-o", output], env=env, capture_output=True, text=True)
        run = json.loads(done.stdout.splitlines()[-1]).get("run") or sys.exit(done.stdout[-500:])
    seconds = next(stage["seconds"] for stage in run["stages"] if stage["stage"] == "featurize")
    return run["images"]["featurized"] / seconds, Store.most


def main():
    job, folder, *latencies = sys.argv[1:]
    latencies = [float(latency) for latency in latencies or ["0", "30", "60", "100"]]
    env = os.environ | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{serve(Path(folder))}", "AWS_REGION": "us-east-1"}
    env |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    rounds = [[measure(job, env, latency) for latency in latencies] for _ in range(ROUNDS)]
    print(f"| latency (ms) | images/s | to {latencies[0]:.0f} ms | requests at once |\n|---|---|---|---|")
    for i, latency in enumerate(latencies):
        rate, most = (median(values) for values in zip(*(row[i] for row in rounds)))
        share = median(row[i][0] / row[0][0] for row in rounds)
        print(f"| {latency:.0f} | {rate:,.0f} | {share:.2f} | {most:.0f} |")


if __name__ == "__main__":
    main()
