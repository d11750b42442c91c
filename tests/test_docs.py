"""What the docs say is so: pieces of configuration are planned, and commands are run."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
from conftest import BIN, ROOT, fruitctl, fruitjob
from emulator import Emulator
from stack import Project
from test_company import group, image

PIECES = [
    piece
    for page in sorted((ROOT / "docs" / "howto").glob("*.md"))
    for piece in re.findall(r"#+ ([^\n]+)\n(?:(?!\n#).)*?```toml\n(.*?)```", page.read_text(), re.S)
]
PAGES = [ROOT / name for name in subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()]


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False) as aws:
        yield aws


def test_there_are_pieces():
    assert len(PIECES) == 14


@pytest.mark.parametrize("title, piece", PIECES, ids=[title for title, _ in PIECES])
def test_the_piece_is_planned(aws, tmp_path, title, piece):
    subnet = aws.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    project = Project(aws, tmp_path, "howto")
    rest = "" if "[aws]" in piece else '[aws]\nregion = "eu-west-3"\n'
    text = piece.replace("subnet-0123456789abcdef0", subnet)
    if "sg-0123456789abcdef0" in text:
        text = text.replace("sg-0123456789abcdef0", group(aws, "theirs")).replace("ami-0123456789abcdef0", image(aws))
    head = "" if "project = " in piece else 'target = "emr"\nproject = "howto"\n'
    (project.folder / "fruitctl.toml").write_text(f"{head}{text}\n{rest}")
    assert "to create" in project.run("plan").stdout


@pytest.fixture(scope="module")
def schema():
    """A check of configurations by what editors check them by."""
    validator = jsonschema.validators.validator_for(json.loads(fruitctl("schema", "config").stdout))
    ours = json.loads((ROOT / "docs" / "schema" / "config-1.json").read_text())
    validator.check_schema(ours)
    return validator(ours)


def wrong(schema, text):
    return [f"{error.json_path}: {error.message}" for error in schema.iter_errors(tomllib.loads(text))]


@pytest.mark.parametrize("title, piece", PIECES, ids=[title for title, _ in PIECES])
def test_the_schema_accepts_the_piece(schema, title, piece):
    assert not wrong(schema, piece)


@pytest.mark.parametrize("flags", [["--input", "fruits"], ["--target", "emr", "--region", "eu-west-3"]], ids=["local", "emr"])
def test_the_schema_accepts_what_init_writes(schema, tmp_path, flags):
    """As it is written, and without the signs before options that are commented out."""
    fruitctl("init", *flags, cwd=tmp_path)
    text = (tmp_path / "fruitctl.toml").read_text()
    named = re.match(r"#:schema \./(.*)\n", text)[1]
    assert json.loads((tmp_path / named).read_text()) == schema.schema
    options = re.sub(r"^# (?=\[|[\w.\"-]+ = )", "", text, flags=re.M).replace("variance = ", "# variance = ")
    assert len(tomllib.loads(options)["job"]) > len(tomllib.loads(text)["job"])
    assert not wrong(schema, text) and not wrong(schema, options)
    # Again, over both.
    fruitctl("init", *flags, "--force", cwd=tmp_path)


@pytest.mark.parametrize("text, words", [
    ("[job]\ncompnents = 3", "$.job: Additional properties are not allowed ('compnents' was unexpected)"),
    ("[cluster.core]\nspots = true", "'spots' was unexpected"),
    ('target = "locl"', "'locl' is not one of ['local', 'emr']"),
    ("[job]\nmax_rejects = \"some\"", "'some' does not match"),
    ("[job]\nvariance = 95", "95 is greater than the maximum of 1"),
    ("[cluster]\nmax_hours = 0", "0 is less than the minimum of 1"),
    ("[[cluster.bootstrap]]", "'script' is a required property"),
    ('project = "Fruits"', "'Fruits' does not match"),
])
def test_the_schema_refuses(schema, text, words):
    assert any(words in message for message in wrong(schema, text)), wrong(schema, text)


def test_the_tutorial_runs(tmp_path):
    """Its commands, one after another, in one shell and an empty folder."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "tutorial" / "first-run.md").read_text(), re.S)
    *blocks, clear = blocks
    path = os.pathsep.join([str(BIN), str(Path(sys.executable).parent), os.environ["PATH"]])

    def sh(script):
        return subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=os.environ | {"PATH": path},
                              check=True, capture_output=True, text=True, timeout=300).stdout

    said = sh("\n".join(blocks))
    for words in ["960 images of 24 labels", "64 numbers each", "nearest to", "961 images of 24 labels", "2 featurized", "1 x bad JPEG"]:
        assert words in said, f"{words}\n{said}"
    sh(clear)
    assert not any(tmp_path.iterdir())


