"""Options as keywords of the methods of ``Network`` and ``Design``. Made of the models of options by ``python -m tests.keywords --write``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict


class BuildKeywords(TypedDict, total=False):
    """Options of ``finn-vitprune build``."""

    board: str | None
    """The ECP5 board (ulx3s-85f) or part (LFE5U-45F) of `bitstream`, in place of --fpga-part; the clock is then 80 MHz where --clk-ns does not say otherwise (docs/board.md)."""
    config: str | Path | None
    """FINN's build config (YAML), or the name of one of the package. Options here override it."""
    clk_ns: float | None
    """The clock period in ns; without it the config decides (4)."""
    target_fps: int | None
    """The plan reaches this many images/s with as little as possible; without it the plan fills the part."""
    folding: str | Path | None
    """Nothing is planned: this folding config (JSON, FINN's format) decides."""
    export: Literal["vivado"] | None
    """Once all is verified, a folder for Vivado is written, too: sources, contents, Tcl, a host example (docs/vivado.md)."""
    mac_style: Literal["portable", "dsp48e2", "lut"] | None
    """All matrix units multiply so: portable (inferred), dsp48e2 (cascades) or lut; without it the plan chooses."""
    engines: int | Literal["auto"] | None
    """This many engines run the encoders one after another; auto takes as many as serve the goal. Without it every encoder has hardware of its own."""
    encoders_per_engine: int | Sequence[int] | None
    """Each engine runs this many encoders, as in 3,4,3,2; it stands in place of --engines."""
    frames_in_flight: int | None
    """An engine of several encoders works on this many images at once; with engines the default is 1."""
    goal: Literal["throughput", "latency"]
    """A plan with engines looks for this: many images/s, or a short time for one, with --target-fps at no fewer images/s than that."""
    loadable: bool
    """All contents come through the load port, so that the design serves other networks of its sizes."""
    reserve: Sequence[float | Literal["dense"] | str | Path]
    """The design serves this model, too, or networks that keep this share more, as 0.2, or all of them (dense). It may be given again, and the design is loadable then."""
    frame_check: Literal["frame", "transfer"] | None
    """Frames whose beats do not add up are counted (docs/loading.md): the input has TLAST in the last beat of every frame, or of a transfer of frames."""
    budget: str
    """The plan may use these shares of the part, as LUT=0.75,DSP=0.85. What is not said is LUT 0.7, DSP 0.8, BRAM 0.8, URAM 0.8; on a card with its shell LUT 0.8, DSP 0.8, BRAM 0.7, URAM 0.6; on an ECP5 COMB 0.8, MULT18 1, EBR 0.95, FF 0.8."""
    shell: str | None
    """This is on the part, too: none or xdma. Without it a card by its name, as U250, has xdma, and a part by its number none (docs/slrs.md)."""
    images: str | Path | None
    """The images to verify with: a folder of image files, or an .npz file with `images`, uint8 [frames, H, W, C], and if there are `labels`, integers [frames]. Without it MODEL.npz beside the model, else random images."""
    max_images: int | None
    """Verifies with this many of the images, drawn with --seed; without it with all."""
    lowering_images: int
    """The lowering is checked node by node on this many images."""
    traced_images: int
    """Every internal stream is compared for this many images."""
    stalled_images: int
    """This many images run again with random pauses and stalls."""
    simulation: Literal["auto", "whole", "units"]
    """Simulates the design in one piece (whole), unit by unit (units), or as its size says (auto)."""
    synth: Literal["nodes", "none"]
    """Yosys synthesises every node, or nothing. For an ECP5 it is nothing: `bitstream` maps the design."""
    places: bool
    """Every unit gets a place on the columns of the part (docs/places.md): timing with distance, a floor plan, and Pblocks with --export."""
    link_registers: Literal["taken", "high"] | None
    """Streams whose way is too long for the clock by the taken or the high constants of wires get registers (docs/places.md); with --places."""
    part_resources: str | Path | None
    """A JSON or YAML file has the resources of other parts."""
    jobs: int
    """This many jobs run at a time, in processes of their own."""
    seed: int
    """The seed of random and drawn images, pauses and stalls."""


class CheckKeywords(TypedDict, total=False):
    """Options of ``finn-vitprune check``."""

    budget: str
    """The plan may use these shares of the part, as LUT=0.75,DSP=0.85. What is not said is LUT 0.7, DSP 0.8, BRAM 0.8, URAM 0.8; on a card with its shell LUT 0.8, DSP 0.8, BRAM 0.7, URAM 0.6; on an ECP5 COMB 0.8, MULT18 1, EBR 0.95, FF 0.8."""
    shell: str | None
    """This is on the part, too: none or xdma. Without it a card by its name, as U250, has xdma, and a part by its number none (docs/slrs.md)."""
    part_resources: str | Path | None
    """A JSON or YAML file has the resources of other parts."""


