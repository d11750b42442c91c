"""Who a command works as: each source of credentials, whole and broken, and what is said of it; two sources at once; and the
ways on which calls do not get through. A stub of STS, of IAM Identity Center's portal and of EMR's empty list answers here."""

import datetime
import http.server
import ipaddress
import json
import os
import re
import ssl
import threading
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import pytest
from conftest import fruitctl
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ACCOUNT = "123456789012"
# Access keys that STS knows, and whose they are. A region that is off knows none.
KEYS = {name: f"arn:aws:iam::{ACCOUNT}:user/{name}" for name in ("ENVIRONMENT", "PROFILE", "PROCESS", "LOGIN", "SSO", "BASE", "CONTAINER", "INSTANCE")}
KEYS |= {name: f"arn:aws:sts::{ACCOUNT}:assumed-role/{name.lower()}/s" for name in ("ROLE", "WEB")}
OFF = "me-central-1"


class Aws(http.server.BaseHTTPRequestHandler):
    """What the commands here ask for. The access key says who asks."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body, kind="text/xml"):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, code, message, status=403):
        self.reply(status, f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>")

    def do_GET(self):
        if self.path.startswith("/federation/credentials"):
            if self.headers.get("x-amz-sso_bearer_token") != "valid":
                return self.reply(401, json.dumps({"message": "Session token not found or invalid", "__type": "UnauthorizedException"}), "application/json")
            keys = {"accessKeyId": "SSO", "secretAccessKey": "x", "sessionToken": "x", "expiration": 4102444800000}
            return self.reply(200, json.dumps({"roleCredentials": keys}), "application/json")
        if self.path == "/container":
            return self.reply(200, json.dumps({"AccessKeyId": "CONTAINER", "SecretAccessKey": "x", "Token": "x", "Expiration": "2099-01-01T00:00:00Z"}), "application/json")
        # An instance's role, by IMDSv2.
        if self.path == "/latest/meta-data/iam/security-credentials/":
            return self.reply(200, "nodes", "text/plain")
        if self.path.startswith("/latest/meta-data/iam/security-credentials"):
            keys = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "INSTANCE", "SecretAccessKey": "x", "Token": "x",
                    "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z"}
            return self.reply(200, json.dumps(keys), "text/plain")
        self.reply(404, "")

    def do_PUT(self):
        self.send_response(200)
        self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"t")

    def do_CONNECT(self):
        self.send_response(407 if self.path.startswith("sts.eu-west-3") else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if "X-Amz-Target" in self.headers:
            return self.reply(200, '{"Clusters": []}', "application/x-amz-json-1.1")
        asked = {key: values[0] for key, values in parse_qs(body).items()}
        credential = re.search(r"Credential=([^/]+)/\d+/([^/]+)/", self.headers.get("Authorization", ""))
        key, region = credential.groups() if credential else (None, None)
        if asked["Action"] == "GetCallerIdentity":
            if key not in KEYS or region == OFF:
                return self.refuse("InvalidClientTokenId", "The security token included in the request is invalid.")
            return self.reply(200, f"<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{KEYS[key]}</Arn><UserId>x</UserId>"
                                   f"<Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>")
        if asked["Action"] == "DescribeSecurityGroups":
            return self.reply(200, "<DescribeSecurityGroupsResponse><securityGroupInfo/></DescribeSecurityGroupsResponse>")
        made = "WEB" if asked["Action"] == "AssumeRoleWithWebIdentity" else "ROLE"
        if asked["RoleArn"].endswith("/denied") or asked.get("WebIdentityToken") == "stale":
            who = f"User: {KEYS.get(key, 'nobody')} is not authorized to perform: sts:{asked['Action']} on resource: {asked['RoleArn']}"
            return self.refuse("InvalidIdentityToken" if made == "WEB" else "AccessDenied", "Token is expired" if made == "WEB" else who)
        self.reply(200, f"<{asked['Action']}Response><{asked['Action']}Result><Credentials><AccessKeyId>{made}</AccessKeyId><SecretAccessKey>x</SecretAccessKey>"
                        f"<SessionToken>x</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
                        f"<AssumedRoleUser><AssumedRoleId>A:s</AssumedRoleId><Arn>{KEYS[made]}</Arn></AssumedRoleUser></{asked['Action']}Result></{asked['Action']}Response>")


def serve(context=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Aws)
    server.daemon_threads = True
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def stub():
    server = serve()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def place(stub, tmp_path):
    return Place(stub, tmp_path)


class Place:
    """A machine with a home of its own and nothing of this one's."""

    def __init__(self, endpoint, folder):
        self.folder, self.config = folder, folder / "aws-config"
        (folder / "bin").mkdir()
        self.env = {k: v for k, v in os.environ.items() if not k.upper().startswith("AWS_") and not k.upper().endswith("_PROXY")} | {
            "HOME": str(folder), "AWS_CONFIG_FILE": str(self.config), "AWS_SHARED_CREDENTIALS_FILE": str(folder / "aws-credentials"),
            "AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "eu-west-3",
            "XDG_DATA_HOME": str(folder / "data"), "FRUITCTL_PACE": "0.001", "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
        self.write()

    def write(self, aws=""):
        (self.folder / "fruitctl.toml").write_text(f'target = "emr"\nproject = "who"\n[aws]\n{aws}')

    def program(self, name, script):
        file = self.folder / "bin" / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def run(self, *args, **kwargs):
        return fruitctl(*args, cwd=self.folder, env=self.env, **kwargs)


@dataclass
class Case:
    """A source: what is set and written, and what comes of it: a key that STS knows, or what is said and advised."""

    env: dict = field(default_factory=dict)
    config: str = ""
    files: dict = field(default_factory=dict)
    programs: dict = field(default_factory=dict)
    key: str = ""
    says: tuple = ()
    remedy: str = ""


def keys(name):
    return {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": "x"}


def printed(name):
    return "echo '" + json.dumps({"Version": 1, "AccessKeyId": name, "SecretAccessKey": "x", "SessionToken": "x", "Expiration": "2099-01-01T00:00:00Z"}) + "'"


P = {"AWS_PROFILE": "p"}
BASE = "[profile base]\naws_access_key_id = BASE\naws_secret_access_key = x\n"
SSO = ("[profile p]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\n"
       "[sso-session s]\nsso_region = eu-west-3\nsso_start_url = https://x.awsapps.com/start\nsso_registration_scopes = sso:account:access\n")
# The SHA-1 of the session's name.
SSO_FILE = ".aws/sso/cache/a0f1490a20d0211c997b44bc357e1972deab8ae3.json"
LOGIN = "[profile p]\nlogin_session = arn:aws:iam::123456789012:user/a\n"
WEB = {"AWS_WEB_IDENTITY_TOKEN_FILE": "token", "AWS_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/web"}


def sso(token, until):
    return {SSO_FILE: json.dumps({"accessToken": token, "expiresAt": until, "region": "eu-west-3", "startUrl": "https://x.awsapps.com/start"})}


CASES = {
    "environment": Case(keys("ENVIRONMENT"), key="ENVIRONMENT"),
    "environment, wrong key": Case(keys("NOBODY"), says=("InvalidClientTokenId",), remedy="check the access key"),
    "environment, half": Case({"AWS_ACCESS_KEY_ID": "ENVIRONMENT"}, says=("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not",), remedy="set AWS_SECRET_ACCESS_KEY too"),
    "profile": Case(P, "[profile p]\naws_access_key_id = PROFILE\naws_secret_access_key = x\n", key="PROFILE"),
    "profile, none of the name": Case(P, BASE, says=("there is no profile 'p' (AWS_PROFILE)",), remedy="aws configure list-profiles"),
    "profile, empty": Case(P, "[profile p]\nregion = eu-west-3\n", says=("profile 'p' (AWS_PROFILE) has no credentials in it",), remedy="aws login --profile p"),
    "profile of settings alone, on an instance": Case(P | {"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "{endpoint}"},
                                                      "[profile p]\nregion = eu-west-3\n", key="INSTANCE"),
    "instance": Case({"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "{endpoint}"}, key="INSTANCE"),
    "profile, unreadable": Case(P, "[profile p\n", says=("profile 'p' (AWS_PROFILE) cannot be read", "aws-config"), remedy="correct ~/.aws/config"),
    "role": Case(P, BASE + f"[profile p]\nrole_arn = arn:aws:iam::{ACCOUNT}:role/role\nsource_profile = base\n", key="ROLE"),
    "role, denied": Case(P, BASE + f"[profile p]\nrole_arn = arn:aws:iam::{ACCOUNT}:role/denied\nsource_profile = base\n",
                         says=("sts:AssumeRole failed: AccessDenied", "user/BASE is not authorized"), remedy="allow sts:AssumeRole on the role"),
    "role, loop": Case(P, "[profile p]\nrole_arn = x\nsource_profile = q\n[profile q]\nrole_arn = x\nsource_profile = p\n",
                       says=("leads in a circle: source_profile goes p -> q -> p",), remedy="credentials of its own"),
    "role, no source": Case(P, "[profile p]\nrole_arn = x\nsource_profile = gone\n", says=("'p' has source_profile = gone, and there is no such profile",), remedy="aws configure list-profiles"),
    "SSO": Case(P, SSO, sso("valid", "2099-01-01T00:00:00Z"), key="SSO"),
    "SSO, never": Case(P, SSO, says=("profile 'p' (AWS_PROFILE) has no valid SSO session",), remedy="aws sso login --profile p"),
    "SSO, expired": Case(P, SSO, sso("valid", "2020-01-01T00:00:00Z"), says=("has no valid SSO session", "expired"), remedy="aws sso login --profile p"),
    "SSO, revoked": Case(P, SSO, sso("revoked", "2099-01-01T00:00:00Z"), says=("has no valid SSO session", "Session token not found or invalid"), remedy="aws sso login --profile p"),
    "process": Case(P, "[profile p]\ncredential_process = keys-of-ours\n", programs={"keys-of-ours": printed("PROCESS")}, key="PROCESS"),
    "process, fails": Case(P, "[profile p]\ncredential_process = keys-of-ours\n", programs={"keys-of-ours": "echo the vault is sealed >&2; exit 3"},
                           says=("the credential_process of profile 'p' (AWS_PROFILE) failed", "the vault is sealed"), remedy="aws sts get-caller-identity --profile p"),
    "process, not there": Case(P, "[profile p]\ncredential_process = keys-of-ours\n", says=("the credential_process of profile 'p' (AWS_PROFILE) failed", "not found"), remedy="aws sts get-caller-identity --profile p"),
    "web identity": Case(WEB, files={"token": "jwt"}, key="WEB"),
    "web identity, no file": Case(WEB, says=("the environment (AWS_WEB_IDENTITY_TOKEN_FILE) has no token", "No such file"), remedy="whether the file that is named holds a token"),
    "web identity, half": Case({"AWS_WEB_IDENTITY_TOKEN_FILE": "token"}, says=("AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not",), remedy="set AWS_ROLE_ARN too"),
    "web identity, refused": Case(WEB, files={"token": "stale"}, says=("sts:AssumeRoleWithWebIdentity failed: InvalidIdentityToken: Token is expired",), remedy="trust policy"),
    "login": Case(P, LOGIN, programs={"aws": f'[ "$*" = "configure export-credentials --profile p --format process" ] || exit 9\n{printed("LOGIN")}'}, key="LOGIN"),
    "login, expired": Case(P, LOGIN, programs={"aws": "echo Your session has expired. >&2; exit 255"}, says=("is a session of 'aws login'", "Your session has expired."), remedy="aws login --profile p"),
    "login, as a source": Case(P, LOGIN.replace("profile p", "profile base") + "[profile p]\nrole_arn = x\nsource_profile = base\n", programs={"aws": printed("LOGIN")}, key="LOGIN"),
    "container": Case({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "{endpoint}/container"}, key="CONTAINER"),
    "container, refused": Case({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "{endpoint}/gone"}, says=("the environment (this container's role) gives no credentials",), remedy="aws sts get-caller-identity"),
    "none": Case(says=("there are no AWS credentials",), remedy="aws sso login"),
}


def arrange(place, case):
    place.env |= {name: value.format(endpoint=place.env.get("AWS_ENDPOINT_URL")) for name, value in case.env.items()}
    place.config.write_text(case.config)
    for name, text in case.files.items():
        (place.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (place.folder / name).write_text(text)
    for name, script in case.programs.items():
        place.program(name, script)


@pytest.mark.parametrize("name", CASES)
def test_each_source_is_told_as_what_it_is(place, name):
    case = CASES[name]
    arrange(place, case)
    if case.key:
        # One that reads says nothing of it; one that changes says as whom.
        assert json.loads(place.run("policy").stdout)
        said = place.run("sweep").stderr
        assert f"as {KEYS[case.key]} in account {ACCOUNT}, region eu-west-3; credentials: " in said, said
        assert f"{KEYS[case.key]} in account" in place.run("doctor", code=None).stdout
        return
    for command in ("policy", "sweep", "doctor"):
        done = place.run(command, code=2 if command == "doctor" else 4)
        said = done.stdout + done.stderr
        for words in (*case.says, case.remedy):
            assert words in said, (command, said)
        assert "there are no AWS credentials" not in said or name == "none", said


COMMANDS = [["plan"], ["up"], ["status"], ["down"], ["sweep"], ["doctor"], ["policy"], ["upload", "."], ["runs"], ["logs"], ["results"], ["prune"],
            ["run"], ["clone", "x"], ["ssh"], ["tunnel"], ["up", "--dry-run"], ["init", "--ci", "github", "--repository", "o/n"]]


def test_every_command_tells_it(place):
    arrange(place, CASES["role, denied"])
    for command in COMMANDS:
        done = place.run(*command, code=2 if command == ["doctor"] else 4)
        assert "sts:AssumeRole failed: AccessDenied" in done.stdout + done.stderr, (command, done.stdout, done.stderr)


TWO = "[profile p]\naws_access_key_id = PROFILE\naws_secret_access_key = x\n[profile same]\naws_access_key_id = ENVIRONMENT\naws_secret_access_key = x\n"


@pytest.fixture
def both(place):
    """Credentials of the environment's, and a profile in fruitctl.toml."""
    place.env |= keys("ENVIRONMENT")
    place.config.write_text(TWO)
    place.write('profile = "p"\n')
    return place


def test_a_profile_of_the_file_stands_in_for_the_environment(both):
    for name in keys(""):
        del both.env[name]
    assert f"as {KEYS['PROFILE']} in" in both.run("sweep").stderr
    both.env["AWS_PROFILE"] = "p"
    assert f"as {KEYS['PROFILE']} in" in both.run("sweep").stderr


@pytest.mark.parametrize("variables", [keys("ENVIRONMENT"), {"AWS_PROFILE": "same"}, WEB])
def test_where_both_are_there_somebody_has_to_choose(both, variables):
    for name in keys(""):
        del both.env[name]
    both.env |= variables
    (both.folder / "token").write_text("jwt")
    used = KEYS["WEB" if variables is WEB else "ENVIRONMENT"]
    said = both.run("policy").stderr
    assert f"is {used}, and profile 'p' (fruitctl.toml) is {KEYS['PROFILE']}" in said and "are used" in said, said
    for command in [["sweep"], ["up"], ["down"], ["prune"], ["upload", "."], ["run"]][:None if variables == keys("ENVIRONMENT") else 1]:
        said = both.run(*command, code=2).stderr
        assert "nothing was changed" in said and "--profile environment, or with --profile p" in said, (command, said)
    assert "one identity" in both.run("doctor", code=2).stdout
    assert f"as {used} in" in both.run("sweep", "--profile", "environment").stderr
    assert f"as {KEYS['PROFILE']} in" in both.run("sweep", "--profile", "p").stderr
    assert "two sets" not in both.run("policy", "--profile", "p").stderr


def test_a_default_profile_hides_no_choice(both):
    """AWS's SDKs take it before a web identity; that both are there is told all the same."""
    for name in keys(""):
        del both.env[name]
    both.config.write_text(TWO.replace("profile same", "default"))
    assert f"as {KEYS['PROFILE']} in" in both.run("sweep").stderr
    both.env |= WEB
    (both.folder / "token").write_text("jwt")
    assert f"profile 'default' is {KEYS['ENVIRONMENT']}" in both.run("sweep", code=2).stderr


def test_where_both_are_the_same_nobody_has_to(both):
    both.write('profile = "same"\n')
    assert "two sets" not in both.run("policy").stderr
    assert f"as {KEYS['ENVIRONMENT']} in" in both.run("sweep").stderr
    # One that is on other machines only, too.
    both.write('profile = "colleagues"\n')
    assert f"as {KEYS['ENVIRONMENT']} in" in both.run("sweep").stderr
    # What cannot be compared is not the same.
    both.config.write_text(SSO)
    both.write('profile = "p"\n')
    said = both.run("sweep", code=2).stderr
    assert "cannot be compared with it" in said and "no valid SSO session" in said, said
    assert f"as {KEYS['ENVIRONMENT']} in" in both.run("sweep", "--profile", "environment").stderr


def test_an_endpoint_of_the_environment_is_named(place):
    place.env |= keys("ENVIRONMENT")
    warning = "warning: AWS_ENDPOINT_URL is set"
    assert warning in place.run("sweep").stderr and warning not in place.run("sweep", "--dry-run").stderr


def test_an_endpoint_of_the_profile_is_named(place, stub):
    place.env |= keys("ENVIRONMENT")
    del place.env["AWS_ENDPOINT_URL"]
    place.config.write_text(f"[default]\nendpoint_url = {stub}\nservices = here\n[services here]\ns3 =\n  endpoint_url = {stub}/s3\n")
    said = place.run("sweep").stderr
    assert f"warning: endpoint_url in the AWS profile is set: calls go to {stub} " in said, said
    assert f"warning: endpoint_url of s3 in the AWS profile is set: calls go to {stub}/s3 " in said, said


def test_a_region_that_is_off_is_told_from_a_wrong_key(place):
    place.env |= keys("ENVIRONMENT")
    said = place.run("policy", "--region", OFF, code=4).stderr
    assert f"it is an opt-in region that is off in this account" in said and "aws account get-region-opt-status" in said, said
    place.env |= keys("NOBODY")
    said = place.run("policy", "--region", OFF, code=4).stderr
    assert "opt-in" not in said and "check the access key" in said, said


def certificate(folder, days=1):
    """A CA's certificate and one that it issued for 127.0.0.1, valid for some days from now, or until some days ago."""
    now = datetime.datetime.now(datetime.timezone.utc)
    until = now + datetime.timedelta(days=days)
    pair = []
    for name, ca in (("ca", True), ("server", False)):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        issuer, signer = (subject, key) if ca else pair[0]
        made = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=9)).not_valid_after(until)
                .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
                .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False).sign(signer, hashes.SHA256()))
        (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        pair.append((subject, key))
    (folder / "server.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


@pytest.mark.parametrize("days,what,remedy", [(1, "an authority that is not trusted here", "AWS_CA_BUNDLE=FILE.pem"), (-1, "not valid now", "check this machine's clock")])
def test_certificates(place, days, what, remedy):
    place.env |= keys("ENVIRONMENT")
    server = serve(certificate(place.folder, days))
    place.env["AWS_ENDPOINT_URL"] = f"https://127.0.0.1:{server.server_port}"
    if days < 0:
        place.env["AWS_CA_BUNDLE"] = "ca.pem"
    said = place.run("policy", code=7).stderr
    assert what in said and remedy in said, said
    if days > 0:
        place.env["AWS_CA_BUNDLE"] = "ca.pem"
        assert json.loads(place.run("policy").stdout)
        # Or by the profile, as AWS's other tools take it.
        del place.env["AWS_CA_BUNDLE"]
        place.config.write_text("[default]\nca_bundle = ca.pem\n[profile p]\nca_bundle = gone.pem\n")
        assert json.loads(place.run("policy").stdout)
        said = place.run("policy", "--profile", "p", code=2).stderr
        assert "ca_bundle of the AWS profile names gone.pem" in said, said
    server.shutdown()
    server.server_close()


def test_a_bundle_without_certificates_is_named(place):
    place.env |= keys("ENVIRONMENT")
    (place.folder / "empty.pem").write_text("nothing\n")
    for file, what in (("gone.pem", "cannot be read"), ("empty.pem", "no certificate is in it")):
        place.env["AWS_CA_BUNDLE"] = file
        said = place.run("policy", code=2).stderr
        assert f"AWS_CA_BUNDLE names {file}: " in said and what in said, said


WAYS = {
    "name": ({"AWS_ENDPOINT_URL": "http://aws.invalid"}, "the name of the endpoint was not found (DNS)", "check the region's name"),
    "refused": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "the endpoint refuses connections", "AWS_ENDPOINT_URL and firewalls"),
    "no TLS": ({"AWS_ENDPOINT_URL": "https{stub}"}, "TLS failed", "check what stands between"),
    "proxy": ({"AWS_ENDPOINT_URL": "", "HTTPS_PROXY": "http://u:secret@127.0.0.1:9"}, "the proxy 127.0.0.1:9 refuses connections", "check HTTPS_PROXY"),
    "proxy's login": ({"AWS_ENDPOINT_URL": "", "HTTPS_PROXY": "http{stub}"}, "asks for a login", "HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"),
    "proxy's refusal": ({"AWS_ENDPOINT_URL": "", "HTTPS_PROXY": "http{stub}", "AWS_REGION": "eu-west-1"}, "does not let it through", "through the proxy"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_does_not_get_through_is_told_apart(place, stub, way):
    env, what, remedy = WAYS[way]
    place.env |= keys("ENVIRONMENT") | {name: value.format(stub=stub.removeprefix("http")) for name, value in env.items()}
    if not place.env["AWS_ENDPOINT_URL"]:
        del place.env["AWS_ENDPOINT_URL"]
    said = place.run("policy", code=7).stderr
    assert what in said and remedy in said and "secret" not in said, said
    # And where STS has to be asked for the credentials themselves.
    for name in keys(""):
        del place.env[name]
    arrange(place, Case(WEB, files={"token": "jwt"}))
    said = place.run("policy", code=7).stderr
    assert "(AWS_WEB_IDENTITY_TOKEN_FILE) gives no credentials" in said and what in said and remedy in said, said
