"""``python -m builds.experiments.board_designs``: ten designs from QONNX to a bitstream for an ECP5: estimated, mapped, routed, simulated.

Two are the digits example; the others are small random networks of :mod:`.deit_models`, each of another kind. What Yosys, nextpnr and the
simulation of a netlist made is kept in the cache, so that a run which was stopped goes on where it was.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from builds.experiments.deit_models import DeitNetwork, ModelFolder, make
from builds.experiments.ecp5_units import PRICES
from builds.experiments.study import Only, Study, rtl_digest, start
from finn_vitprune.boards.units import LINK
from finn_vitprune.builds.bitstream import FOLDER, BitstreamOptions, make_bitstream
from finn_vitprune.builds.build import EXAMPLE, build
from finn_vitprune.builds.gate_level import GateLevelOptions, gate_level
from finn_vitprune.errors import DoesNotFit, TargetMissed
from finn_vitprune.options.build import BuildOptions
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import TextTable
from finn_vitprune.sim.toolchain import digest
from finn_vitprune.synth.family import ECP5

OUTPUT = Path("builds/results/board/designs")
ULX3S = "ulx3s-85f"
CLOCK_NS, SLOW_NS = 15.0, 80.0
"""Of the PLL and of nextpnr's target: the usual one, and one of four clocks a bit of the line, by which a netlist is loaded in minutes."""
IMAGES = 20
LIMITS = {"COMB": 0.15, "FF": 0.10, "MULT18": 0.0, "EBR": 0.0}
"""How far an estimate may be from what is routed, as a share."""
TITLE = "Designs on an ECP5: estimated, mapped, routed"
TEXT = f"""Each design went from QONNX to a bitstream (`build --board`, `bitstream --clk-ns {CLOCK_NS:g}`, of the loadable one {SLOW_NS:g}), and {IMAGES} images
went through its routed netlist, by the pins of the board, against the network's integers (`gate-level`). All logits were equal. The two of digits are of the
trained network of builds/example; the others have random weights. The build estimates without the link, so the errors are of what is routed without it.
The seconds of a simulation include its compilation, unless the cache had the simulator.
**No bitstream was loaded into a chip.** {{known}} of {{settings}} designs have a row so far.

```
python -m builds.experiments.board_designs
```
"""


@dataclass(frozen=True)
class Design:
    """A network (None: the digits example), options of its build beside the board, the board, and the clock of its PLL."""

    network: DeitNetwork | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    board: str = ULX3S
    clk_ns: float = CLOCK_NS


