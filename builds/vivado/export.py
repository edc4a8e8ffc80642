"""Writes the folder for Vivado, which needs nothing outside of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from finn_vitprune import __version__, load_port
from finn_vitprune.builds.checks.verify import Verification
from finn_vitprune.builds.stitched.host_side import HostSide
from finn_vitprune.builds.stitched.place_constraints import PLACES
from finn_vitprune.builds.stitched.stitch import CONSTRAINTS, TOP, StitchedDesign
from finn_vitprune.builds.vivado.finn_driver import SETTINGS, driver_settings
from finn_vitprune.custom_ops.op import axilite
from finn_vitprune.errors import UserError
from finn_vitprune.files import sha256, whole_folder, write_json, write_text
from finn_vitprune.link import pynq_board
from finn_vitprune.sim import beats
from finn_vitprune.sim.beats import Stream
from finn_vitprune.sim.contents import CONTENTS, INDEX
from finn_vitprune.sim.run import RESET_CYCLES
from finn_vitprune.synth.parts import Part

SUMS = "SHA256SUMS"
"""The files of the folder, in the format of ``sha256sum``."""
VECTORS = 16
"""Images that are exported with their logits, at most."""
HERE = Path(__file__).parent
SCRIPTS = ("design.tcl", "package_ip.tcl", "synth_ooc.tcl", "implement.tcl", "clock.xdc", "sources.f", "README.md")
"""Rendered from templates, into the folder itself."""
HOST_EXAMPLE = "host/accelerator.py"
_ROM_NAME = re.compile(r'\.hex"')


@dataclass(frozen=True)
class VivadoTarget:
    """What a design is exported for: the part, the clock's period, and the scale of its logits where it is known."""

    part: Part
    clk_ns: float
    logit_scale: float | list[float] | None

    @property
    def packaged(self) -> bool:
        """Whether the part's name has the package and the speed grade, as Vivado needs it."""
        return "-" in self.part.name