def prose(page):
    """Its text without what is code."""
    text = re.sub(r"^ *(```|~~~).*?^ *\1 *$", "", page.read_text(), flags=re.S | re.M)
    return re.sub(r"`[^`]*`", "", text)


def anchors(page):
    """Names of its headings, as GitHub makes them."""
    names, text = set(), re.sub(r"^ *(```|~~~).*?^ *\1 *$", "", page.read_text(), flags=re.S | re.M)
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.M):
        name = re.sub(r"[^\w -]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)).lower().replace(" ", "-")
        again = 0
        while (unique := f"{name}-{again}" if again else name) in names:
            again += 1
        names.add(unique)
    return names


def links(page):
    """Files that it links to, and the anchors in them."""
    for target in re.findall(r"\[[^]]*\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield target, (page.parent / path).resolve() if path else page, anchor


def test_links_lead_somewhere():
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target, path, anchor in links(page)
        if not path.exists() or (anchor and anchor not in anchors(path))
    ]
    assert not dead, "\n".join(dead)


def test_each_page_of_the_docs_is_linked():
    found = {path for page in PAGES for _, path, _ in links(page) if path != page}
    lost = [str(page.relative_to(ROOT)) for page in PAGES if page.is_relative_to(ROOT / "docs") and page not in found]
    assert not lost, lost


def test_lines_are_not_too_long():
    """At most 100 columns. Rows of tables cannot be broken; a README has none that are longer."""
    readmes = {ROOT / "README.md", ROOT / "README.fr.md"}
    long = [
        f"{page.relative_to(ROOT)}:{number}: {len(line)}"
        for page in PAGES
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if len(line) > 100 and (page in readmes or not line.startswith("|"))
    ]
    assert not long, "\n".join(long)
    for readme in readmes:
        assert len(readme.read_text().splitlines()) <= 170, readme


def code(page):
    """Lines of its blocks of code: indented ones, and what is typed into a shell."""
    fence = None
    for line in page.read_text().splitlines():
        if mark := re.match(r" *```(\w*)", line):
            fence = None if fence is not None else mark[1]
        elif fence in ("sh", "console") or (fence is None and line.startswith("    ")):
            yield line


def test_each_guess_has_a_question():
    """Each file with a guess about AWS is named in the table of what only AWS can answer."""
    page = (ROOT / "docs" / "howto" / "first-real-run.md").read_text()
    named = set(re.findall(r"`([\w./-]+)`", "\n".join(line for line in page.splitlines() if line.startswith("|"))))
    files = [f for place in ("tests/emulator", "src") for f in sorted((ROOT / place).rglob("*.*")) if f.suffix in (".py", ".rs", ".toml")]
    guesses = [str(f.relative_to(ROOT)) for f in files if re.search(r"\bguess(es)?\b", f.read_text(), re.I)]
    assert guesses and not set(guesses) - named, set(guesses) - named
    assert not [name for name in named if "/" in name and not (ROOT / name).exists()]


def test_each_claim_of_the_threat_model_has_its_test():
    """By the names of tests that stand behind it."""
    page = (ROOT / "docs" / "explanation" / "threat-model.md").read_text()
    claims = page.split("## Claims")[1].split("\n## ")[0]
    places = [*(ROOT / "tests").glob("test_*.py"), *(ROOT / "src").rglob("*.rs"), *(ROOT / "jobs").glob("*/src/**/*.rs")]
    tests = set(re.findall(r"^\s*(?:async )?(?:def|fn) (\w+)\(", "\n".join(place.read_text() for place in places), re.M))
    named = re.findall(r"`(\w+_\w+_\w+)`", claims)
    assert len(named) > 15 and not set(named) - tests, set(named) - tests
    for claim in re.findall(r"^- (.*?)(?=^- |^$)", claims, re.M | re.S):
        assert set(re.findall(r"`(\w+)`", claim)) & tests, claim


def test_recordings_lose_what_identifies_people():
    """By what the page of the first real run says to type."""
    event = {"userIdentity": {"arn": "arn:aws:sts::210987654321:assumed-role/fruitctl-try/jane.doe", "accessKeyId": "ASIAZZZZZZZZZZZZZZZZ", "accountId": "210987654321"},
             "sourceIPAddress": "198.51.100.23", "recipientAccountId": "210987654321"}
    answer = {"Username": "jane.doe", "CloudTrailEvent": json.dumps(event), "Id": "j-1ABCDEF234567", "SubnetId": "subnet-0123456789abcdef0", "Uptime": 210987654321,
              "LogUri": "s3n://fruitctl-first-210987654321-eu-west-3/logs/", "MasterPublicDnsName": "ec2-198-51-100-23.eu-west-3.compute.amazonaws.com", "PrivateIpAddress": "10.77.0.9"}

    def masked(text):
        return subprocess.run([sys.executable, ROOT / "tests" / "mask.py"], input=text, check=True, capture_output=True, text=True).stdout

    said = json.loads(masked(json.dumps(answer)))
    assert said["status_code"] == 200
    for secret in ("jane", "ASIAZ", '"210987654321', "-210987654321-", "198.51", "198-51"):
        assert secret not in json.dumps(said), secret
    kept = {name: said["data"][name] for name in ("Id", "SubnetId", "Uptime", "PrivateIpAddress")}
    assert kept == {name: answer[name] for name in kept}
    assert json.loads(said["data"]["CloudTrailEvent"])["userIdentity"]["arn"] == "arn:aws:sts::123456789012:assumed-role/fruitctl-try/operator"
    log = masked("GET https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIAZZZZZZZZZZZZZZZZ%2F2026&X-Amz-Signature=0a1b of 210987654321 by jane@example.com")
    assert not re.search("ZZZ|0a1b|210987654321|jane", log), log


def test_commands_in_the_docs_exist():
    """Each 'fruitctl COMMAND --flag' is one that --help knows."""
    known, wrong = {}, []
    for page in PAGES:
        for line in [*code(page), *re.findall(r"`(fruitctl [^`\n]+)`", page.read_text())]:
            # Without comments, and up to another command.
            line = re.split(r"\s#|\s[|>&;]|\s--\s", line.removeprefix("$ "))[0]
            for name, rest in re.findall(r"(?:^|\s)fruitctl ([a-z]+)(.*)", line):
                if name not in known:
                    done = subprocess.run([BIN / "fruitctl", name, "--help"], capture_output=True, text=True)
                    known[name] = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", done.stdout)) if done.returncode == 0 else None
                if known[name] is None or set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", rest)) - known[name]:
                    wrong.append(f"{page.relative_to(ROOT)}: {line}")
    assert len(known) > 15 and not wrong, "\n".join(wrong)


def test_the_reference_has_each_option_of_fruitjob():
    """Its definitions are the executable's own; fruitctl's page lists them from what both share."""
    page = (ROOT / "docs" / "reference" / "commands.md").read_text()
    options = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", fruitjob("run", "--help").stdout)) - {"--help", "--engine"}
    assert len(options) > 15 and all(f"{option} " in page for option in options), options


def test_toolchains_are_as_documented():
    """A clone needs no compiler but the stable one; releases name theirs, which is not older than Cargo.toml promises."""
    channel = re.search(r'^channel = "(.*)"', (ROOT / "rust-toolchain.toml").read_text(), re.M)[1]
    released = re.search(r'RUSTUP_TOOLCHAIN: "(.*)"', (ROOT / ".github" / "workflows" / "release.yml").read_text())[1]
    oldest = re.search(r'^rust-version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    assert channel == "stable" and [int(x) for x in oldest.split(".")] <= [int(x) for x in released.split(".")]
    assert f"Rust {oldest}" in (ROOT / "README.md").read_text()


def test_the_number_of_crates_is_as_the_readme_says():
    """One more is a decision: say so there."""
    words = ["cargo", "tree", "--locked", "--package", "fruitctl", "--edges", "normal", "--prefix", "none", "--target", "x86_64-unknown-linux-gnu"]
    tree = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    crates = {line.removesuffix(" (*)") for line in tree.splitlines() if line}
    for readme in ["README.md", "README.fr.md"]:
        assert f"{len(crates)} crates" in (ROOT / readme).read_text(), f"{len(crates)} crates"


def test_all_that_is_compiled_stays_within_its_budget():
    """Whoever builds it pays for each crate, with build scripts and macros."""
    words = ["cargo", "tree", "--locked", "--workspace", "--edges", "normal,build", "--prefix", "none"]
    tree = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    crates = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    assert len(crates) <= 353, len(crates)


def test_the_cloud_half_does_without_the_job():
    """What talks to AWS is compiled, linked and tested without an inference engine, Arrow or linear algebra."""
    words = ["cargo", "tree", "--locked", "--package", "fruitctl", "--no-default-features", "--edges", "normal", "--prefix", "none"]
    tree = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    crates = {line.split()[0] for line in tree.splitlines() if line}
    assert "fruitjob-interface" in crates
    assert not crates & {"fruitjob", "mobilenet", "arrow-array", "parquet", "faer", "object_store", "rten", "libjpeg-turbo-rs", "png", "prost"}
