"""The same job with images and results in Azure's storage, as Azurite has it."""

import os
import re
import shutil
import subprocess

import pytest
from conftest import BIN, check_complete, digests, fruitctl
from azure.storage.blob import BlobServiceClient

AZURITE = BIN.parent / "npm" / "node_modules" / ".bin" / "azurite-blob"
# Everybody's: https://learn.microsoft.com/azure/storage/common/storage-use-azurite#well-known-storage-account-and-key
ACCOUNT, KEY = "devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

pytestmark = pytest.mark.skipif(not AZURITE.exists(), reason="no Azurite here: npm is missing")


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    """(a client of the container `fruits`, the environment of who works on it)."""
    words = [AZURITE, "--blobPort", "0", "--inMemoryPersistence", "--skipApiVersionCheck"]
    process = subprocess.Popen(words, cwd=tmp_path_factory.mktemp("azurite"), stdout=subprocess.PIPE, text=True)
    try:
        endpoint = next(found[0] for line in process.stdout if (found := re.search(r"http://[\d.]+:\d+", line)))
        service = BlobServiceClient(f"{endpoint}/{ACCOUNT}", credential=KEY)
        env = os.environ | {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": endpoint}
        yield service.create_container("fruits"), env
    finally:
        process.kill()
        process.wait()


def download(client, prefix, folder):
    for blob in client.list_blob_names(name_starts_with=f"{prefix}/"):
        target = folder / blob.removeprefix(f"{prefix}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(client.download_blob(blob).readall())


def test_azure_gives_the_same_bytes_as_a_directory(azure, fruits, done, tmp_path):
    client, env = azure
    for file in sorted(fruits.rglob("*.jpg")):
        client.upload_blob(f"in/{file.relative_to(fruits)}", file.read_bytes())
    args = ["run", "-i", "az://fruits/in", "-o", "az://fruits/out"]
    fruitctl(*args, env=env)
    download(client, "out", tmp_path / "out")
    assert check_complete(tmp_path / "out")["images"]["featurized"] == 480
    assert digests(tmp_path / "out") == digests(done)

    # The next night: one more picture, one taken away.
    client.upload_blob("in/Fig 1/new.jpg", (fruits / "Fig 1/0_100.jpg").read_bytes())
    client.delete_blob("in/Fig 1/1_100.jpg")
    fruitctl(*args, env=env)
    shutil.rmtree(tmp_path / "out")
    download(client, "out", tmp_path / "out")
    images = check_complete(tmp_path / "out")["images"]
    assert images["featurized"] == 1 and images["cached"] == 479


def test_a_container_that_is_not_there(azure, tmp_path):
    _, env = azure
    message = fruitctl("run", "-i", "az://none/in", "-o", tmp_path / "out", env=env, code=None).stderr
    assert "az://none/in" in message, message
