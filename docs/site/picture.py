"""Draw docs/picture.svg, the picture of the README: ``python docs/site/picture.py`` (Python alone).

Its figures are those of builds/results/deit: the summary of DeiT-Small at 8 bits, and the plans of both networks.
Which blocks are kept is drawn at random: the picture shows a share, not a network.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEIT = ROOT / "builds" / "results" / "deit"
OUTPUT = ROOT / "docs" / "picture.svg"
PRUNED, DENSE = "deit_small_w8a8_b16_rb0.5_rt0.5", "deit_small_w8a8_b16_rb1_rt1"
MHZ = 300
WIDTH, HEIGHT, TOP, FOOT = 900, 296, 78, 250
STYLE = """
  svg { --paper: #ffffff; --ink: #1f2630; --quiet: #5c6773; --kept: #0b63b0; --gone: #e3e8ed; --rule: #c9d1d9; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #14181d; --ink: #e6eaee; --quiet: #a3adb8; --kept: #5fb0f5; --gone: #2a323b; --rule: #3b4651; } }
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--ink); }
  .head { font-size: 16px; font-weight: 600; } .quiet { fill: var(--quiet); } .mid { text-anchor: middle; } .end { text-anchor: end; }
  .paper { fill: var(--paper); stroke: var(--rule); } .kept { fill: var(--kept); } .gone { fill: var(--gone); }
"""


def rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5"/>'


def text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{words}</text>'


def blocks(x: float) -> list[str]:
    """A matrix of 384 x 384 in blocks of 16 x 16, half of them kept."""
    side, step = 24, 7
    kept = set(random.Random(0).sample(range(side * side), side * side // 2))
    squares = [f"M{x + step * (n % side):g} {TOP + step * (n // side)}h6v6h-6z" for n in range(side * side)]
    paths = [
        f'<path class="{kind}" d="{"".join(square for n, square in enumerate(squares) if (n in kept) == (kind == "kept"))}"/>'
        for kind in ("kept", "gone")
    ]
    return [*heads(x, "Blocks of weights go", "a matrix of 384 x 384"), *paths, text(x, FOOT + 24, "half of the blocks are kept", "quiet")]


def tokens(x: float, counts: list[int]) -> list[str]:
    """A bar for the tokens that leave each encoder."""
    step, height = 22, FOOT - TOP - 16
    bars = []
    for n, count in enumerate(counts):
        kept = height * count / counts[0]
        bars += [
            rect(x + step * n, FOOT - height, step - 5, height - kept, "gone"),
            rect(x + step * n, FOOT - kept, step - 5, kept, "kept"),
        ]
        if n == 0 or count != counts[n - 1]:
            bars.append(text(x + step * n + (step - 5) / 2, FOOT - kept - 5, str(count), "mid"))
    return [
        *heads(x, "Unimportant tokens go, image by image", "in the MLP of 12 encoders; at last the class token alone"),
        *bars,
        text(x, FOOT + 24, "half are dropped in encoders 3, 7 and 10", "quiet"),
    ]


def result(x: float, rows: list[tuple[str, str, float, str]]) -> list[str]:
    """Two bars a row, before and after."""
    lines = heads(x, "More images from one part", "DeiT-Small on an Alveo U250, 8 bits")
    for n, (name, kind, share, value) in enumerate(rows):
        y = TOP + 10 + 40 * n + 14 * (n // 2)
        lines += [text(x, y, name), text(x + 232, y, value, "end"), rect(x, y + 7, 232, 8, "gone"), rect(x, y + 7, 232 * share, 8, kind)]
    return lines


def heads(x: float, title: str, what: str) -> list[str]:
    return [text(x, 36, title, "head"), text(x, 56, what, "quiet")]


def picture() -> str:
    """The SVG."""
    model = json.loads((DEIT / "deit_small_w8a8_summary.json").read_text())["model"]
    plans = json.loads((DEIT / "results.json").read_text())
    rate = {name: MHZ * 1e6 / plans[f"{name}, U250, 12 engines, 1 in flight, throughput"]["interval"] for name in (PRUNED, DENSE)}
    dense, macs = model["macs_dense"], model["macs"]
    rows = [
        ("operations, dense", "kept", 1, f"{dense / 1e9:.2f} GMAC"),
        ("operations, pruned", "kept", macs / dense, f"{macs / 1e9:.2f} GMAC"),
        ("images/s by plan, dense", "kept", rate[DENSE] / rate[PRUNED], f"{rate[DENSE]:,.0f}"),
        ("images/s by plan, pruned", "kept", 1, f"{rate[PRUNED]:,.0f}"),
    ]
    parts = [*blocks(28), *tokens(244, [t["mlp"] for t in model["tokens"]]), *result(632, rows)]
    body = "\n".join(parts)
    title = "Half of the weight blocks and, at three encoders, half of the tokens go: a quarter of the operations, four times the rate"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">\n<style>{STYLE}</style>\n'
        f'<rect class="paper" x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    OUTPUT.write_text(picture())