def _small(
    called: str, *, bits: int = 8, keep: str = "1", tokens: str = "1", dim: int = 32, depth: int = 1, **changed: int | str
) -> DeitNetwork:
    """16 x 16 grey pixels, 16 patches, 10 classes, heads of 16 channels."""
    sizes = {"img_size": 16, "patch_size": 4, "in_chans": 1, "num_classes": 10, "embed_dim": dim, "depth": depth, "num_heads": dim // 16}
    return DeitNetwork("vit_tiny_patch16_224", bits, 8, keep, tokens, called, tuple((sizes | changed).items()))


PLAIN = _small("small")
DESIGNS: dict[str, Design] = {
    "one encoder": Design(PLAIN, {"target_fps": 3000}),
    "one encoder of 16 channels, loadable": Design(_small("least", dim=16, img_size=8), {"loadable": True}, clk_ns=SLOW_NS),
    "one encoder, products in LUTs": Design(PLAIN, {"target_fps": 20_000, "mac_style": "lut"}),
    "one encoder, 4 bits": Design(_small("small", bits=4), {"target_fps": 3000}),
    "one encoder, half of the blocks": Design(_small("small", keep="0.5"), {"target_fps": 3000}),
    "one encoder, mean of the patches": Design(_small("small_mean", global_pool="avg", fc_norm=False), {"target_fps": 3000}),
    "one encoder of 64 channels": Design(_small("small_wide", dim=64), {"target_fps": 10_000}, "ulx3s-45f"),
    "four encoders, half of the tokens, one engine": Design(
        _small("small_deep", tokens="0.5", depth=4), {"target_fps": 1500, "engines": 1}, "ulx3s-45f"
    ),
    "digits, one engine": Design(None, {"engines": 1}, "ulx3s-45f"),
    "digits": Design(None, {"target_fps": 2500}),
}  # fmt: skip


@dataclass(frozen=True)
class DesignRow:
    """Cells by kind as they are estimated, mapped and routed, the MHz routed, and what came out of the netlist.

    Attributes:
        made: digest of the RTL, the prices of estimates, and the setting.
        link: routed cells of the link, which are not estimated.
        images_per_s: of the accelerator at the clock of the PLL, by simulated cycles.
        values: logits of the netlist, all equal to the network's. seconds: of its simulation.
    """

    made: str
    board: str
    estimated: dict[str, int]
    mapped: dict[str, int]
    routed: dict[str, int]
    link: dict[str, int]
    mhz: float
    clock_mhz: float
    images_per_s: int
    bitstream_bytes: int
    values: int
    seconds: float


def made(design: Design) -> str:
    """What a row depends on."""
    return digest(rtl_digest(), PRICES.read_bytes(), repr(design))


def run(design: Design) -> DesignRow:
    """Build, map, route, pack and simulate a design.

    Raises:
        DoesNotFit, TargetMissed: the part or the clock is not enough.
        AnswerIsNo: the netlist gives other logits than the network.
    """
    with tempfile.TemporaryDirectory(prefix="vitprune_board_") as name:
        folder, images = Path(name), EXAMPLE / "images.npz"
        if design.network is None:
            source = {"model": EXAMPLE / "deit_digits.onnx", "images": images}
        else:
            models = ModelFolder(folder)
            make(design.network, models)
            source = {"model": models.qonnx(design.network)}
        built = build(BuildOptions(**source, board=design.board, output_dir=folder / "build", **design.options))
        said = Summary.load(built)
        if said.no_text:
            raise DoesNotFit(said.no_text)
        board = make_bitstream(built, built / FOLDER, BitstreamOptions(design.board, design.clk_ns))
        found = gate_level(built, GateLevelOptions(IMAGES))
        assert said.resources is not None and said.rtlsim is not None  # of a build that is simulated
        used = said.resources
    return DesignRow(
        made=made(design),
        board=design.board,
        estimated={shown: int(ECP5.amount(name, getattr(used, name))) for name, shown in ECP5.names.items() if shown},
        mapped={kind: board.mapped[kind] for kind in LIMITS},
        routed={kind: getattr(board.routed, kind) for kind in LIMITS},
        link={kind: getattr(board.units[LINK], kind) for kind in LIMITS},
        mhz=board.routed.mhz,
        clock_mhz=board.clock_mhz,
        images_per_s=round(board.clock_mhz * 1e6 / said.rtlsim.interval_cycles),
        bitstream_bytes=board.bitstream_bytes,
        values=found.values,
        seconds=found.seconds,
    )


def tables(rows: Mapping[str, DesignRow]) -> list[TextTable]:
    """Designs as they are routed and simulated, and their estimates."""
    routed, estimates = [], []
    for name, row in rows.items():
        routed.append(
            (
                name, row.board, *(f"{row.routed[kind]:,}" for kind in LIMITS), f"{row.mhz:.1f}", f"{row.images_per_s:,}",
                f"{row.bitstream_bytes:,}", str(row.values), f"{row.seconds:.0f}",
            )
        )  # fmt: skip
        cells = [name]
        for kind in LIMITS:
            cells += [f"{cells_of[kind]:,}" for cells_of in (row.estimated, row.mapped, row.routed, row.link)]
        estimates.append(tuple(cells))
    errors = []
    for kind, limit in LIMITS.items() if rows else ():
        of_designs = {name: _error(row.estimated[kind], row.routed[kind] - row.link[kind]) for name, row in rows.items()}
        of_yosys = {name: _error(row.mapped[kind], row.routed[kind]) for name, row in rows.items()}
        within = sum(abs(error) <= limit for error in of_designs.values())
        errors.append((kind, *_worst(of_designs), f"{within} of {len(rows)} within {100 * limit:.0f} %", *_worst(of_yosys)))
    kinds = [f"{kind}, {stage}" for kind in LIMITS for stage in ("estimated", "mapped", "routed", "of these the link")]
    return [
        TextTable(
            "Routed and simulated",
            ("design", "board or part", *LIMITS, "MHz, routed", "images/s at its clock", "bitstream, bytes", "equal logits", "simulated, s"),
            tuple(routed),
        ),
        TextTable("Estimates", ("design", *kinds), tuple(estimates)),
        TextTable(
            "Errors of the estimates, % of what is routed without the link, and of Yosys' count, % of all",
            ("", "estimate, mean size", "worst", "held", "Yosys' count, mean size", "worst"),
            tuple(errors),
        ),
    ]  # fmt: skip


def _error(said: int, routed: int) -> float:
    """As a share of what is routed, of one cell at least."""
    return (said - routed) / max(1, routed)


def _worst(errors: Mapping[str, float]) -> tuple[str, str]:
    """Mean size and the largest error, in percent, with the design that has it."""
    name = max(errors, key=lambda design: abs(errors[design]))
    return f"{100 * sum(map(abs, errors.values())) / len(errors):.1f}", f"{100 * errors[name]:+.1f} ({name})"


def study(designs: Mapping[str, Design]) -> Study[Design, DesignRow]:
    """Designs by name; rows of other RTL, prices or settings are made again."""

    def said(row: DesignRow) -> str:
        return f"{row.mhz:.1f} MHz, {row.values} logits equal"

    return Study(
        designs, DesignRow, run, tables, TITLE, TEXT, said, lambda design, row: row.made == made(design), (DoesNotFit, TargetMissed)
    )  # fmt: skip


def main(output: Annotated[Path, typer.Option("--output", "-o")] = OUTPUT, only: Only = None) -> None:
    """Make the designs that have no row, and write the page."""
    study(DESIGNS).go(output, only)


if __name__ == "__main__":
    start(lambda: typer.run(main))
