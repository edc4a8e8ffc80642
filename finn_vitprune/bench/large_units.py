"""Large units as Yosys maps them, and as estimated.

``python -m finn_vitprune.bench.large_units -o builds/results/large_units [UNIT...]``
"""

from __future__ import annotations

import json
import resource
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from finn_vitprune import progress
from finn_vitprune.bench.resources import sources
from finn_vitprune.bench.units import node
from finn_vitprune.files import write_json, write_text
from finn_vitprune.numerics import exp_table, reciprocal_constant, snap_ratio
from finn_vitprune.report.tables import TextTable, to_markdown
from finn_vitprune.synth.yosys import NodeJob, map_node, yosys_version

Made = tuple[str, dict[str, object], list[np.ndarray]]
"""Op type, attributes, initialisers."""

BLOCK = 16
MAPPED, FLAT = "by parts", "in one piece"
TITLE = "Large units in Yosys: by parts, in one piece, and as estimated"
TEXT = """DeiT-Small's shapes, half of the blocks kept, ROM contents as synthesis sees them. "By parts": modules that
repeat are mapped once and counted by instance (`docs/simulation.md`). Seconds of processor time on the machine at hand. "In one piece" was
measured up to commit ff3a2ab, "longer" did not end within 600 seconds; the program no longer maps units so.

```
python -m finn_vitprune.bench.large_units -o builds/results/large_units
```

What `results.json` holds is not measured again.
"""
COLUMNS = ("unit", "method", "LUT", "FF", "DSP", "BRAM36", "URAM", "levels", "ns", "seconds")


