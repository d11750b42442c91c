"""Names that people give to folders and images in object stores: read, and found unchanged in the results."""

from conftest import digests, fruitctl, results
from emulator import Emulator
from test_azure import azure  # noqa: F401

# One each of what stores allow and their clients like to encode; below an input that is such a name too.
PREFIX = "Récolte #1 [été]"
NAMES = [
    "plain/a.jpg", "sp ace/a b.jpg", "Äpfel/é.jpg", "decomposed/e\u0301.jpg", "リンゴ/🍎.jpg", "hash#/a#b.jpg", "q?/a?b.jpg",
    "pct/100%.jpg", "pct%20/a%2Fb.jpg", "brack[et]/a[1].jpg", "star*/a*.jpg", "tilde~/~a.jpg", "pipe|/a|b.jpg", "caret^/a^.jpg",
    "{brace}/a{}.jpg", 'quote"/a"\'b.jpg', "back\\slash/a\\b.jpg", "lt<gt>/a<b>.jpg", "`tick`/a`.jpg", "plus+/a+b.jpg", "amp&/a&b=c.jpg",
]


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
