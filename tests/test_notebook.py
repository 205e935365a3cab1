"""The notebook of the examples runs from top to bottom, in a kernel of its own."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "notebooks" / "digits.ipynb"


def run(folder: Path) -> nbformat.NotebookNode:
    """Return the executed notebook; a cell that raises is an error."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=800, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    return client.execute()


def test_every_cell_runs_and_answers(tmp_path: Path) -> None:
    cells = [cell for cell in run(tmp_path).cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in cells)
    shown = [output.data for cell in cells for output in cell.outputs if output.output_type == "execute_result"]
    assert any("<iframe srcdoc=" in data.get("text/html", "") for data in shown)
    assert any(data.get("text/plain") == "True" for data in shown)
    names = "\n".join(cell.source for cell in cells)
    assert len([line for line in names.splitlines() if line.strip()]) <= 20
