"""Executes the notebooks and stores their outputs: ``python -m tests.run_notebooks [NAME ...]``, or ``make notebooks``.

Stored is what a reader sees, and a digest of the code that made it. Times, identities of the kernel and the like are left out, so
that a notebook changes where its code or its results do.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
OWN = "finn_vitprune"
"""Key of what is ours in the metadata of a notebook."""
CELL_S = 1500


def read(path: Path) -> NotebookNode:
    """A notebook file."""
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Its cells of code, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def digest(notebook: NotebookNode) -> str:
    """Tells one code from another: SHA-256 of all cells of code, the first 16 digits."""
    return hashlib.sha256("\0".join(cell.source for cell in code_cells(notebook)).encode()).hexdigest()[:16]


def execute(path: Path, folder: Path) -> NotebookNode:
    """The notebook with its outputs, run from top to bottom in ``folder``.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = read(path)
    NotebookClient(
        notebook, timeout=CELL_S, kernel_name=KERNEL["name"], coalesce_streams=True, record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    ).execute()  # fmt: skip
    return tidied(notebook)


def tidied(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what differs from run to run, and with the digest of its code."""
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", NotebookNode()
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"}, **{OWN: {"executed": digest(notebook)}})
    return notebook


def main(names: list[str]) -> None:
    """Execute the notebooks whose names begin so, all without a name; each is written when it is done."""
    for path in PATHS:
        if not names or path.name.startswith(tuple(names)):
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(execute(path, Path(folder)), path)
            print(f"written: {path.relative_to(FOLDER.parent)}")


if __name__ == "__main__":
    main(sys.argv[1:])