class CompressKeywords(TypedDict, total=False):
    """Options of ``finn-vitprune import``."""

    score: Literal["magnitude", "first-order", "second-order"]
    """This decides which blocks and neurons stay: the weights, |w dL/dw| on the data, or the error of the output where the rest of a layer makes up for them."""
    reconstruct: bool
    """After pruning each layer is fitted to the float model's by least squares."""
    block_size: int | None
    """Blocks have this many rows and columns; without it the largest of 16, 8, 4, 2 that fits."""
    block_keep: float | str
    """This share of the blocks of W_q, W_k, W_v, W_proj is kept."""
    neuron_keep: float | str | None
    """This share of the MLP neurons is kept; without it as --block-keep."""
    keep_by_layer: str | None
    """Each layer has a share of its own, at the operations of --block-keep and --neuron-keep: `auto` measures what each layer loses, a FILE that an import wrote beside its output (.layers.json) says them."""
    token_keep: float | str
    """This share of the tokens is kept in the encoders of --drop-at."""
    drop_at: Sequence[int]
    """These encoders drop tokens, counted from 1, as 3,7,10."""
    weight_bits: Literal[4, 8]
    """The weights have this many bits."""
    activation_bits: Literal[4, 8]
    """The activations between layers have this many bits."""
    outer_bits: Literal[4, 8]
    """The weights of patch embedding and classifier have this many bits."""
    rounding: Literal["nearest", "corrected"] | None
    """Weights are rounded to the nearest code, or so that later ones of a layer make good what earlier ones lost; without it corrected below 8 bits."""
    fine_tune_epochs: int
    """The pruned network learns this many epochs from the float one (distillation)."""
    learning_rate: float | None
    """The learning rate of fine-tuning at its height; without it the slope of the loss decides."""
    batch_size: int | None
    """Each step of fine-tuning takes this many images; without it 64, or fewer (8 at least) so that an epoch has 25 steps."""
    train_images: int | None
    """Calibrates and fine-tunes on this many images; without it on all."""
    shift: int
    """Fine-tuning shifts images by up to this many pixels."""
    flip: bool
    """Mirrors half of the images in fine-tuning, and of the crops of few calibration images."""
    distill_features: float
    """Fine-tuning weighs the encoders' outputs so beside the logits; 0 is the logits alone."""
    mean: Sequence[float] | None
    """The model was trained with this mean of pixels / 255."""
    std: Sequence[float] | None
    """The deviation to --mean; without both the data's own are taken."""
    tolerance: float
    """The network may differ from onnxruntime by this share of the largest output."""
    eval_images: int
    """Every stage is measured on this many held-out images, drawn with --seed."""
    seed: int
    """The seed of all that is drawn."""
    force: bool
    """Replaces PRUNED.onnx if it is there."""


class EvaluateKeywords(TypedDict, total=False):
    """Options of ``finn-vitprune evaluate``."""

    reference: str | Path | None
    """The float network is evaluated beside: its accuracy, and where answers differ."""
    contents: str | Path | None
    """Of a build, the network of this file of `contents` is evaluated in place of its own."""
    classes: str | Path | None
    """A JSON file maps names of classes in the data to the network's numbers."""
    max_images: int | None
    """Draws this many of the images, each class in its share; without it all are taken."""
    seed: int
    """The seed of --max-images."""
    skip_damaged: bool
    """Leaves out images that cannot be read, and names them."""
    mean: Sequence[float] | None
    """The float network takes this mean of pixels / 255."""
    std: Sequence[float] | None
    """The deviation to --mean; without both the data's own are taken."""
    jobs: int
    """This many jobs run at a time, in processes of their own."""
    html: str | Path | None
    """Writes one self-contained page, too, with the worst images."""


class ExploreKeywords(TypedDict, total=False):
    """Options of ``finn-vitprune explore``."""

    engines: int | Literal["pipeline"] | Sequence[int | Literal["pipeline"]]
    """Plans have these numbers of engines, as 1,2; pipeline is hardware for every encoder."""
    frames_in_flight: Sequence[int]
    """An engine works on this many images at once, as 1,2."""
    goal: Literal["throughput", "latency"] | Sequence[Literal["throughput", "latency"]]
    """Plans on engines look for throughput, latency, or both with a comma."""
    bits: float | str | Sequence[float | str]
    """Imported networks have these bits of weights and activations, as 8,4/8: both 8; weights 4, activations 8."""
    block_keep: float | str | Sequence[float | str]
    """Imported networks keep these shares of blocks and neurons, as 0.5,0.7."""
    token_keep: float | str | Sequence[float | str]
    """Imported networks keep these shares of tokens at each drop, as 0.5,0.7."""
    pair: bool
    """Takes the n-th --block-keep with the n-th --token-keep, in place of all pairs."""
    drop_at: Sequence[int]
    """These encoders drop tokens, as 3,7,10; without it three, evenly."""
    block_size: int | None
    """Blocks of imported networks have this many rows and columns; without it the largest that fits."""
    data: str | None
    """The data to import with, as of `import`. Without it networks are made with noise: enough for plans, accuracy is not known."""
    clk_ns: float
    """The clock period in ns."""
    budget: str
    """The plan may use these shares of the part, as LUT=0.75,DSP=0.85. What is not said is LUT 0.7, DSP 0.8, BRAM 0.8, URAM 0.8; on a card with its shell LUT 0.8, DSP 0.8, BRAM 0.7, URAM 0.6; on an ECP5 COMB 0.8, MULT18 1, EBR 0.95, FF 0.8."""
    shell: str | None
    """This is on the part, too: none or xdma. Without it a card by its name, as U250, has xdma, and a part by its number none (docs/slrs.md)."""
    build: str
    """Builds and simulates the N best designs, or all that no other beats."""
    synth: Literal["nodes", "none"]
    """Yosys synthesises every node of what is built, or nothing."""
    jobs: int
    """This many jobs run at a time, in processes of their own."""
    seed: int
    """The seed of drawn images."""
    retry: bool
    """Tries designs again that failed."""
