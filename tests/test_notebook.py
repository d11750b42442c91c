"""notebooks/explore.ipynb runs, from its first cell to its last, on the results of a run."""

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient


@pytest.mark.slow
def test_the_notebook_runs(done, fruits, monkeypatch):
    monkeypatch.setenv("FRUITCTL_OUTPUT", str(done))
    monkeypatch.setenv("FRUITCTL_INPUT", str(fruits))
    notebook = nbformat.read(ROOT / "notebooks" / "explore.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "480 images of 12 labels" in printed and "the nearest neighbour has the same label for" in printed
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
