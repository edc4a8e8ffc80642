"""Uses of the program, right and wrong, and what it answers: one line of the table is one command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from PIL import Image

from finn_vitprune.graph.packed import write_model
from tests.ingest_models import export, small_timm

SUMMARY = Path(__file__).parents[2] / "builds" / "results" / "deit" / "deit_small_w8a8_summary.json"


class When(Enum):
    """How far a command comes before it is refused: nothing heavy is imported yet, files are read, or a network is planned."""

    EARLY = "early"
    READ = "read"
    PLANNED = "planned"


@dataclass(frozen=True)
class Use:
    """A command line, what the line on standard error holds (nothing: it is accepted), the exit code, how far it comes; ``whole``: as the
    marker, for a plan that takes long.
    """

    line: str
    text: str = ""
    when: When = When.EARLY
    code: int = 2
    whole: bool = False

    @property
    def accepted(self) -> bool:
        return not self.text


def read(line: str, text: str, code: int = 2) -> Use:
    """Refused after files or data were read."""
    return Use(line, text, When.READ, code)


def planned(line: str, text: str, code: int = 2, whole: bool = False) -> Use:
    """Refused after FINN was loaded, and a network lowered."""
    return Use(line, text, When.PLANNED, code, whole)


def accepted(line: str, whole: bool = False) -> Use:
    """Done, exit code 0."""
    return Use(line, "", When.PLANNED, 0, whole)


def make_files(folder: Path) -> None:
    """All files that the table names."""
    rng = np.random.default_rng(0)
    shutil.copy(files("finn_vitprune.builds") / "example" / "deit_digits.onnx", folder / "M.onnx")
    images, labels = rng.integers(0, 256, (20, 8, 8, 1), dtype=np.uint8), np.arange(20) % 10
    large = rng.integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    arrays = {
        "noise": {"images": images, "labels": labels}, "float": {"images": images / 255.0}, "wrongsize": {"images": rng.integers(0, 256, (20, 9, 9, 1), dtype=np.uint8)},
        "nchw": {"images": images.transpose(0, 3, 1, 2)}, "shortlabels": {"images": images, "labels": labels[:5]},
        "biglabels": {"images": images, "labels": labels + 90}, "neglabels": {"images": images, "labels": labels - 5},
        "empty": {"images": images[:0]}, "nokey": {"pictures": images}, "rgb": {"images": images.repeat(3, -1)},
        "zeros": {"train_images": large, "train_labels": np.zeros(40, np.int64), "test_images": large[:10], "test_labels": np.zeros(10, np.int64)},
    }  # fmt: skip
    for name, content in arrays.items():
        np.savez(folder / f"{name}.npz", **content)
    np.save(folder / "ok.npy", images)
    write_model(onnx.load(folder / "M.onnx"), folder / "P.xz")
    np.savez(folder / "P.npz", images=images)
    np.save(folder / "float.npy", images / 255.0)
    (folder / "text.onnx").write_text("not a model\n" * 20)
    (folder / "afile").touch()
    export(small_timm(), folder / "vit_tiny.onnx")
    _convolution(folder / "conv.onnx")
    for name in ("imgs", "imgs_bad", "imgs_mixed", "emptydir"):
        (folder / name).mkdir()
    for i in range(24):
        picture = Image.fromarray(rng.integers(0, 256, (70, 80, 3), dtype=np.uint8))
        picture.save(folder / "imgs" / f"{i}.jpg")
        picture.save(folder / "imgs_mixed" / f"{i}.jpg")
    shutil.copy(folder / "imgs" / "0.jpg", folder / "pic.jpg")
    for name in ("imgs_bad", "imgs_mixed"):
        (folder / name / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photograph")
    (folder / "list.json").write_text("[1, 2]")
    (folder / "bad.json").write_text('{"BlockSparseMVAU_rtl_0": {"SIMD": 7, "PE": "x"}}')
    (folder / "parts.json").write_text(json.dumps({"xcbar": {"LUT": 1, "FF": 1, "DSP": 1, "BRAM36": 1, "URAM": 0}}))
    (folder / "bad.yaml").write_text("steps: [")
    (folder / "unk.yaml").write_text("steps: [step_nosuch]\nfpga_part: xcu250-figd2104-2L-e\n")
    (folder / "ro").symlink_to("/proc")


def _convolution(path: Path) -> None:
    """A convolutional network of one layer."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 3, 3, 3], torch.zeros(108).tolist())
    infos = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6]),
    ]
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", infos[:1], infos[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def left(folder: Path) -> Iterator[str]:
    """What is in a folder, without locks."""
    yield from sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.name.startswith("."))


