"""The notebook runs from its first cell to its last, and is stored without outputs."""

from __future__ import annotations

import pytest

from tests.docs.snippets import DOCS, ROOT

NOTEBOOK = DOCS / "notebooks" / "first_answer.ipynb"
PARTS = DOCS / "notebooks" / "parts.ipynb"


@pytest.mark.shipped
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs(monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="needs tips-med[docs]")
    nbclient = pytest.importorskip("nbclient", reason="needs tips-med[docs]")
    pytest.importorskip("ipykernel", reason="needs tips-med[docs]")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    ran = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=str(ROOT))
    outputs = [output for cell in ran.cells if cell.cell_type == "code" for output in cell.outputs]
    said = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert "Mass in the left lung: present" in said
    assert "between-thresholds" in said
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.shipped
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_of_the_parts_runs(monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="needs tips-med[docs]")
    nbclient = pytest.importorskip("nbclient", reason="needs tips-med[docs]")
    for module, extra in (("ipykernel", "docs"), ("ignite", "monai"), ("torchio", "torchio")):
        pytest.importorskip(module, reason=f"needs tips-med[{extra}]")
    notebook = nbformat.read(PARTS, as_version=4)
    nbformat.validate(notebook)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    ran = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=str(ROOT))
    outputs = [output for cell in ran.cells if cell.cell_type == "code" for output in cell.outputs]
    said = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert said.count("Mass in the left lung: present") == 2  # MONAI's crop and TorchIO's: one answer
    assert "'monai_dice': 0.75, 'tips_dice': 0.75" in said
    assert "steps 1" in said


@pytest.mark.parametrize("path", [NOTEBOOK, PARTS], ids=lambda path: path.stem)
def test_the_notebook_is_stored_without_outputs(path):
    import json

    cells = json.loads(path.read_text("utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
