"""The report in a real browser, where Chromium is installed: it draws, and nothing fails."""

import re
import shutil
import subprocess

import pytest
from conftest import fruitctl

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium")


def drawn(out, folder):
    """What the report's script has made of the page."""
    page = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
         f"--user-data-dir={folder}/profile", "--virtual-time-budget=3000", "--dump-dom", f"file://{out}/report.html"],
        capture_output=True, text=True, timeout=120,
    )
    assert "Uncaught" not in page.stderr, page.stderr
    return page.stdout.split("</script>")[-1] + page.stdout.split("<script")[0]


def test_report_draws_itself(done, tmp_path):
    body = drawn(done, tmp_path)
    assert "<h1>480 images, 64 components</h1>" in body
    assert body.count("<figure>") == 12 and body.count("<img") == 48
    assert body.count("<rect") == 100, "bars of the scree plot"
    assert len(re.findall(r"<button", body)) == 12, "labels of the legend"
    assert "Since the results of" not in body


def test_it_says_what_changed_since_the_last_results(fruits, tmp_path):
    few, out = tmp_path / "few", tmp_path / "out"
    shutil.copytree(fruits / "Apple 1", few / "Apple 1")
    fruitctl("run", "-i", few, "-o", out)
    (few / "Apple 1" / "0_100.jpg").rename(few / "Apple 1" / "moved.jpg")
    fruitctl("run", "-i", few, "-o", out)
    body = drawn(out, tmp_path)
    assert "Since the results of" in body and "1 new, 0 changed, 1 removed" in body
