"""The limits that the benchmark holds its figures against, and the count of what is inside them."""

from __future__ import annotations

from dataclasses import dataclass, field

UTILISATION = {"dense": 0.97, "uniform": 0.97, "balanced": 0.97, "uneven": 0.95, "trained": 0.95}
"""Least utilisation by kind of masks."""

MANY_PRODUCTS, MOST_PRODUCTS = 1536, 4096
"""Products a cycle from which on resources, and weight memory, have limits."""

DSP_PER_PRODUCT, ARRAY_LUT, UNIT_LUT = 0.5, 5.0, 8.0
MEMORY_OF_NEED, SPARSE_OF_DENSE = 2.0, 0.53
DEPTH = 5
ESTIMATE_LUT, ESTIMATE_CYCLES, DROP_SPREAD, RANK_SHARE = 0.20, 0.02, 0.01, 0.01
"""Largest relative differences, and the share of the interval that ranking may take."""
RANKER_LUT = 2000

YES, NO = "✓", "✗"


@dataclass
class Checks:
    """Counts figures against limits while the tables are made."""

    held: int = 0
    missed: list[str] = field(default_factory=list)

    def mark(self, what: str, text: str, ok: bool) -> str:
        """``text`` with its mark; ``what`` names a figure that misses its limit."""
        if ok:
            self.held += 1
        else:
            self.missed.append(f"{what}: {text}")
        return f"{text} {YES if ok else NO}"
