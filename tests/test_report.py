"""The report in a real browser, where Chromium is installed: it draws, and nothing fails."""

import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_report_draws_itself(done, tmp_path):
    page = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=3000", "--dump-dom", f"file://{done}/report.html"],
        capture_output=True, text=True, timeout=120,
    )
    assert "Uncaught" not in page.stderr, page.stderr
    body = page.stdout.split("</script>")[-1] + page.stdout.split("<script")[0]
    assert "<h1>480 images, 64 components</h1>" in body
    assert body.count("<figure>") == 12 and body.count("<img") == 48
    assert body.count("<rect") == 100, "bars of the scree plot"
    assert len(re.findall(r"<button", body)) == 12, "labels of the legend"