def matrix(
    mw: int, mh: int, lanes: tuple[int, int, int, int], mac_style: str, ram_style: str, bits: int = 8, block: int = BLOCK
) -> Made:
    """A matrix unit at TOKENS, SIMD, PE, LANES; half of the blocks of each column are kept."""
    rng = np.random.default_rng(0)
    rows, columns = mw // block, mh // block
    kept = np.stack([rng.permutation(np.arange(rows) < rows // 2) for _ in range(columns)], axis=1)
    weights = rng.integers(1, 7, (mw, mh)) * np.kron(kept, np.ones((block, block), int))
    attributes = dict(zip(("TOKENS", "SIMD", "PE", "LANES"), lanes)) | {
        "tokens": 197, "MW": mw, "MH": mh, "block": block, "in_width": lanes[1], "out_width": lanes[2], "requant": 1,
        "shift": 20, "mac_style": mac_style, "ram_style": ram_style,
    }  # fmt: skip
    attributes |= dict.fromkeys(("inputDataType", "weightDataType", "outputDataType"), f"INT{bits}")
    return "BlockSparseMVAU", attributes, [weights, rng.integers(-99, 99, mh), rng.integers(1, 1 << 16, mh)]


def attention(
    simd: int, pe: int, ram_style: str, bits: int = 8, tokens: int = 197, heads: int = 6, head_dim: int = 64
) -> Made:
    """Attention at SIMD, PE; scales that use the range of random codes."""
    mult, shift = snap_ratio(2**bits / (5 * np.sqrt(head_dim) * 4**bits / 12))
    num, recip_shift = reciprocal_constant(3.0)
    attributes = {
        "tokens": tokens, "queries": tokens, "heads": heads, "head_dim": head_dim, "SIMD": simd, "PE": pe, "scores": 1, "logit_bits": bits,
        "logit_mult": int(mult), "logit_shift": shift, "recip_num": num, "recip_shift": recip_shift, "ram_style": ram_style,
    }  # fmt: skip
    attributes |= dict.fromkeys(("inputDataType", "outputDataType"), f"INT{bits}")
    return "PrunedAttention", attributes, [exp_table(8 / 2**bits)]


UNITS: dict[str, Made] = {
    "matrix 384x384, 4x8x8x1, 8 bits, dsp48e2": matrix(384, 384, (4, 8, 8, 1), "dsp48e2", "auto"),
    "matrix 384x384, 4x8x8x1, 8 bits, dsp48e2, UltraRAM": matrix(384, 384, (4, 8, 8, 1), "dsp48e2", "ultra"),
    "matrix 384x384, 4x8x8x1, 4 bits, dsp48e2": matrix(384, 384, (4, 8, 8, 1), "dsp48e2", "auto", 4),
    "matrix 384x384, 4x8x8x1, 4 bits, lut": matrix(384, 384, (4, 8, 8, 1), "lut", "auto", 4),
    "matrix 1536x384, 2x8x4x2, 8 bits, lut, UltraRAM": matrix(1536, 384, (2, 8, 4, 2), "lut", "ultra"),
    "attention 197 tokens, SIMD 4, PE 8, 8 bits": attention(4, 8, "auto"),
    "attention 197 tokens, SIMD 4, PE 8, 4 bits, UltraRAM": attention(4, 8, "ultra", 4),
    "matrix 384x1152, 16x16x16x1, 8 bits, dsp48e2": matrix(384, 1152, (16, 16, 16, 1), "dsp48e2", "auto"),
    "matrix 384x1152, 16x16x16x1, 8 bits, dsp48e2, UltraRAM": matrix(384, 1152, (16, 16, 16, 1), "dsp48e2", "ultra"),
    "matrix 384x1152, 16x16x16x1, 8 bits, lut": matrix(384, 1152, (16, 16, 16, 1), "lut", "auto"),
    "matrix 1536x384, 8x16x16x2, 8 bits, dsp48e2": matrix(1536, 384, (8, 16, 16, 2), "dsp48e2", "auto"),
    "matrix 384x1536, 16x16x16x1, 4 bits, dsp48e2": matrix(384, 1536, (16, 16, 16, 1), "dsp48e2", "auto", 4),
}


def main(
    units: Annotated[list[str] | None, typer.Argument(help="Only units whose name holds one of these texts.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("builds/results/large_units"),
) -> None:
    """Measure and write ``results.json`` and ``RESULTS.md``."""
    store = output / "results.json"
    found = json.loads(store.read_text()) if store.exists() else {}
    for name, made in UNITS.items():
        if not any(text in name for text in units or [""]):
            continue
        row = found.setdefault(name, {})
        with tempfile.TemporaryDirectory(prefix="vitprune_large_") as folder:
            op_type, attributes, initialisers = made
            op, model = node(op_type, attributes, initialisers)
            job = NodeJob(op.onnx_node.name, sources(op, model, Path(folder)))
            row["estimate"] = asdict(op.resources())  # which knows the kept blocks now
            if MAPPED not in row:
                progress.status(name)
                row[MAPPED] = measured(job)
                write_json(store, found)
    write_json(store, found)
    write_text(output / "RESULTS.md", to_markdown(f"{TITLE} ({yosys_version()})", TEXT, [table(found)]))


def measured(job: NodeJob) -> dict[str, float]:
    """Resources, timing and seconds of processor time of a node."""
    before = _processor_s()
    netlist = map_node(job)
    return asdict(netlist.resources) | {"levels": netlist.timing.levels, "ns": netlist.timing.taken, "seconds": round(_processor_s() - before, 1)}


def _processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def table(found: dict[str, dict]) -> TextTable:
    """Three rows a unit."""
    rows = []
    for name, row in found.items():
        for method in (MAPPED, FLAT):
            if method in row:
                r = row[method]
                values = ["longer"] + [""] * 7 if r is None else [
                    f"{r['LUT']:,}", f"{r['FF']:,}", f"{r['DSP']:,}", f"{r['BRAM36']:g}", str(r["URAM"]), str(r["levels"]), f"{r['ns']:.2f}" if "ns" in r else "", str(r["seconds"]),
                ]  # fmt: skip
                rows.append((name, method, *values))
        e = row["estimate"]
        rows.append((name, "estimate", f"{e['LUT']:,}", "", f"{e['DSP']:,}", f"{e['BRAM_18K'] / 2:g}", str(e["URAM"]), "", "", ""))
    return TextTable("Units; of matrices TOKENS x SIMD x PE x LANES", COLUMNS, tuple(rows))


if __name__ == "__main__":
    typer.run(main)
