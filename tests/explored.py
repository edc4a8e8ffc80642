"""An exploration of 55 designs, made up: six networks on three parts, as a pipeline and on one and two engines; one that failed."""

from itertools import product

import numpy as np

from finn_vitprune.exploration.ledger import Explored, ExploreRow, ExploreSettings
from finn_vitprune.exploration.networks import Quality
from finn_vitprune.exploration.page import to_page
from finn_vitprune.exploration.points import BuiltPoint, PlannedPoint, Target


def made_up(accuracy: bool) -> Explored:
    """The ledger; with ``accuracy`` that of each network is known."""
    rng, rows = np.random.default_rng(1), []
    cost = {"U250": 1.0, "U280": 1.3, "ZCU104": 6.0}
    for bits, keep, part, engines in product(("8/8", "4/4"), ("0.5", "0.7", "0.9"), cost, (1, 2, None)):
        half = 1.0 if bits == "8/8" else 0.5
        interval = 74_000 * half * float(keep) * 2 * cost[part] * (0.55 if engines is None else engines**-0.3) * rng.uniform(0.9, 1.1)
        latency = interval * 1.1 * (engines or 8) * rng.uniform(0.95, 1.2)
        fits = not (part == "ZCU104" and engines is None)
        network = f"deit_small_w{bits[0]}a{bits[2]}_rb{keep}_rt{keep}"
        name = f"{network}_{part}_" + ("pipeline" if engines is None else f"e{engines}_f1_latency")
        shares = {"LUT": 0.68 if fits else 1.7, "DSP": 0.8, "BRAM": 0.4, "URAM": 0.3}
        built = None
        if len(rows) == 3:
            built = BuiltPoint(
                fits=True, interval_cycles=interval, latency_cycles=latency, mismatches=0, shares=shares, counted=True, seconds=1
            )
        quality = Quality(images=1000, accuracy=0.72 - 0.08 * (1 - float(keep)) - 0.04 * (1 - half)) if accuracy else None
        rows.append(
            ExploreRow(
                name=name,
                source="deit_small",
                network=network,
                bits=bits,
                block_keep=keep,
                token_keep=keep,
                part=part,
                engines=engines,
                frames_in_flight=1,
                goal="throughput" if engines is None else "latency",
                digest="0",
                quality=quality,
                built=built,
                import_command=f"finn-vitprune import deit_small.onnx -o {network}.onnx",
                build_command=f"finn-vitprune build {network}.onnx -o builds/{name}",
                plan=PlannedPoint(fits=fits, interval_cycles=interval, latency_cycles=latency, shares=shares, seconds=1),
            )
        )
    rows.append(
        rows[0].model_copy(update={"name": "failed", "plan": None, "reason": "3 engines for 2 encoders: use 1 or 2, or leave it out"})
    )
    return Explored(settings=ExploreSettings(target=Target(clk_ns=3.333), data="imagefolder:photos" if accuracy else None), rows=rows)


def explored_page(accuracy: bool) -> str:
    """Its page."""
    return to_page(made_up(accuracy), "finn-vitprune explore deit_small.onnx --fpga-part U250,U280,ZCU104 -o explore/deit")
