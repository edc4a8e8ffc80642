"""Words that README and pages use too easily where a plainer one says more."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORDS = re.compile(r"\b(stands?|hangs? on|those of|that of|anew|is no)\b", re.I)
MOST = 25


def test_pages_use_few_words_of_the_house():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [f"{path.name}:{i}: {line}" for path in pages for i, line in enumerate(path.read_text().splitlines(), 1) if WORDS.search(line)]
    assert len(pages) > 25 and len(found) <= MOST, "\n".join(found)
