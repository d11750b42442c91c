"""The page of `fruitctl app`, in a browser: what it says, without a network too, and that it reaches nowhere."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from conftest import BIN, ROOT, command, fruitctl, results, run, soon
from emulator import Emulator, node
from PIL import Image
from stack import Project

WASM = BIN.parent / "fruitapp.wasm"
AXE = BIN.parent / "npm/node_modules/axe-core/axe.min.js"
HOSTILE = '<img src=x onerror="document.title=1">'

pytestmark = [
    pytest.mark.xdist_group("app"),
    pytest.mark.skipif(not WASM.exists(), reason="no fruitapp.wasm: release/app makes it"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Pictures of six fruits, most as PNG, of one label a name that would do harm; a run over them, and its page."""
    folder = tmp_path_factory.mktemp("app")
    fruitctl("samples", folder / "drawn", "--classes", 6, "--per-class", 14)
    for i, label in enumerate(sorted((folder / "drawn").iterdir())):
        to = folder / "in" / (label.name if i else HOSTILE)
        to.mkdir(parents=True)
        for picture in label.iterdir():
            # A larger picture than the network takes, so that it is resized.
            ending = "jpg" if picture.stem.startswith("2_") else "png"
            Image.open(picture).resize((300, 260)).save(to / f"{picture.stem}.{ending}", quality=90)
        for later in sorted(to.iterdir())[-2:]:
            (folder / "new" / to.name).mkdir(parents=True, exist_ok=True)
            shutil.move(later, folder / "new" / to.name)
    fruitctl("run", "--input", folder / "in", "--output", folder / "out", "--components", 16)
    done = fruitctl("app", "--output", folder / "out", folder / "page", "--per-label", 4, "--json")
    return folder, json.loads(done.stdout)


class Site:
    """A folder that `fruitctl app --serve` serves. Leaving the block is the network's end."""

    def __init__(self, output, page):
        self.command = command("fruitctl", "app", "--output", output, page, "--per-label", 4, "--serve", 0)

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if "http://" in line:
                self.address = line.split(" at ")[1].split()[0]
                return self
        raise AssertionError("it does not serve")

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(10) == 0, "it ends well when it is told to"


ANSWER = """new Promise(async (resolve) => {
  const worker = new Worker(document.querySelector('link[rel=stylesheet]').href.replace('style.css', 'worker.js'));
  worker.onmessage = ({ data }) => resolve(data.error ?? { ...data.answer, vector: [...data.answer.vector], ms: data.milliseconds });
  const bytes = Uint8Array.from(atob('%s'), (c) => c.charCodeAt(0));
  worker.postMessage({ id: 1, file: new Blob([bytes]) });
})"""