@dataclass(frozen=True)
class HostStream:
    """A stream for the host: ``elements`` of ``bits`` bits a beat of ``beat_bytes`` bytes, ``beats`` a frame."""

    port: str
    tokens: int
    channels: int
    elements: int
    bits: int
    signed: bool
    beat_bytes: int
    beats: int

    @classmethod
    def of(cls, port: str, stream: Stream) -> HostStream:
        """The same of the project's own description."""
        bits, signed = stream.dtype.bitwidth(), stream.dtype.signed()
        return cls(port, stream.tokens, stream.channels, stream.simd, bits, signed, stream.tdata_bits // 8, stream.beats)


@dataclass(frozen=True)
class HostDescription:
    """What the host example reads. ``load_port`` is the AXI4-Lite port through which memories are loaded, if there is one; ``frame_check``:
    the input has TLAST, and wrong frames are counted."""

    top: str
    image: list[int]
    input: HostStream
    output: HostStream
    load_port: str | None
    logit_scale: float | list[float] | None
    frame_check: bool


def refuse_foreign(folder: Path) -> None:
    """That nothing but an export is in a folder that is to be replaced by one.

    Raises:
        UserError: a file is there that no export wrote; the text names it.
    """
    known = _sums(folder)
    for path in [folder, *sorted(folder.rglob("*"))]:
        if (path.is_file() or path.is_symlink()) and str(path.relative_to(folder)) not in {SUMS, *known}:
            raise UserError(f"{path} is not of the export to {folder}, which would replace it: move it, or the folder, to another place")


def export_vivado(
    design: StitchedDesign,
    folder: Path,
    target: VivadoTarget,
    verification: Verification,
    pixels: np.ndarray,
    logits: np.ndarray,
    places: str | None = None,
) -> None:
    """Write ``folder``, whole or not at all; an earlier export there is replaced.

    Args:
        verification: what the simulation of the design showed.
        pixels: uint8 ``[F, H, W, C]`` images, ``logits``: ``[F, classes]`` what the RTL gave for them. Some go with the export.
        places: constraints that give every unit its place (:func:`.place_constraints`); they replace the Pblocks of SLRs.
    Raises:
        UserError: the folder holds files of others, or an exported file that has changed.
    """
    refuse_foreign(folder)
    for name, digest in _sums(folder).items():
        if (folder / name).is_file() and sha256(folder / name) != digest:
            raise UserError(f"{folder / name} has changed since its export: move it, or the folder, to another place")
    with whole_folder(folder) as new:
        _write(design, new, target, verification, pixels[:VECTORS], logits[:VECTORS], places)
        files = sorted(str(path.relative_to(new)) for path in new.rglob("*") if path.is_file())
        write_text(new / SUMS, "".join(f"{sha256(new / name)}  {name}\n" for name in files))


def _sums(folder: Path) -> dict[str, str]:
    """Digests of the files of an earlier export, by their names."""
    path = folder / SUMS
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _write(
    design: StitchedDesign,
    new: Path,
    target: VivadoTarget,
    verification: Verification,
    pixels: np.ndarray,
    logits: np.ndarray,
    places: str | None,
) -> None:
    for part in ("rtl", "host", "vectors"):
        (new / part).mkdir()
    sources = [*design.sources, f"{TOP}.v"]
    for name in sources:
        write_text(new / "rtl" / name, _with_mem_names((design.folder / name).read_text()))
    roms = sorted(name for name in design.digests if name.endswith(".hex"))
    contents = [f"{Path(name).stem}.mem" for name in roms]
    for name, mem in zip(roms, contents):
        shutil.copyfile(design.folder / name, new / "rtl" / mem)
    if design.loads:
        (new / "weights").mkdir()
        for name in (CONTENTS, INDEX):
            shutil.copyfile(design.folder / name, new / "weights" / name)
        shutil.copyfile(load_port.__file__, new / "host" / "load_port.py")
    pblocks = PLACES if places is not None else CONSTRAINTS if CONSTRAINTS in design.digests else None
    if places is not None:
        write_text(new / PLACES, places)
    elif pblocks is not None:
        shutil.copyfile(design.folder / CONSTRAINTS, new / CONSTRAINTS)
    described = _describe(design, new / "host", target)
    np.save(new / "vectors" / "images.npy", pixels)
    np.save(new / "vectors" / "logits.npy", logits.astype(np.int32))
    values = {
        "top": TOP, "version": __version__, "target": target, "sources": sources, "contents": contents, "host": described,
        "verification": verification, "pblocks": pblocks, "placed": places is not None, "images": len(pixels),
        "axilite": [name for _, name, _ in axilite.SIGNALS], "reset_cycles": RESET_CYCLES,
    }  # fmt: skip
    for name in SCRIPTS:
        write_text(new / name, _rendered(name, values))
    write_text(new / HOST_EXAMPLE, _rendered(Path(HOST_EXAMPLE).name, values))


def _with_mem_names(source: str) -> str:
    """A source whose ROMs read files of the suffix that Vivado's ``read_mem`` takes."""
    return _ROM_NAME.sub('.mem"', source)


def _describe(design: StitchedDesign, folder: Path, target: VivadoTarget) -> HostDescription:
    """Write what the host example reads: the description, pixels in the order of the input stream, the project's packer."""
    side = HostSide.of(design)
    image = side.shape[1:]
    load = design.loads[0].port if design.loads else None
    streams = HostStream.of("s_axis_0", design.input), HostStream.of("m_axis_0", design.output)
    described = HostDescription(TOP, image, *streams, load, target.logit_scale, design.frame_check)
    write_json(folder / "accelerator.json", asdict(described))
    write_json(folder / SETTINGS, driver_settings(design, target.part.name, target.clk_ns))
    np.save(folder / "input_order.npy", side.order.astype(np.int32))
    for module in (beats, pynq_board):
        source = Path(str(module.__file__))
        shutil.copyfile(source, folder / source.name)
    return described


def _rendered(name: str, values: Mapping[str, object]) -> str:
    """A file from its template."""
    environment = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.get_template(f"{name}.j2").render(values)
