"""Ten mistakes that people make: what docs/howto/troubleshooting.md quotes is what they see, with the exit code and the remedy."""

import json
import re

import pytest
from conftest import ROOT, fruitctl
from emulator import Emulator, Fault
from stack import Project

PAGE = (ROOT / "docs" / "howto" / "troubleshooting.md").read_text()


@pytest.fixture(scope="module")
def aws():
    with Emulator(nodes=False, start=0.05, bootstrap=0.01, terminate=0.02, propagation=0) as aws:
        yield aws


@pytest.fixture
def project(aws, tmp_path):
    yield Project(aws, tmp_path, "errors")
    aws.faults.clear()
    aws.emr.stop()


def check(done, quote, *more):
    """The page quotes it, and the message is like that: `…` stands for anything."""
    assert f"`{quote}`" in PAGE, f"docs/howto/troubleshooting.md does not quote `{quote}`"
    pattern = ".*".join(re.escape(part) for part in quote.split("…"))
    said = done.stdout + done.stderr
    assert re.search(pattern, said), said
    for words in more:
        assert words in said, said
    assert "panicked" not in said


def write(tmp_path, text):
    (tmp_path / "fruitctl.toml").write_text(text)


def test_a_wrong_key(tmp_path):
    write(tmp_path, '[job]\ninptu = "fruits"\n')
    check(fruitctl("run", cwd=tmp_path, code=2), "unknown key '…'; did you mean '…'?", "fruitctl.toml:2:1", "'input'?", "^^^^^")


def test_a_wrong_value_and_a_wrong_command(tmp_path):
    write(tmp_path, '[job]\nengine = "sprak"\n')
    check(fruitctl("run", cwd=tmp_path, code=2), "unknown value '…'; did you mean '…'?", "fruitctl.toml:2:10", "'spark'?")
    assert "a similar subcommand exists: 'runs'" in fruitctl("rnu", code=2).stderr
    assert "a similar argument exists: '--input'" in fruitctl("run", "--inptu", "x", code=2).stderr


def test_a_wrong_region(project):
    check(project.run("plan", "--region", "eu-west-33", code=2), "nobody answers in region '…'", "did you mean eu-west-3?")


def test_another_partition(project):
    check(project.run("plan", "--region", "cn-north-1", code=2), "region … is in the partition …, where fruitctl was never tried", "aws-cn")


def test_what_emr_lacks(project):
    project.configure('release = "emr-6.1.0"\n')
    check(project.run("plan", code=2), "emr-… cannot require IMDSv2", "emr-6.2.0 and later")
    project.configure('release = "emr-6.3.0"\n')
    check(project.run("plan", code=2), "would end the cluster after … minutes of a step", "set idle_minutes = 0")
    project.configure("")
    check(project.run("plan", "--region", "me-south-1", code=2), "EMR has not … in …", "set idle_minutes = 0")


def test_an_organisations_denial(aws, project):
    deny = {"Effect": "Deny", "Action": "s3:CreateBucket", "Resource": "*"}
    aws.organization[:] = [{"Version": "2012-10-17", "Statement": [deny]}]
    try:
        check(project.run("up", code=4), "your organisation denies …", "[aws.tags]")
    finally:
        aws.organization.clear()


def test_no_credentials(project):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        project.env.pop(name)
    check(project.run("plan", code=4), "there are no AWS credentials", "aws sso login")


def test_an_expired_token(aws, project):
    aws.faults.append(Fault("*", "expire"))
    check(project.run("plan", code=4), "ExpiredToken", "log in again")


def test_a_typo_in_an_instance_type(project):
    project.configure('[cluster.primary]\ntypes = ["m5.xlarg"]\n')
    check(project.run("doctor", code=2), "does not support …; did you mean …?", "m5.xlarge?")


def test_no_such_bucket(project, tmp_path):
    check(project.run("run", "--target", "local", "-i", "s3://no-such-bucket-of-ours/x", "-o", tmp_path / "out", code=2,
                      ), "there is no such bucket", "cannot list s3://no-such-bucket-of-ours/x")
    check(project.run("run", "-i", "s3://no-such-bucket-of-ours/x", code=2), "there is no such bucket", "no-such-bucket-of-ours")
    assert project.exists() == {}


