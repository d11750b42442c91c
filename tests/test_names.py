"""Names that people give to folders and images in object stores: read, and found unchanged in the results."""

import re

import pytest
from conftest import digests, fruitctl, rejects, results
from emulator import Emulator
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3 import s3_backends
from test_azure import azure  # noqa: F401

# One each of what stores allow and their clients like to encode; below an input that is such a name too.
PREFIX = "Récolte #1 [été]"
NAMES = [
    "plain/a.jpg", "sp ace/a b.jpg", "Äpfel/é.jpg", "decomposed/e\u0301.jpg", "リンゴ/🍎.jpg", "hash#/a#b.jpg", "q?/a?b.jpg",
    "pct/100%.jpg", "pct%20/a%2Fb.jpg", "brack[et]/a[1].jpg", "star*/a*.jpg", "tilde~/~a.jpg", "pipe|/a|b.jpg", "caret^/a^.jpg",
    "{brace}/a{}.jpg", 'quote"/a"\'b.jpg', "back\\slash/a\\b.jpg", "lt<gt>/a<b>.jpg", "`tick`/a`.jpg", "plus+/a+b.jpg", "amp&/a&b=c.jpg",
]


# Legal in S3, and of no use to clients that take keys for paths: one reject each.
ODD = ["dbl//slash.jpg", "/lead.jpg", "dot/./x.jpg", "dotdot/../x.jpg", "nl\n/x.jpg", "bell/\x07.jpg", "end/\x1f\x7f.png"]
# Read, though XML would lose the space, or our own marks are in it.
READ = [" first/ a.jpg", "mark/\ue0f1a%20.jpg", "colon:/a:b.jpg", "at@/a@b.jpg", "par(en)/a(1).jpg", "trail /x .jpg", "UP/A.JPG"]
# What consoles leave where someone makes a folder.
FOLDERS = ["folder/", "folder2.jpg/", "dbl//"]


def check(put, scheme, env, fruits, tmp_path, names=NAMES):
    """The same labels, paths and bytes as from a directory that holds the same names."""
    pictures = sorted(fruits.rglob("*.jpg"))
    folder = tmp_path / "in"
    for name, picture in zip(names, pictures):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture.read_bytes())
        put(f"{PREFIX}/{name}", picture.read_bytes())
    fruitctl("run", "-i", folder, "-o", tmp_path / "local")
    ran = fruitctl("run", "-i", f"{scheme}://fruits/{PREFIX}", "-o", tmp_path / "out", env=env)
    assert {path: label for path, (label, _) in results(tmp_path / "out").items()} == {n: n.split("/")[0] for n in names}
    assert digests(tmp_path / "out") == digests(tmp_path / "local")
    assert f"{scheme}://fruits/{PREFIX} ->" in ran.stderr, ran.stderr

    # Results below the input, under such a name, are no input the next night.
    below = ["run", "-i", f"{scheme}://fruits/{PREFIX}", "-o", f"{scheme}://fruits/{PREFIX}/sortie é [2]", "--json"]
    fruitctl(*below, env=env)
    assert f'"listed":{len(names)}' in fruitctl(*below, env=env).stdout


def check_odd(put, uri, env, fruits, output, odd):
    """Each odd key is one reject, named; all others are read."""
    for key, picture in zip([*READ, *odd], sorted(fruits.rglob("*.jpg"))):
        put(key, picture.read_bytes())
    for key in FOLDERS:
        put(key, b"")
    ran = fruitctl("run", "-i", uri, "-o", output, "--max-rejects", "99%", "-k", 1, env=env)
    assert set(results(output)) == set(READ)
    assert set(rejects(output)) == set(odd), rejects(output)
    assert not re.search(r"[\0-\x09\x0b-\x1a\x7f]", ran.stderr), ran.stderr
    failed = fruitctl("run", "-i", uri, "-o", output.with_name("strict"), env=env, code=6).stderr
    assert f"{len(odd)} of {len(odd) + len(READ)} images" in failed, failed


@pytest.mark.parametrize("prefix", ["", "in/"])
def test_odd_names_in_s3(prefix, fruits, tmp_path):
    with Emulator() as aws:
        client = aws.client("s3")
        client.create_bucket(Bucket="fruits", CreateBucketConfiguration={"LocationConstraint": aws.region})

        def put(key, body):
            if "\n" in key:  # moto's router has no line's end in a path
                s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object("fruits", prefix + key, body)
            else:
                client.put_object(Bucket="fruits", Key=prefix + key, Body=body)

        check_odd(put, f"s3://fruits/{prefix}", aws.environment, fruits, tmp_path / "out", ODD)


def test_odd_names_in_azure(azure, fruits, tmp_path):  # noqa: F811
    client, env = azure
    # Of the others, Azure's own client makes something else, and Azurite cannot list what XML cannot hold.
    odd = [key for key in ODD if "//" in key or key.startswith("/")]
    check_odd(lambda key, body: client.upload_blob(f"odd/{key}", body), "az://fruits/odd", env, fruits, tmp_path / "out", odd)


def test_names_in_s3(fruits, tmp_path):
    with Emulator() as aws:
        client = aws.client("s3")
        client.create_bucket(Bucket="fruits", CreateBucketConfiguration={"LocationConstraint": aws.region})
        check(lambda key, body: client.put_object(Bucket="fruits", Key=key, Body=body), "s3", aws.environment, fruits, tmp_path)
        # An image that lies in no folder takes its label from the place.
        client.put_object(Bucket="fruits", Key="Pêche/1.jpg", Body=next(fruits.rglob("*.jpg")).read_bytes())
        client.put_object(Bucket="fruits", Key="Pêche/2.jpg", Body=sorted(fruits.rglob("*.jpg"))[-1].read_bytes())
        fruitctl("run", "-i", "s3://fruits/Pêche", "-o", tmp_path / "peach", env=aws.environment)
        assert {label for label, _ in results(tmp_path / "peach").values()} == {"Pêche"}


def test_names_in_azure(azure, fruits, tmp_path):  # noqa: F811
    client, env = azure
    # Azure's own client turns a backslash into a slash.
    check(client.upload_blob, "az", env, fruits, tmp_path, [name for name in NAMES if "\\" not in name])
