"""Others' words are data: names of files, labels, what nodes and AWS say reach no terminal, CI or page as commands."""

import gzip
import json
import os
import re
import unicodedata

import pytest
from conftest import fruitctl, record
from emulator import Emulator
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.s3 import s3_backends
from stack import Project, settle

# The clipboard, a window's title, a cleared screen, GitHub's and Azure's commands, an order of letters turned round, HTML.
WORDS = ["\x1b]52;c;ZXZpbA==\x07", "\x1b]0;title\x07", "\x1b[2J", "\x9b2J", "\r::error::pwned", "##[error]pwned", "##vso[task.complete]pwned",
         "\u202egpj.elppa", "\u2028line", "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "|`*_[x](http://evil)"]
LINES = ["::error::pwned", "  ::set-output name=x::pwned", *WORDS]
HOSTILE = "a " + " ".join(WORDS) + "\n::error::pwned\n##[group]pwned"

RUNNERS = [{}, {"GITHUB_ACTIONS": "true"}, {"TF_BUILD": "True"}]


def is_clean(text, env):
    """Nothing in it acts on a terminal, or on the runner that reads along."""
    acts = [c for c in text if unicodedata.category(c) in ("Cc", "Zl", "Zp") and c not in "\n\t" or c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"]
    assert not acts, (acts, text)
    if env:
        assert "##[" not in text and "##vso[" not in text, text
        # Annotations of our own have a title.
        commands = [line for line in text.splitlines() if line.lstrip().startswith("::")]
        assert all(line.startswith(("::error title=", "::warning title=", "::notice title=")) for line in commands), commands


def run(project, env, *args, code=0):
    before, project.env = project.env, project.env | env
    done = project.run(*args, code=code)
    project.env = before
    is_clean(done.stdout, env)
    is_clean(done.stderr, env)
    return done


@pytest.mark.parametrize("env", RUNNERS, ids=["terminal", "github", "azure"])
def test_names_of_images_and_labels(fruits, tmp_path, env):
    """Through progress, summary, rejects, errors, the report and the page of a CI's job."""
    label = HOSTILE.replace("/", "∕")
    folder = tmp_path / "in" / label
    folder.mkdir(parents=True)
    for n, picture in enumerate(sorted((fruits / "Fig 1").iterdir())[:3]):
        (folder / f"{n} {label[:40]}.jpg").write_bytes(picture.read_bytes())
    (folder / f"bad {label[:60]}.jpg").write_bytes(b"no picture")
    page, args = tmp_path / "page.md", ["run", "-i", tmp_path / "in", "-o", tmp_path / "out", "-k", 2]
    # GitHub's page is added to where its name is given.
    runner = os.environ | env | ({"GITHUB_STEP_SUMMARY": str(page)} if env else {})
    for more, code in ((["--max-rejects=1"], 0), (["--max-rejects=1", "--json"], 0), (["--max-rejects=0"], 6)):
        done = fruitctl(*args, *more, env=runner, code=code)
        is_clean(done.stdout, env)
        is_clean(done.stderr, env)
    assert record(tmp_path / "out")["labels"][0]["label"] == label
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("<script") == 2 and "<img src" not in html and "script-src 'sha256-" in html
    if env:
        text = page.read_text()
        is_clean(text, {})
        assert not re.search(r"<(?!/?(code|pre|br)>)", text) and "](http" not in text and "\n::" not in text, text


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False, start=0.02, bootstrap=0.01, terminate=0.02, propagation=0) as aws:
        yield aws


@pytest.mark.parametrize("env", RUNNERS, ids=["terminal", "github", "azure"])
def test_what_nodes_the_history_and_aws_say(aws, tmp_path, env):
    project = Project(aws, tmp_path, f"hostile{len(aws.log)}")
    s3, bucket = aws.client("s3"), f"fruitctl-{project.name}-{ACCOUNT}-{aws.region}"
    aws.emr.failures.append(("BOOTSTRAP_FAILURE", HOSTILE))
    done = run(project, env, "up", "--wait", code=6)
    assert "pwned" in done.stderr
    run(project, env, "status")
    entry = {"version": 2, "id": "20261127-000000-abcd", "state": "failed", "input": f"s3://b/{HOSTILE}", "output": f"s3://b/{HOSTILE}", "owner": HOSTILE,
             "cluster": "j-1", "step": "s-1", "failure": HOSTILE, "work": {"executable": HOSTILE, "job": {"input": HOSTILE, "output": HOSTILE}, "preprocessing": {}}}
    s3.put_object(Bucket=bucket, Key="runs/20261127-000000-abcd.json", Body=json.dumps(entry))
    for stream in ("stdout", "stderr"):
        s3.put_object(Bucket=bucket, Key=f"logs/j-1/steps/s-1/{stream}.gz", Body=gzip.compress("\n".join(LINES).encode()))
    for command in (["runs"], ["runs", "--json"], ["results", "--run", entry["id"]], ["results", "--json"], ["logs"], ["clone", entry["id"]]):
        run(project, env, *command, code=None)
    assert json.loads(run(project, {}, "runs", "--json").stdout)[0]["failure"] == HOSTILE
    # Images with such names, here and there.
    s3_backends[ACCOUNT]["aws"].put_object(bucket, f"input/{HOSTILE}.jpg", b"x")
    (project.folder / "pictures").mkdir()
    (project.folder / "pictures" / f"{WORDS[0]}{WORDS[7]}.jpg").write_bytes(b"x")
    run(project, env, "upload", "pictures", "--dry-run", "--delete", code=None)
    run(project, env, "upload", "pictures", code=None)
    run(project, env, "plan", code=None)
    run(project, env, "prune", "--dry-run", code=None)
    run(project, env, "down", "--purge-bucket", code=None)
    settle(aws)
