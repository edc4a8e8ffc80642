"""Options as keywords of the methods of ``Network`` and ``Design``. Made of the models of options by ``python -m tests.keywords --write``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict


class BuildKeywords(TypedDict, total=False):
    """Options of ``finn-vitprune build``."""

    config: str | Path | None
    """FINN build config (YAML), or the name of one of the package; options here override it."""
    clk_ns: float | None
    """Clock period in ns."""
    target_fps: int | None
    """Images/s to fold for; without it fill the part."""
    folding: str | Path | None
    """Folding config (JSON, FINN's format)."""
    export: Literal["vivado"] | None
    """Once all is verified, also write a folder for Vivado: sources, contents, Tcl, a host example (docs/vivado.md)."""
    mac_style: Literal["portable", "dsp48e2", "lut"] | None
    """Products of all matrix units: portable (inferred), dsp48e2 (cascades) or lut; without it the plan chooses."""
    engines: int | Literal["auto"] | None
    """Engines that run the encoders in time, or auto: as the goal wants; without it hardware for every encoder."""
    encoders_per_engine: int | Sequence[int] | None
    """Encoders of each engine, as in 3,4,3,2, in place of --engines."""
    frames_in_flight: int | None
    """Images that an engine of several encoders works on at once; 1 where engines are given."""
    goal: Literal["throughput", "latency"]
    """What a plan with engines looks for where no --target-fps is given: images/s, or a short time for one."""
    loadable: bool
    """All contents come through the load port: the design serves other networks of its sizes."""
    reserve: Sequence[float | Literal["dense"] | str | Path]
    """A model that the design is to serve, too (repeatable), a share that others may keep more, as 0.2, or dense: all of them; the design is loadable then."""
    frame_check: Literal["frame", "transfer"] | None
    """Count frames whose beats do not add up (docs/loading.md): the input has TLAST, in the last beat of every frame, or of a transfer of frames."""
    budget: str
    """Shares of the part that may be used, as LUT=0.7,DSP=0.85,BRAM=0.8,URAM=0.85."""
    shell: str
    """What else is on the part: none or xdma (figures and sources in docs/slrs.md)."""
    images: str | Path | None
    """Images to verify with (.npz: images, labels)."""
    max_images: int | None
    """Verify with so many of the images, drawn with --seed."""
    lowering_images: int
    """Images of the node-by-node check of the lowering."""
    traced_images: int
    """Images for which every internal stream is compared."""
    stalled_images: int
    """Images run again with random pauses and stalls."""
    simulation: Literal["auto", "whole", "units"]
    """Simulate the design in one piece, unit by unit, or as its size says."""
    synth: Literal["nodes", "none"]
    """Synthesise every node with Yosys, or nothing."""
    part_resources: str | Path | None
    """JSON or YAML with the resources of other parts."""
    jobs: int
    """Jobs at a time, in processes of their own."""
    seed: int
    """Seed of random and drawn images, pauses and stalls."""


class CheckKeywords(TypedDict, total=False):
    """Options of ``finn-vitprune check``."""

    budget: str
    """Shares of the part that may be used, as LUT=0.7,DSP=0.85,BRAM=0.8,URAM=0.85."""
    shell: str
    """What else is on the part: none or xdma (figures and sources in docs/slrs.md)."""
    part_resources: str | Path | None
    """JSON or YAML with the resources of other parts."""


class CompressKeywords(TypedDict, total=False):
    """Options of ``finn-vitprune import``."""

    score: Literal["magnitude", "first-order", "second-order"]
    """What decides which blocks and neurons stay: the weights, |w dL/dw| on the data, or the error of the output where the rest of a layer makes up for them."""
    reconstruct: bool
    """After pruning, fit each layer to the float model's by least squares."""
    block_size: int | None
    """Block size; without it the largest of 16, 8, 4, 2 that fits."""
    block_keep: float | str
    """Kept share of the blocks of W_q, W_k, W_v, W_proj."""
    neuron_keep: float | str | None
    """Kept share of MLP neurons; without it as --block-keep."""
    token_keep: float | str
    """Kept share of tokens in the encoders of --drop-at."""
    drop_at: Sequence[int]
    """Encoders that drop tokens, from 1, with commas."""
    weight_bits: Literal[4, 8]
    """Bits of the weights."""
    activation_bits: Literal[4, 8]
    """Bits of the activations between layers."""
    outer_bits: Literal[4, 8]
    """Bits of the weights of patch embedding and classifier."""
    rounding: Literal["nearest", "corrected"] | None
    """Weights to the nearest code, or so that later ones of a layer make good what earlier ones lost; without it corrected below 8 bits."""
    fine_tune_epochs: int
    """Epochs of fine-tuning: distillation from the float model."""
    learning_rate: float | None
    """Its learning rate at the height; without it, by the slope of the loss."""
    batch_size: int | None
    """Images a step; without it 64, or fewer (8 at least) so that an epoch has 25 steps."""
    train_images: int | None
    """Calibrate and fine-tune on so many images."""
    shift: int
    """Shift images by up to so many pixels in fine-tuning."""
    flip: bool
    """Mirror half of the images in fine-tuning, and of the crops of few calibration images."""
    distill_features: float
    """Weight of the encoders' outputs beside the logits in fine-tuning; 0: logits alone."""
    mean: Sequence[float] | None
    """Mean of pixels / 255 that the model was trained with."""
    std: Sequence[float] | None
    """Their deviation; both from the data where not given."""
    tolerance: float
    """Largest difference from onnxruntime, of the largest output."""
    eval_images: int
    """Held-out images that every stage is measured on, drawn with --seed."""
    seed: int
    """Seed."""
    force: bool
    """Replace PRUNED.onnx."""


class EvaluateKeywords(TypedDict, total=False):
    """Options of ``finn-vitprune evaluate``."""

    reference: str | Path | None
    """The float network, for its accuracy and where answers differ."""
    contents: str | Path | None
    """Of a build: the network of this file of `contents`, in place of its own."""
    classes: str | Path | None
    """JSON that maps names of classes in the data to the network's numbers."""
    max_images: int | None
    """Draw so many of the images, each class in its share."""
    seed: int
    """Seed of --max-images."""
    skip_damaged: bool
    """Leave out images that cannot be read, and name them."""
    mean: Sequence[float] | None
    """Mean of pixels / 255 that the float network takes."""
    std: Sequence[float] | None
    """Their deviation; both from the data where not given."""
    jobs: int
    """Jobs at a time, in processes of their own."""
    html: str | Path | None
    """Also write one self-contained page, with the worst images."""


class ExploreKeywords(TypedDict, total=False):
    """Options of ``finn-vitprune explore``."""

    engines: int | Literal["pipeline"] | Sequence[int | Literal["pipeline"]]
    """Numbers of engines, and pipeline for hardware for every encoder."""
    frames_in_flight: Sequence[int]
    """Images that an engine works on at once."""
    goal: Literal["throughput", "latency"] | Sequence[Literal["throughput", "latency"]]
    """What plans on engines look for: throughput, latency, or both with a comma."""
    bits: float | str | Sequence[float | str]
    """Of weights and activations of imported networks, as 8,4/8: both 8; weights 4, activations 8."""
    block_keep: float | str | Sequence[float | str]
    """Kept shares of blocks and neurons of imported networks."""
    token_keep: float | str | Sequence[float | str]
    """Kept shares of tokens at each drop."""
    pair: bool
    """The n-th --block-keep with the n-th --token-keep, in place of all pairs."""
    drop_at: Sequence[int]
    """Encoders that drop tokens; without it three, evenly."""
    block_size: int | None
    """Of imported networks; without it the largest that fits."""
    data: str | None
    """Data to import with, as of `import`. Without it networks are made with noise: enough for plans, accuracy is not known."""
    clk_ns: float
    """Clock period in ns."""
    budget: str
    """Shares of the part that may be used, as LUT=0.7,DSP=0.85,BRAM=0.8,URAM=0.85."""
    shell: str
    """What else is on the part: none or xdma (figures and sources in docs/slrs.md)."""
    build: str
    """Build and simulate the N best designs, or all that no other beats."""
    synth: Literal["nodes", "none"]
    """Synthesise every node of what is built with Yosys, or nothing."""
    jobs: int
    """Jobs at a time, in processes of their own."""
    seed: int
    """Seed of drawn images."""
    retry: bool
    """Try designs again that failed."""