def ask(browser, file):
    """What the page's worker says of a file."""
    import base64

    return browser.run(ANSWER % base64.b64encode(Path(file).read_bytes()).decode())


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_the_page_recognises_without_a_network(made, tmp_path, say):
    folder, record = made
    labels = [label["label"] for label in record["labels"]]
    rows = results(folder / "out")
    with Browser(tmp_path / "profile") as browser:
        with Site(folder / "out", folder / "page") as site:
            browser.open(site.address)
            browser.until("document.documentElement.dataset.ready === 'yes'")
            browser.until("navigator.serviceWorker.ready.then(() => navigator.serviceWorker.controller !== null)")
            assert browser.run("document.title") == "Which fruit is it?"
            assert "4" in browser.run("document.getElementById('labels').textContent")
        # The network is gone.
        browser.open(site.address)
        browser.until("document.documentElement.dataset.ready === 'yes'")
        right, times = 0, []
        for picture in sorted((folder / "new").rglob("*.png")):
            answer = ask(browser, picture)
            right += labels[answer["label"]] == picture.parent.name
            times.append(answer["ms"])
        assert right >= 10, f"{right} of 12"
        for path, (_, vector) in list(rows.items())[::7]:
            if path.endswith("png"):
                answer = ask(browser, folder / "in" / path)
                assert np.abs(np.array(answer["vector"]) - vector).max() < 1e-3, path
        # The browser has a decoder of its own.
        for path, (label, vector) in rows.items():
            if path.endswith("jpg"):
                answer = ask(browser, folder / "in" / path)
                got = np.array(answer["vector"])
                assert got @ vector / np.linalg.norm(got) / np.linalg.norm(vector) > 0.999, path
                assert labels[answer["label"]] == label, path
        # As a person sees it; the label that would do harm is text.
        browser.choose("#file", next((folder / "new" / HOSTILE).iterdir()))
        browser.until("!document.getElementById('nearest').hidden")
        assert browser.run("document.querySelectorAll('#pictures li').length") == 5
        assert browser.run("document.getElementById('labels').textContent").count(HOSTILE) == 1
        assert browser.run("document.querySelectorAll('img').length") == 1, "the icon, and no picture of a label's"
        text = tmp_path / "text.png"
        text.write_text("no picture")
        browser.choose("#file", text)
        browser.until("document.getElementById('answer').textContent === 'This picture cannot be read'")
        assert {address[: len(site.address)] for address in browser.requests if not address.startswith("blob:")} == {site.address}
    say(f"page of {len(labels)} labels: {record['bytes'] / 1e6:.2f} MB, {sorted(times)[len(times) // 2]:.1f} ms a picture")


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
@pytest.mark.skipif(not AXE.exists(), reason="no axe-core")
def test_anyone_can_use_it_at_any_size(made, tmp_path):
    folder, _ = made
    with Browser(tmp_path / "profile") as browser, Site(folder / "out", folder / "page") as site:
        for width, dark in [(390, False), (390, True), (1280, False), (1280, True)]:
            browser.screen(width, 900, dark, touch=width < 500)
            browser.open(site.address)
            browser.until("document.documentElement.dataset.ready === 'yes'")
            browser.choose("#file", next((folder / "new").rglob("*.png")))
            browser.until("!document.getElementById('nearest').hidden")
            browser.run("document.getElementById('about').open = true")
            assert browser.run("document.documentElement.scrollWidth") <= width, "nothing is cut off at the side"
            browser.run(AXE.read_text() + "; 0")
            found = browser.run("axe.run().then(({ violations }) => violations.map((v) => [v.id, v.nodes.map((n) => n.html)]))")
            assert found == [], (width, dark, found)
            assert browser.run("document.getElementById('live').getAttribute('aria-live')") == "polite"
        assert browser.problems == []


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_it_speaks_french_to_who_does(made, tmp_path):
    folder, _ = made
    with Browser(tmp_path / "profile", "--accept-lang=fr-FR") as browser, Site(folder / "out", folder / "page") as site:
        browser.open(site.address)
        browser.until("document.documentElement.dataset.ready === 'yes'")
        assert browser.run("[document.documentElement.lang, document.title]") == ["fr", "Quel est ce fruit ?"]
        words = browser.run(
            "import(document.querySelector('script').src.replace('app.js', 'words.js')).then(({ words }) => [Object.keys(words.en), Object.keys(words.fr)])"
        )
        assert words[0] == words[1], "each word is there in both"


def test_the_page_is_small_and_says_what_it_is_of(made):
    folder, record = made
    assert WASM.stat().st_size <= 400_000
    assert record["bytes"] == sum(f.stat().st_size for f in (folder / "page").rglob("*") if f.is_file())
    assert all(label["pictures"] == 4 for label in record["labels"])
    check = record["check"]
    assert check["pictures"] == check["right"] + check["wrong"] + check["unlike"] > 0
    page = (folder / "page/index.html").read_text()
    assert "default-src 'self'" in page and "unsafe-inline" not in page and HOSTILE not in page


def test_a_run_publishes_it_beside_its_results(made, tmp_path):
    folder, _ = made
    (tmp_path / "fruitctl.toml").write_text(
        f'[job]\ninput = "{folder}/in"\noutput = "out"\ncomponents = 8\n[app]\npublish = true\nper_label = 2\n')
    done = run("fruitctl", "run", cwd=tmp_path)
    assert "12 pictures" in done.stdout
    assert (tmp_path / "out/app/index.html").exists()
    # Another night; nothing of the first page stays.
    again = run("fruitctl", "run", cwd=tmp_path)
    assert len(list((tmp_path / "out/app").glob("assets-*"))) == 1, again.stdout


@pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")
def test_a_cluster_s_run_publishes_it_by_the_operator_s_profile(made, tmp_path):
    """The job's own code reads the results here, and knows of no profile; the output is the project's own, which no file names."""
    folder, _ = made
    more = '[cluster.primary]\ntypes = ["m5.xlarge"]\n[cluster.core]\ncount = 0\n[app]\npublish = true\nper_label = 2\n'
    with Emulator(start=0.1, bootstrap=0.05, terminate=0.05, propagation=0, logs=0.2, idle=1) as aws:
        project = Project(aws, tmp_path, "page", more=more)
        keys = {name: project.env.pop(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        (tmp_path / "credentials").write_text("[op]\n" + "".join(f"{name.lower()} = {value}\n" for name, value in keys.items()))
        project.env |= {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"), "AWS_PROFILE": "op"}
        run("fruitctl", "upload", folder / "in", cwd=project.folder, env=project.env)
        done = run("fruitctl", "run", cwd=project.folder, env=project.env)
        assert "page      s3://" in done.stdout, done.stdout
        s3, bucket = aws.client("s3"), project.exists()["bucket"][0]
        kind = lambda name: s3.head_object(Bucket=bucket, Key=f"output/app/{name}")["ContentType"]
        assert kind("index.html").startswith("text/html") and kind("sw.js").startswith("text/javascript")
        said = run("fruitctl", "recognise", "--output", f"s3://{bucket}/output", "--json", next((folder / "new" / HOSTILE).iterdir()),
                   cwd=project.folder, env=project.env)
        assert json.loads(said.stdout)["nearest"][0]["path"].endswith(".png")
        run("fruitctl", "down", "--purge-bucket", "--yes", cwd=project.folder, env=project.env)


def test_a_page_of_the_large_model_inside(made, tmp_path):
    folder, _ = made
    fruitctl("run", "--input", folder / "in", "--output", tmp_path / "out", "--model", "mobilenet_v2", "--components", 8)
    fruitctl("app", "--output", tmp_path / "out", tmp_path / "page", "--per-label", 1)
    assert (tmp_path / "page/index.html").exists()


def test_a_model_that_it_cannot_run_is_refused(made, tmp_path):
    folder, _ = made
    fruitctl("run", "--input", folder / "in", "--output", tmp_path / "out", "--precision", "int8", "--components", 8)
    done = fruitctl("app", "--output", tmp_path / "out", tmp_path / "page", code=2)
    assert "int8" in done.stderr and not (tmp_path / "page").exists()
    # One that is to be published is refused before the run.
    (tmp_path / "fruitctl.toml").write_text(f'[job]\ninput = "{folder}/in"\noutput = "new"\nprecision = "int8"\n[app]\npublish = true\n')
    assert "[app] publish" in fruitctl("run", cwd=tmp_path, code=2).stderr and not (tmp_path / "new").exists()


def test_a_page_that_cannot_be_written_leaves_the_run_done(made, tmp_path):
    folder, _ = made
    (tmp_path / "fruitctl.toml").write_text(f'[job]\ninput = "{folder}/in"\noutput = "out"\ncomponents = 8\n[app]\npublish = true\n')
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "app").write_text("a file, where the page's folder should be")
    done = fruitctl("run", cwd=tmp_path, code=10)
    assert "the run has ended well" in done.stderr and (tmp_path / "out/results/_SUCCESS").exists()


def test_the_server_is_this_machine_s_alone(made):
    import http.client

    folder, _ = made
    with Site(folder / "out", folder / "page") as site:
        host = site.address.removeprefix("http://").strip("/")

        def get(path, name=host, method="GET"):
            connection = http.client.HTTPConnection(host, timeout=10)
            connection.request(method, path, headers={"Host": name})
            return connection.getresponse()

        assert get("/").headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert get("/sw.js").headers["Content-Type"].startswith("text/javascript")
        assert get("/", "evil.example").status == 421
        assert get("/", method="POST").status == 405
        assert get("/%2e%2e/out/run.json").status == 404
