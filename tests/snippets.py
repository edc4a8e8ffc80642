"""The Python of the pages that users copy: blocks that use the package by its public names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PUBLIC = "import finn_vitprune as fv"


@dataclass(frozen=True)
class Snippet:
    """A block of a page, with the line that it begins at."""

    page: Path
    line: int
    code: str

    @property
    def name(self) -> str:
        return f"{self.page.stem}_{self.line}"


def snippets() -> list[Snippet]:
    """All of them, page by page."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [found for page in pages for found in _of_page(page, page.read_text())]


def _of_page(page: Path, text: str) -> list[Snippet]:
    blocks = re.finditer(r"```python\n(.*?)```", text, re.DOTALL)
    return [Snippet(page, text[: b.start(1)].count("\n") + 1, b[1]) for b in blocks if PUBLIC in b[1]]
