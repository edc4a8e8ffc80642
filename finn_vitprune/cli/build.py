"""``finn-vitprune build``: the whole flow from a QONNX model to verified, synthesised RTL."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from finn_vitprune.cli import params
from finn_vitprune.cli.answer import Full, Json
from finn_vitprune.cli.configs import ConfigKind, config_file

EXAMPLE = "finn-vitprune build model.onnx --fpga-part xcu250-figd2104-2L-e --clk-ns 4 --target-fps 20000 -o build/mine"


def command(
    model: Annotated[
        Optional[Path], typer.Argument(metavar="MODEL.onnx", help="QONNX model; without it the bundled example.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Build folder.")] = ...,
    fpga_part: Annotated[Optional[str], typer.Option(help="Part (xcu250-figd2104-2L-e) or board (ZCU104).")] = None,
    config: Annotated[
        Optional[str], typer.Option(metavar="FILE|NAME", help="FINN build config (YAML), or the name of one of the package; options here override it.")
    ] = None,
    clk_ns: Annotated[Optional[float], typer.Option(min=0.1, help="Clock period in ns.")] = None,
    target_fps: Annotated[Optional[int], typer.Option(min=1, help="Images/s to fold for; without it fill the part.")] = None,
    folding: Annotated[Optional[Path], typer.Option(help="Folding config (JSON, FINN's format).")] = None,
    mac_style: Annotated[
        Optional[str],
        typer.Option(help="Products of all matrix units: portable (inferred), dsp48e2 (cascades) or lut; without it the plan chooses."),
    ] = None,
    engines: Annotated[
        Optional[str],
        typer.Option(help="Engines that run the encoders in time, or auto: as the goal wants; without it hardware for every encoder."),
    ] = None,
    encoders_per_engine: Annotated[
        Optional[str], typer.Option(help="Encoders of each engine, as in 3,4,3,2, in place of --engines.")
    ] = None,
    frames_in_flight: Annotated[
        Optional[int], typer.Option(min=1, help="Images that an engine of several encoders works on at once; 1 where engines are given.")
    ] = None,
    goal: Annotated[
        Literal["throughput", "latency"],
        typer.Option(help="What a plan with engines looks for where no --target-fps is given: images/s, or a short time for one."),
    ] = "throughput",
    loadable: Annotated[bool, typer.Option("--loadable", help="All contents come through the load port: the design serves other networks of its sizes.")] = False,
    reserve: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="MODEL|SHARE|dense",
            help="A model that the design is to serve, too (repeatable), a share that others may keep more, as 0.2, or dense: "
            "all of them; the design is loadable then.",
        ),
    ] = None,
    frame_check: Annotated[
        Optional[Literal["frame", "transfer"]],
        typer.Option(
            help="Count frames whose beats do not add up (docs/loading.md): the input has TLAST, in the last beat of every frame, or of a transfer of frames."
        ),
    ] = None,
    budget: params.Budget = None,
    shell: params.Shell = "none",
    images: Annotated[Optional[Path], typer.Option(help="Images to verify with (.npz: images, labels).")] = None,
    max_images: Annotated[Optional[int], typer.Option(min=1, help="Verify with so many of the images, drawn with --seed.")] = None,
    estimate_only: Annotated[bool, typer.Option("--estimate-only", help="Stop after the estimates: cycles, resources, whether it fits.")] = False,
    start_step: Annotated[Optional[str], typer.Option(help="Resume at this step.")] = None,
    stop_step: Annotated[Optional[str], typer.Option(help="Stop after this step.")] = None,
    simulation: Annotated[
        Literal["auto", "whole", "units"], typer.Option(help="Simulate the design in one piece, unit by unit, or as its size says.")
    ] = "auto",
    synth: Annotated[
        Literal["nodes", "none"], typer.Option(help="Synthesise every node with Yosys, or nothing.")
    ] = "nodes",
    export: Annotated[
        Optional[Literal["vivado"]],
        typer.Option(help="Once all is verified, also write a folder for Vivado: sources, contents, Tcl, a host example (docs/vivado.md)."),
    ] = None,
    part_resources: params.PartResources = None,
    jobs: params.Jobs = 2,
    scheduler: params.Scheduler = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of random and drawn images, pauses and stalls.")] = 0,
    full: Full = False,
    json_output: Json = False,
) -> None:
    """Build an accelerator: lower, fold, generate HDL, size FIFOs, stitch, simulate, synthesise, report.

    Exits with 1 when the hardware graph differs from the model by more than ties of rounding, or the RTL from it, or when the
    design does not fit the part or cannot reach --target-fps.
    """
    from finn_vitprune.cli.files import need_file
    from finn_vitprune.cli.shown import show_build, summary_stamp
    from finn_vitprune.cli.terminal import progress_lines
    from finn_vitprune.graph.reading import need_qonnx
    from finn_vitprune.synth.budget import Budget
    from finn_vitprune.synth.parts import get_part

    models, room = _reserved(reserve or ())
    for path in (model, folding, images, part_resources, *models):
        need_file(path)
    for path in (model, *models):
        if path is not None:
            need_qonnx(path)
    config_path = None if config is None else config_file(config, ConfigKind.BUILD)
    part = None if fpga_part is None else get_part(fpga_part, part_resources).with_shell(shell).name

    from finn_vitprune.builds.build import BuildOptions, build
    from finn_vitprune.builds.settings import BuildSettings
    from finn_vitprune.jobs import on_cluster

    options = BuildOptions(
        model=model,
        output_dir=output,
        fpga_part=part,
        config=config_path,
        clk_ns=clk_ns,
        target_fps=target_fps,
        folding=folding,
        estimate_only=estimate_only,
        start_step=start_step,
        stop_step=stop_step,
        export=export,
        settings=BuildSettings(
            images=images,
            max_images=max_images,
            simulation=simulation,
            synth=synth,
            mac_style=mac_style,
            engines=_engines(engines),
            encoders_per_engine=_counts(encoders_per_engine),
            frames_in_flight=frames_in_flight,
            goal=goal,
            loadable=loadable,
            reserve=models,
            room=room,
            frame_check=frame_check,
            budget=Budget.parse(budget or ""),
            shell=shell,
            part_resources=part_resources,
            jobs=jobs,
            seed=seed,
        ),
    )
    before = summary_stamp(output)
    with progress_lines(), on_cluster(scheduler):
        build(options)
    show_build(output, full, new=summary_stamp(output) not in (None, before))


def _engines(text: str | None) -> int | Literal["auto"] | None:
    """A number of engines, or auto.

    Raises:
        UserError: it is something else.
    """
    from finn_vitprune.errors import UserError

    if text is None or text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"engines {text}: use a number of 1 or more, or auto")
    return int(text)


def _reserved(texts: Sequence[str]) -> tuple[tuple[Path, ...], float | Literal["dense"] | None]:
    """Models that a design is made for, and the room that it has besides.

    Raises:
        UserError: two texts say how much room, or a share is not above 0.
    """
    from finn_vitprune.errors import UserError

    shares = {text: _share(text) for text in texts}
    said = [text for text in texts if shares[text] is not None]
    if len(said) > 1:
        raise UserError(f"reserve {' and '.join(said)}: say the room once, as a share or as dense")
    if said and said[0] != "dense" and not 0 < shares[said[0]] < inf:
        raise UserError(f"reserve {said[0]}: use a share above 0, as 0.2, or dense")
    return tuple(Path(text) for text in texts if shares[text] is None), shares[said[0]] if said else None


def _share(text: str) -> float | Literal["dense"] | None:
    """What a text says of room, where it names no file."""
    if text == "dense" or Path(text).is_file():
        return "dense" if text == "dense" else None
    try:
        return float(text)
    except ValueError:
        return None


def _counts(text: str | None) -> tuple[int, ...] | None:
    """``3,4,3,2`` as numbers.

    Raises:
        UserError: it is something else.
    """
    from finn_vitprune.errors import UserError

    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"encoders per engine {text}: use numbers with commas between them, as in 3,4,3,2") from None
