"""What each part of the suite takes: ``python -m tests.minutes build/tests.xml`` prints a table of a run of ``make test``.

Minutes are those of one process; with two processes at a time a run takes about half of their sum.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

PARTS = {
    "training and export": r"training|export|models|pruning|block_mask|data|labels|example|calibration|integer|mean_pooling|qonnx_token_drop",
    "import and check": r"import\w*|ingest\w*|check|foreign|complexity|lowering_check",
    "lowering, folding, plans": r"lower|numerics\w*|node_names|mvau_choose|folding\w*|plan|choose_engines|plan_engines|balance|slr|groups|part_fit|parts|latency|insert_fifos|crossings|memory\w*",
    "units of RTL": r"tests\.rtl\..*|rtl_sources|sim\w*|bench\w*|units|finn_xsi|formal",
    "whole builds": r"build\w*|example_build|equal_builds|accelerator|deadlock|design_files|finn_alone|finn_ops|plugin|random_builds|bind|export_vivado|skipping",
    "engines and loading": r"engines|loadable|contents|room|constants",
    "Yosys and timing": r"yosys\w*|timing|design_timing|attention_estimate|estimates",
    "faults and mutations": r"tests\.(faults|mutation|sweep)\..*|sweep|tests\.formal\..*|tests\.random_builds\..*",
    "experiments": r"tests\.experiments\..*",
    "notebooks": r"notebooks",
    "programs, reports, site": r"cli\w*|explore|report\w*|summary|pages|pictures|api|minutes|install|site|layers|jobs|processes|progress|cache|files|deit_summary",
}
OTHERS = "others"


def part_of(module: str) -> str:
    """The part that a test module belongs to, ``tests.test_cli`` as ``programs, reports, site``."""
    name = module.removeprefix("tests.test_")
    return next((part for part, pattern in PARTS.items() if re.fullmatch(pattern, name)), OTHERS)


def seconds_of(results: Path) -> dict[str, float]:
    """Seconds of each module, fixtures included, as pytest's JUnit file has them."""
    seconds: dict[str, float] = defaultdict(float)
    for case in ElementTree.parse(results).iter("testcase"):
        module = re.sub(r"\.[A-Z]\w*$", "", case.get("classname", ""))
        seconds[module] += float(case.get("time", 0))
    return dict(seconds)


def table(seconds: dict[str, float]) -> str:
    """Markdown: parts with their minutes and longest modules, the longest first."""
    parts: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for module, taken in seconds.items():
        parts[part_of(module)].append((taken, module.removeprefix("tests.")))
    lines = ["| part | minutes of one process | longest |", "|--|--:|--|"]
    for part, modules in sorted(parts.items(), key=lambda row: -sum(taken for taken, _ in row[1])):
        longest = ", ".join(f"`{name}` {taken / 60:.1f}" for taken, name in sorted(modules, reverse=True)[:3])
        lines.append(f"| {part} | {sum(taken for taken, _ in modules) / 60:.1f} | {longest} |")
    return "\n".join([*lines, f"| all | {sum(seconds.values()) / 60:.1f} | |"])


if __name__ == "__main__":
    print(table(seconds_of(Path(sys.argv[1]))))