IMPORT = "import vit_tiny.onnx --data imagefolder:imgs"
USES = (
    # build: options
    Use("build M.onnx -o b --frames-in-flight 2 --estimate-only", "--frames-in-flight 2 is for engines: add --engines"),
    Use("build M.onnx -o b --reserve nofile.onnx --estimate-only", "nofile.onnx: no such file"),
    Use("build M.onnx -o b --reserve 0", "--reserve 0: use a share above 0"),
    accepted("build M.onnx -o more --reserve 1.5 --stop-step step_lower"),
    Use("build M.onnx -o b --shell foo", "--shell foo is unknown: use none or xdma"),
    Use("build M.onnx -o b --max-images 0", "--max-images 0: use 1 or more"),
    Use("build M.onnx -o b --start-step foo", "--start-step foo is unknown: steps are step_tidy_up,"),
    Use("build M.onnx -o b --stop-step foo", "--stop-step foo is unknown: steps are step_tidy_up,"),
    Use("build M.onnx -o b --stop-step step_fodl", "--stop-step step_fodl is unknown: did you mean step_fold?"),
    planned("build M.onnx -o b --start-step step_simulate", "holds no earlier build"),
    Use("build M.onnx -o afile --estimate-only", "afile is a file: give a folder"),
    planned("build M.onnx -o /proc/x --estimate-only", "nothing can be written to /proc/x"),
    planned("build M.onnx -o ro/b --estimate-only", "nothing can be written to /proc/b"),
    Use("build M.onnx -o b --config nosuch", "build config nosuch: no such file, and none of these names: dataflow"),
    planned("build M.onnx -o b --config bad.yaml", "bad.yaml is not YAML"),
    planned("build M.onnx -o b --config unk.yaml", "step_nosuch"),
    Use("build M.onnx -o b --part-resources parts.json --fpga-part xcfoo --estimate-only", "unknown part xcfoo"),
    Use("build M.onnx -o b --part-resources nofile.json --fpga-part xcbar", "nofile.json: no such file"),
    Use("build M.onnx -o b --jobs 0", "--jobs 0: use 1 or more"),
    Use("build M.onnx -o b --jobs two", "--jobs two: use a whole number"),
    planned("build M.onnx -o b --scheduler tcp://127.0.0.1:1 --estimate-only", "no Dask scheduler answers there"),
    Use("build M.onnx -o b --export quartus", "--export quartus: use vivado"),
    Use("build M.onnx -o b --seed -1", "--seed -1: use 0 or more"),
    Use("build M.onnx -o b --mac-style dsp --estimate-only", "--mac-style dsp is unknown: use portable, dsp48e2, lut"),
    Use("build M.onnx -o b --engines 0", "--engines 0: use a number of 1 or more, or auto"),
    Use("build M.onnx -o b --engines abc", "--engines abc: use a number of 1 or more, or auto"),
    planned("build M.onnx -o b --engines 99", "99 engines for 4 encoders: use 1 to 4"),
    planned("build M.onnx -o b --encoders-per-engine 3,9", "add up to the 4 encoders"),
    Use("build M.onnx -o b --encoders-per-engine 3,x", "--encoders-per-engine 3,x: use numbers with commas"),
    Use("build M.onnx -o b --budget LUT=1.7", "LUT=1.7"),
    Use("build M.onnx -o b --budget FOO=.5", "FOO"),
    planned("build M.onnx -o b --folding bad.json", "bad.json"),
    planned("build M.onnx -o b --folding list.json", "list.json"),
    Use("build M.onnx -o b --clk-ns 0", "--clk-ns 0: use 0.1 or more"),
    Use("build M.onnx -o b --clk-ns -3", "--clk-ns -3: use 0.1 or more"),
    Use("build M.onnx -o b --clk-ns nan", "--clk-ns nan: use"),
    Use("build M.onnx -o b --fpga-part nosuchpart", "unknown part nosuchpart"),
    Use("build M.onnx -o b --board ulx3s-99f", "--board ulx3s-99f is unknown: did you mean ulx3s-"),
    Use("build M.onnx -o b --board ulx3s-85f --fpga-part ZCU104", "give one of the two"),
    Use("build M.onnx -o b --board ulx3s-85f --mac-style dsp48e2", "--mac-style dsp48e2 is not possible on LFE5U-85F: use portable or lut"),
    Use("build M.onnx -o b --fpga-part LFE5U-45F --frame-check frame", "--frame-check is not possible on LFE5U-45F"),
    Use("build M.onnx -o b --board ulx3s-45f --budget LUT=0.5", "parts of ECP5 have other resources; use COMB=0.8"),
    Use("build M.onnx -o b --fpga-part ZCU104 --budget EBR=0.5", "parts of UltraScale+ have other resources; use LUT=0.7"),
    Use("build M.onnx -o b --budget LUT=0.5,EBR=0.5", "its resources are of two families"),
    accepted("build M.onnx -o ecp5 --board ulx3s-85f --estimate-only --max-images 2", whole=True),
    Use("build M.onnx -o b --target-fps 1e3", "--target-fps 1e3: use a whole number"),
    Use("build M.onnx -o b --goal speed", "--goal speed: use throughput or latency"),
    Use("build M.onnx -o b --synth yes", "--synth yes: use nodes or none"),
    Use("build M.onnx -o b --egnines 1", "--engines"),
    Use("build M.onnx", "--output"),
    Use("build nofile.onnx -o b", "nofile.onnx: no such file"),
    Use("build emptydir -o b", "emptydir: is a folder, a file is needed"),
    read("build vit_tiny.onnx -o b --estimate-only", "is a float network, and QONNX is needed: import it first, `finn-vitprune import"),
    read("build text.onnx -o b", "text.onnx is not an ONNX file"),
    planned("build M.onnx -o b --target-fps 2000000000 --estimate-only", "does not reach 2,000,000,000 images/s", code=1, whole=True),
    # build: images
    Use("build M.onnx -o b --images pic.jpg", "--images pic.jpg is not an .npz file: give one with `images`, uint8 [frames, H, W, C]"),
    Use("build M.onnx -o b --images ok.npy", "--images ok.npy is not an .npz file"),
    planned("build M.onnx -o b --images emptydir", "emptydir has no image files: use .jpg"),
    planned("build M.onnx -o b --images imgs_bad", "imgs_bad/broken.jpg: Truncated File Read: remove or replace it"),
    Use("build M.onnx -o imgs/b --images imgs", "the build would be among its images"),
    planned("build M.onnx -o b --images float.npz", "float.npz is float64; pixels are uint8"),
    planned("build M.onnx -o b --images wrongsize.npz", "the model takes [frames, 8, 8, 1]"),
    planned("build M.onnx -o b --images nchw.npz", "the model takes [frames, 8, 8, 1]"),
    planned("build M.onnx -o b --images shortlabels.npz", "labels have shape [5] but there are 20 images"),
    planned("build M.onnx -o b --images biglabels.npz", "labels hold 90 (image 0) and the classes are 0 to 9"),
    planned("build M.onnx -o b --images neglabels.npz", "labels hold -5 (image 0) and the classes are 0 to 9"),
    planned("build M.onnx -o b --images empty.npz", "empty.npz holds no images"),
    planned("build M.onnx -o b --images nokey.npz", "nokey.npz has pictures and no `images`: give one with `images`"),
    planned("build M.onnx -o b --images rgb.npz", "the model takes [frames, 8, 8, 1]"),
    # check
    Use("check nofile.onnx", "nofile.onnx: no such file"),
    read("check text.onnx", "text.onnx is not an ONNX file"),
    read("check vit_tiny.onnx --fpga-part xc1", "unknown part xc1"),
    Use("check conv.onnx", "", When.READ, 1),
    Use("check M.onnx --budget LUT=x", "LUT=x"),
    accepted("check M.onnx --json"),
    accepted("check vit_tiny.onnx --nodes"),
    accepted("check M.onnx --fpga-part ZCU104", whole=True),
    # import
    read("import vit_tiny.onnx --data digits -o o.onnx", "digits has images of 8 x 8 x 1, the model takes 64 x 64 x 3"),
    read("import vit_tiny.onnx --data nosuch -o o.onnx", "--data nosuch: unknown data set, use digits"),
    read("import vit_tiny.onnx --data imagefolder:/nope -o o.onnx", "imagefolder:/nope: there is no such folder"),
    read("import vit_tiny.onnx --data imagefolder:emptydir -o o.onnx", "imagefolder:emptydir has no image files: use .jpg"),
    read("import vit_tiny.onnx --data imagefolder:imgs_bad -o o.onnx", "cannot read image imgs_bad/broken.jpg"),
    read("import vit_tiny.onnx --data imagefolder:imgs_mixed -o o.onnx --train-images 20000", "cannot read image imgs_mixed/broken.jpg"),
    read("import vit_tiny.onnx --data npz:nokey.npz -o o.onnx", "npz:nokey.npz has pictures: use `images`, or train_images, train_labels"),
    read("import vit_tiny.onnx --data npz:pic.jpg -o o.onnx", "cannot read npz:pic.jpg"),
    read("import vit_tiny.onnx --data npz:wrongsize.npz -o o.onnx", "9 x 9 x 1, the model takes 64 x 64 x 3"),
    read("import vit_tiny.onnx --data npz:empty.npz -o o.onnx", "npz:empty.npz has 0 images: give at least 10"),
    read(f"{IMPORT} --drop-at 13 --token-keep 0.5 -o o.onnx", "--drop-at 13: tokens can be dropped in the encoders 1 to 1"),
    Use(f"{IMPORT} --drop-at 0 --token-keep 0.5 -o o.onnx", "--drop-at 0: encoders count from 1"),
    read(f"{IMPORT} --token-keep 0.5 -o o.onnx", "--token-keep 0.5 needs --drop-at, for instance --drop-at 1"),
    Use(f"{IMPORT} --drop-at 3 -o o.onnx", "--drop-at 3 drops nothing at --token-keep 1"),
    Use(f"{IMPORT} --drop-at 3,3 --token-keep .5 -o o.onnx", "--drop-at 3,3: encoder 3 is there twice"),
    Use(f"{IMPORT} --drop-at a,b --token-keep .5 -o o.onnx", "--drop-at a,b: expected numbers with commas, for example 3,7,10"),
    Use(f"{IMPORT} --block-keep -0.5 -o o.onnx", "--block-keep -0.5 is not a share: use more than 0 and at most 1"),
    Use(f"{IMPORT} --block-keep 1.5 -o o.onnx", "--block-keep 1.5 is not a share"),
    Use(f"{IMPORT} --neuron-keep half -o o.onnx", "--neuron-keep half is not a share"),
    Use(f"{IMPORT} --keep-by-layer auto -o o.onnx", "--keep-by-layer auto: everything is kept: give the shares of all layers together"),
    Use(f"{IMPORT} --keep-by-layer auto --block-keep .5 --score magnitude -o o.onnx", "--score magnitude does not tell what a layer loses"),
    Use(f"{IMPORT} --keep-by-layer gone.layers.json -o o.onnx", "gone.layers.json"),
    read(f"{IMPORT} --block-size 7 --block-keep .5 -o o.onnx", "block size 7 does not divide 24 (encoder 1, W_q): use 2, 4 or 8"),
    Use(f"{IMPORT} --weight-bits 6 -o o.onnx", "--weight-bits 6: use 4 or 8"),
    Use(f"{IMPORT} --score best -o o.onnx", "--score best: use magnitude, first-order or second-order"),
    Use(f"{IMPORT} --mean 0.5 -o o.onnx", "--mean and --std go together: give both, or neither"),
    Use(f"{IMPORT} --learning-rate 0.1 -o o.onnx", "--learning-rate 0.1 is for fine-tuning: add --fine-tune-epochs"),
    Use(f"{IMPORT} --fine-tune-epochs -1 -o o.onnx", "--fine-tune-epochs -1: use 0 or more"),
    read(f"{IMPORT} --mean 0.5,0.5 --std 0.5,0.5 -o o.onnx", "--mean has 2 numbers, the model 3 channels"),
    read("import conv.onnx --data imagefolder:imgs -o o.onnx", "conv.onnx cannot be imported"),
    read("import M.onnx --data digits -o o.onnx", "M.onnx is QONNX: `finn-vitprune build` takes it as it is"),
    read(f"{IMPORT} -o ok.npy", "-o ok.npy: the output is an ONNX file, give it the suffix .onnx"),
    read(f"{IMPORT} -o vit_tiny.onnx", "-o vit_tiny.onnx is the model itself"),
    read(f"{IMPORT} -o /proc/nodir/x.onnx", "/proc cannot be written"),
    accepted("import vit_tiny.onnx --data npz:zeros.npz --score magnitude --no-reconstruct -o zeros_q.onnx"),
    # evaluate
    Use("evaluate M.onnx --data digits --mean 0.5 --std 0.5", "--mean and --std are for the float network: give it with --float"),
    Use("evaluate M.onnx --data digits --contents afile", "--contents is for a build, M.onnx is not a folder"),
    Use("evaluate M.onnx --data digits --max-images 0", "--max-images 0: use 1 or more"),
    Use("evaluate M.onnx --data digits --float nofile.onnx", "nofile.onnx: no such file"),
    planned("evaluate M.onnx --data imagefolder:imgs_bad", "broken.jpg"),
    planned("evaluate M.onnx --data npz:pic.jpg", "pic.jpg"),
    planned("evaluate emptydir --data digits", "emptydir is not a build folder"),
    accepted("evaluate M.onnx --data npz:noise.npz --jobs 1"),
    # simulate, contents, report, picture
    Use("simulate emptydir --images ok.npy -o s.npy", "emptydir holds no finished build"),
    Use("simulate nodir --images ok.npy -o s.npy", "nodir holds no finished build"),
    Use("simulate build/demo --images ok.npy -o s.npy", "build/demo holds no finished build"),
    Use("simulate ex1 --images float.npy -o s.npy", "ex1 holds no finished build"),
    Use("contents M.onnx --for emptydir -o c.bin", "emptydir holds no finished build"),
    Use("contents M.onnx --for build/demo -o c.bin", "build/demo holds no finished build"),
    Use("report emptydir", "emptydir holds no report/vitprune_summary.json: the build did not finish"),
    Use("report nodir", "no folder nodir: give the output folder of `finn-vitprune build`"),
    Use("report afile", "afile is not a summary of this version"),
    Use("report list.json", "list.json is not a summary of this version"),
    Use("report a b c", "report takes one or two folders, not 3"),
    planned(f"report {SUMMARY} --html /proc/nodir/x.html", "/proc/nodir"),
    Use("picture emptydir -o p.png --what tokens", "no checkpoint at emptydir/checkpoint.pt", When.PLANNED),
    planned(f"picture {SUMMARY} -o p.png --what tokens", "is a summary: use cycles, resources, fifos, memory"),
    planned(f"picture {SUMMARY} -o p.foo --what memory", "unknown picture type '.foo': use .png, .svg, .pdf"),
    Use(f"picture {SUMMARY} -o p.png --what nonsense", "nonsense"),
    accepted(f"report {SUMMARY}"),
    # run, program
    Use("run M.onnx --target gpu --images noise.npz", "target gpu is not known: use one of integers, rtl, netlist, serial:/dev/ttyUSB0"),
    Use("run emptydir --target rtl --images noise.npz", "emptydir holds no finished build"),
    Use("run M.onnx --target integers --images nofile.npz", "--images nofile.npz: no such file or folder"),
    Use("run M.onnx --target integers --images noise.npz --contents nofile.bin", "nofile.bin: no such file"),
    Use("run M.onnx --target integers --images noise.npz -o logits.txt", "-o logits.txt: give a name that ends in .npy or .npz"),
    Use("run M.onnx --target integers --images noise.npz -o noise.npz", "-o noise.npz is there already and holds no logits of `run`"),
    Use("run M.onnx --target integers --images noise.npz -o ok.npy", "-o ok.npy is there already and holds no logits of `run`"),
    Use("run M.onnx --target integers --images noise.npz --baud 0", "--baud: use 1 or more"),
    planned("run M.onnx --target integers --images wrongsize.npz -o w.npz", "the model takes [frames, 8, 8, 1]"),
    planned(
        "run M.onnx --target integers --images noise.npz --contents afile", "M.onnx is no build, and contents are for the design of one"
    ),
    accepted("run M.onnx --target integers --images noise.npz --max-images 5 -o run.npz"),
    planned("program emptydir --board ulx3s-85f", "emptydir/bitstream has no bitstream"),
    # a packed model
    accepted("check P.xz"),
    accepted("complexity P.xz"),
    accepted("picture P.xz --what tokens --max-images 2 -o tokens.png"),
    accepted("evaluate P.xz --data npz:P.npz --jobs 1"),
    accepted("build P.xz -o packed --fpga-part ZCU104 --stop-step step_lower --max-images 2"),
    accepted("build M.onnx -o pictures --images imgs --fpga-part ZCU104 --stop-step step_lower --max-images 1"),
    accepted("export P.xz -o unpacked.onnx"),
    # explore
    Use("explore vit_tiny.onnx --fpga-part U250 --parts ZCU104 -o e", "No such option: --parts"),
    planned("explore vit_tiny.onnx --fpga-part U250,foo --bits 8 -o e", "unknown part foo"),
    Use("explore vit_tiny.onnx --fpga-part U250 --engines 0 -o e", "--engines 0: use numbers of 1 or more, or pipeline"),
    Use("explore vit_tiny.onnx --fpga-part U250 --bits 5 -o e", "--bits 5: use 8 or 4, or weights/activations, as 4/8"),
    Use("explore vit_tiny.onnx --fpga-part U250 --block-keep 2 -o e", "--block-keep 2 is not a share"),
    Use("explore vit_tiny.onnx --fpga-part U250 --build worst:1 -o e", "--build worst:1: use best:N, as best:3, or pareto"),
    Use("explore vit_tiny.onnx --fpga-part U250 --drop-at 40 --token-keep .5 -o e", "say how many bits, too, as --bits 8"),
    Use("explore nofile.onnx --fpga-part U250 -o e", "nofile.onnx: no such file"),
    Use("explore M.onnx --fpga-part U250 --clk-ns 0 -o e", "--clk-ns 0: use 0.1 or more"),
    planned("explore vit_tiny.onnx --fpga-part U250 -o e", "is not QONNX: say how many bits, as --bits 8,4"),
    # complexity, train, export, sweep
    read("complexity nosuchmodel", "nosuchmodel is neither a file nor a timm model"),
    read("complexity deit_tiny_patch16_224 --block-size 7", "block size 7 does not divide 192 (encoder 1, W_q)"),
    read("complexity deit_tiny_patch16_224 --drop-at 13", "--drop-at 13: deit_tiny_patch16_224 has encoders 1 to 12"),
    Use("complexity deit_tiny_patch16_224 --token-keep 0", "0 is not a share"),
    read("complexity resnet18", "timm model resnet18 is not a plain ViT or DeiT"),
    Use("train -o t --config nosuch", "training config nosuch: no such file, and none of these names"),
    read("train -o t --config deit_digits --set prune.nosuch=1", "unknown key prune.nosuch"),
    read("train -o t --config deit_digits --set prune.block_size=7", "block size 7 does not divide 64 (encoder 1, W_q)"),
    read("train -o t --config deit_digits --set prune.block_keep=abc", "prune.block_keep = 'abc': use a number"),
    read("train -o t --resume", "no checkpoint at t/checkpoint.pt"),
    read("train -o t --data npz:nokey.npz", "npz:nokey.npz has no train_images"),
    read("export M.onnx -o M.onnx.xz", "so give M.xz"),
    read("export afile -o x.onnx", "afile is not an ONNX model"),
    Use("sweep nosuch", "'-o'"),
    read("sweep nosuch -o s", "sweep nosuch: no such file, and none of these names"),
    Use("nosuchcommand", "No such command 'nosuchcommand'"),
)
"""Of a review, and others: the names that it uses are in :func:`make_files`."""