def test_places_are_looked_at_before_anything_is_made(aws, project):
    """An empty input, data that may not leave their place, a folder that cannot be written, a script from Windows."""
    far = aws.client("s3", "us-east-1")
    far.create_bucket(Bucket="far-away")
    near = aws.client("s3")
    near.create_bucket(Bucket="pictures", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    near.put_object(Bucket="pictures", Key="fruits/apple/1.jpg", Body=b"")
    there = project.exists()
    executable = ("--executable", "/bin/true")
    done = fruitctl("run", *executable, cwd=project.folder, env=project.env, code=2)
    check(done, "there are no images below …: nothing was uploaded yet", "fruitctl upload FOLDER")
    check(project.run("run", "--input", "s3://pictures/friuts", *executable, code=2), "the input … is empty: no key begins with it", "aws s3 ls s3://pictures/")
    folder = project.folder / "file"
    folder.write_text("")
    done = project.run("run", "--input", "s3://pictures/fruits", "--download", folder, *executable, code=2)
    check(done, "the report cannot be written to …", "--download FOLDER")
    project.configure('[job]\ninput = "s3://pictures/fruits"\n')
    text = (project.folder / "fruitctl.toml").read_text().replace("[aws]", '[aws]\nallowed_regions = ["eu-*"]')
    (project.folder / "fruitctl.toml").write_text(text)
    for name in ("input", "output"):
        done = project.run("run", f"--{name}", "s3://far-away/fruits", *executable, code=2)
        check(done, "bucket … is in …, which is not among the allowed_regions", f"the {name}'s bucket far-away is in us-east-1")
    project.configure("[[cluster.bootstrap]]\nscript = \"windows.sh\"\n")
    (project.folder / "windows.sh").write_bytes(b"#!/bin/bash\r\necho plums\r\n")
    check(project.run("up", code=2), "has lines that end in CR LF", "sed -i 's/\\r$//' windows.sh")
    assert project.exists() == there


def test_no_permission(aws, project):
    aws.faults.append(Fault("iam:CreateRole", "deny"))
    check(project.run("up", code=4), "… failed: AccessDenied", "allow iam:CreateRole", "fruitctl policy")


def test_a_bad_model_path(fruits, tmp_path):
    check(fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "--model", "no/such.onnx", code=2), "model …: not found", "'builtin'")
    (tmp_path / "text.onnx").write_text("hello")
    check(fruitctl("run", "-i", fruits, "-o", tmp_path / "out", "--model", tmp_path / "text.onnx", code=2), "it is not an ONNX file")


def test_a_wrong_image_folder(tmp_path):
    check(fruitctl("run", "-i", tmp_path / "nowhere", "-o", tmp_path / "out", code=2), "input …: not found")
    (tmp_path / "empty").mkdir()
    check(fruitctl("run", "-i", tmp_path / "empty", "-o", tmp_path / "out", code=2), "no image below …", "one folder a label")


def test_no_default_vpc(aws, project):
    ec2 = aws.client("ec2", "eu-west-2")
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    check(project.run("plan", "--region", "eu-west-2", code=2), "has no default VPC, or it has no subnets", "create-default-vpc")


def test_an_estimate_makes_nothing(aws, project):
    """Neither resources nor a lock; it needs a pace and prices, and says where they are from."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="orchard", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    for n in range(1200):
        s3.put_object(Bucket="orchard", Key=f"apple/{n}.jpg", Body=b"")
    before, there = len(aws.log), project.exists()
    done = project.run("run", "--input", "s3://orchard", "--estimate", "--json")
    found = json.loads(done.stdout)
    # Four vCPUs at the pace that is assumed, after ten minutes.
    assert (found["images"], found["images_per_second"], found["start_seconds"], found["as_in"]) == (1200, 1000, 600, None)
    assert 0.05 < found["dollars"] < 0.3 and found["here_seconds"] < 600
    assert "1,200 images" in done.stderr and "(assumed)" in done.stderr and "this machine would take about" in done.stderr, done.stderr
    calls = {entry["call"] for entry in aws.log[before:] if entry["key"] == project.key}
    assert not [call for call in calls if not re.search(":(Describe|List|Get|Head)", call)] and project.exists() == there, calls
    assert "--target emr" in fruitctl("run", "--estimate", cwd=project.folder.parent, code=2).stderr
