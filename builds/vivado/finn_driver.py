"""``settings.json`` for finn-plus-driver, FINN's driver: what FINN's ``MakePYNQDriver`` writes for a design between FINN's data movers."""

from __future__ import annotations

from typing import Literal

from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.sim.beats import Stream

SETTINGS = "settings.json"
DRIVER = "FINNDMAOverlay"
ZYNQ = ("xc7z", "xczu", "xck2", "xcv", "xazu")
"""How the names of parts with a processor begin (Zynq, Zynq UltraScale+, Kria, Versal), but for :data:`NO_PROCESSOR`."""
NO_PROCESSOR = ("xcvu",)


def driver_platform(part: str) -> Literal["zynq-iodma", "alveo"]:
    """FINN's name for how a host reaches a part."""
    name = part.lower()
    return "zynq-iodma" if name.startswith(ZYNQ) and not name.startswith(NO_PROCESSOR) else "alveo"


def driver_settings(design: StitchedDesign, part: str, clk_ns: float) -> dict[str, object]:
    """The settings of a design.

    Images go in as the input stream has them, ``[F, patches, pixels per patch]``. ``runtime_weights`` says that memories have to be loaded:
    ``load_port.loading_overlay`` does it, FINN's own class stops there.
    """
    shapes = _shapes("i", design.input) | _shapes("o", design.output)
    external = {"number_of_external_weights": 0, "external_weights_input_shapes": {}}
    information = {
        "driver_type": DRIVER,
        "io_shape_dict": shapes | {"num_inputs": 1, "num_outputs": 1} | external,
        "external_weights": False,
        "runtime_weights": bool(design.loads),
        "platform": driver_platform(part),
        "fclk_mhz": 1 / clk_ns * 1e3,
    }
    return {"driver_information": information, "experiment_information": {}}


def _shapes(way: str, stream: Stream) -> dict[str, object]:
    """Of a stream, as lists of one. FINN packs the elements of a beat into its bytes."""
    folded = list(stream.folded_shape)
    return {
        f"{way}dt": [f"DataType['{stream.dtype.name}']"],
        f"{way}dma_names": [f"{way}dma0"],
        f"{way}shape_normal": [list(stream.shape)],
        f"{way}shape_folded": [folded],
        f"{way}shape_packed": [[*folded[:-1], stream.tdata_bits // 8]],
    }
