"""What the zero point of GELU's codes costs in hardware: one network with and without it, the nodes it touches by Yosys.

``python -m finn_vitprune.builds.experiments.zero_point float.onnx --data fashion-mnist -o builds/results/import/zero_point.json``

``float.onnx`` is that of ``builds/experiments/fmnist.py export``. Both networks are unpruned, at 8 bits, and have the same folds.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

import finn_vitprune.plugin  # noqa: F401
from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.folder import BuildFolder
from finn_vitprune.builds.steps import node_job
from finn_vitprune.calibration.ranges import choose_ranges
from finn_vitprune.export.export import describe, export
from finn_vitprune.files import write_json
from finn_vitprune.importing.float_model import configured, float_network
from finn_vitprune.options.importing import ImportOptions
from finn_vitprune.importing.workflow import ImportPlan, make_plan
from finn_vitprune.models.freeze import freeze
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.synth.resources import total
from finn_vitprune.synth.yosys import map_many
from finn_vitprune.training.student import CALIBRATION_IMAGES

PART, FPS = "xcu250-figd2104-2L-e", 30_000


def main(
    model: Path, data: Annotated[str, typer.Option(help="As of `finn-vitprune import`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file.")],
) -> None:
    """Export both, fold both, map the nodes, write."""
    plan = make_plan(ImportOptions(model=model, data=data, output=output.with_suffix(".onnx"), force=True))
    rows = {}
    with TemporaryDirectory() as name:
        folder, folding = Path(name), None
        for kind in ("with zero point", "without"):
            exported = folder / f"{kind.split()[0]}.onnx"
            frozen = _frozen(plan, symmetric=kind == "without")
            metadata = describe(exported.stem, plan.vit.config, frozen, 8, 1.0, 1.0, 1.0)
            export(frozen, exported, metadata, plan.data.data.test_sample(16, 0)[0])
            options = BuildOptions(
                model=exported, output_dir=folder / exported.stem, fpga_part=PART, target_fps=FPS, folding=folding,
                stop_step="step_hw_codegen", images=None,
            )
            built = BuildFolder(build(options))
            folding = built.path / "final_hw_config.json" if folding is None else folding
            rows[kind] = _mapped(ModelWrapper(str(built.intermediate_models / "step_hw_codegen.onnx")))
    write_json(output, rows)


def _frozen(plan: ImportPlan, symmetric: bool) -> PrunedViT:
    network = float_network(plan.vit, plan.mean, plan.std)
    pixels = torch.from_numpy(plan.data.calibration(CALIBRATION_IMAGES)[0]).float()
    student = configured(network, plan.config)
    _set_lowest(student, symmetric)
    student.calibrate(pixels)
    choose_ranges(student, pixels)
    student.quantise(True)
    frozen = freeze(student)
    _set_lowest(frozen, symmetric)
    return frozen


def _set_lowest(network: PrunedViT, symmetric: bool) -> None:
    for block in network.blocks:
        zero = block.mlp.act_quant.zero
        zero.lowest = None if symmetric else zero.lowest


def _mapped(model: ModelWrapper) -> dict[str, dict[str, float]]:
    """What Yosys counts of GELU's tables, which hold the zero point, and of the matrices behind them, whose biases take it in."""
    jobs = {}
    for number, table in enumerate(model.get_nodes_by_op_type("VitLookup_rtl"), start=1):
        matrix = table
        while matrix.op_type != "BlockSparseMVAU_rtl":
            (matrix,) = model.find_direct_successors(matrix)
        jobs |= {f"encoder {number}, GELU": table, f"encoder {number}, fc2": matrix}
    jobs = {name: node_job(getCustomOp(node)) for name, node in jobs.items()}
    found = {job.top: netlist.resources for job, netlist in map_many(list(jobs.values()), 1)}
    counted = {name: found[job.top] for name, job in jobs.items()}
    return {name: asdict(r) for name, r in (counted | {"total": total(counted.values())}).items()}


if __name__ == "__main__":
    typer.run(main)
