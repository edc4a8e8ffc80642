"""The folder for Vivado: complete, right in simulation from its files alone, its scripts as documented, nothing of others lost."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from pyslang.ast import InstanceSymbol
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.build import EXPORT_STEPS, BuildOptions, _with_export, build
from finn_vitprune.builds.checks.verify import Verification
from finn_vitprune.builds.images import to_patches
from finn_vitprune.builds.records.folder import BuildFolder, ResultFile
from finn_vitprune.builds.records.places import design_places
from finn_vitprune.builds.stitched.place_constraints import PLACES, place_constraints
from finn_vitprune.builds.stitched.stitch import TOP, StitchedDesign
from finn_vitprune.builds.vivado import export
from finn_vitprune.builds.vivado.export import SUMS, VivadoTarget, export_vivado, refuse_foreign
from finn_vitprune.builds.vivado.finn_driver import driver_settings
from finn_vitprune.custom_ops.op.netlist import instance
from finn_vitprune.errors import AnswerIsNo, UserError
from finn_vitprune.files import is_partial, sha256
from finn_vitprune.report.summary import Summary
from finn_vitprune.sim import BusPort, Port, Simulator, compile_top, toolchain
from finn_vitprune.sim.beats import pack, unpack
from finn_vitprune.sim.compile import SILENT
from finn_vitprune.sim.loads import read_loads
from finn_vitprune.synth.parts import get_part
from finn_vitprune.synth.resources import ESTIMATE
from finn_vitprune.transforms.planning.part_fit import estimated
from tests.conftest import PART
from tests.elaborated import READERS, Elaborated, elaborate
from tests.sampling import sampled
from tests.vivado_mock import Call, Netlist, ScriptError, run_script

pytestmark = pytest.mark.xdist_group("small_build")

IMAGES = 5
SCRIPTS = ("synth_ooc.tcl", "implement.tcl", "package_ip.tcl")
STEP = "step_export_vivado"
TARGET = VivadoTarget(get_part(PART), 4.0, 0.5)
VERIFIED = Verification(
    images=IMAGES,
    stalled_images=0,
    traced_images=0,
    traced_streams=0,
    rtl_mismatches=0,
    class_changes=0,
    saturations=0,
    latency_cycles=1,
    interval_cycles=1.0,
    interval_cycles_max=1,
    frames=IMAGES,
    max_fill={},
)


@pytest.fixture(scope="module")
def options(small_build, tmp_path_factory) -> BuildOptions:
    """The small build again, with few images, exported for Vivado."""
    return BuildOptions(
        model=small_build.model,
        output_dir=tmp_path_factory.mktemp("exported") / "b",
        fpga_part=PART,
        target_fps=200_000,
        export="vivado",
        synth="none",
        max_images=IMAGES,
    )


@pytest.fixture(scope="module")
def built(options) -> BuildFolder:
    return BuildFolder(build(options))


@pytest.fixture
def folder(built, tmp_path) -> Path:
    """A copy of the exported folder, and of nothing else, its name with a space in it."""
    return shutil.copytree(built.vivado, tmp_path / "for vivado")


@pytest.fixture(scope="module")
def divided(small_build, tmp_path_factory) -> StitchedDesign:
    """The small design in three SLRs, the weights of a unit in UltraRAM, so that they are loaded, behind a frame check."""
    place = tmp_path_factory.mktemp("divided")
    config = json.loads((small_build.folder / "auto_folding_config.json").read_text())
    names = [name for name in config if name != "Defaults"]
    for i, name in enumerate(names):
        config[name]["slr"] = 3 * i // len(names)
    config["BlockSparseMVAU_rtl_3"]["ram_style"] = "ultra"
    (place / "folding.json").write_text(json.dumps(config))
    done = build(
        BuildOptions(
            model=small_build.model,
            output_dir=place / "b",
            fpga_part=PART,
            folding=place / "folding.json",
            stop_step="step_stitch",
            synth="none",
            frame_check="transfer",
        )
    )
    return StitchedDesign.load(BuildFolder(done).stitched)


@pytest.fixture(scope="module")
def divided_folder(divided, small_build, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vivado") / "vivado"
    logits = np.load(small_build.folder / "verification_output" / "rtl_logits.npy")
    export_vivado(divided, folder, TARGET, VERIFIED, small_build.images[:IMAGES], logits[:IMAGES])
    return folder


def sources(folder: Path) -> list[Path]:
    return [folder / name for name in (folder / "sources.f").read_text().split()]


def elaborated(folder: Path, reader: str = "synthesis") -> Elaborated:
    """The exported design by slang, as Vivado's synthesis reads it, or its simulator."""
    return elaborate(TOP, sources(folder), READERS[reader])


def netlist(folder: Path) -> Netlist:
    top = elaborated(folder).top
    nodes = [member for member in top.body if isinstance(member, InstanceSymbol)]
    inside = [f"{node.name}/{member.name}" for node in nodes for member in node.body if isinstance(member, InstanceSymbol)]
    return Netlist((*(node.name for node in nodes), *inside), tuple(port.name for port in top.body.portList))


def simulator(folder: Path) -> Simulator:
    described = json.loads((folder / "host" / "accelerator.json").read_text())
    ports = [[Port(described[way]["port"], 8 * described[way]["beat_bytes"])] for way in ("input", "output")]
    loads = [BusPort(described["load_port"], 5 + described["frame_check"])] if described["load_port"] else []
    return compile_top(TOP, sources(folder), *ports, loads=loads)


def transfer(folder: Path):
    """What moves beats in the host example: the RTL of the folder in simulation."""
    compiled = simulator(folder)
    (source,), (sink,) = compiled.inputs, compiled.outputs
    loads = read_loads(folder / "weights")

    def move(beats: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        result = compiled.run({source.name: beats}, {sink.name: shape[0]}, data_dir=folder / "rtl", loads=loads, idle_limit=100_000)
        assert result.deadlock is None and not result.extra_beats[sink.name] and result.outputs[sink.name].shape == shape
        return result.outputs[sink.name]

    return move


@pytest.fixture
def host(monkeypatch):
    """Loads the host example of a folder, as Python on a board does."""

    def load(folder: Path) -> ModuleType:
        monkeypatch.syspath_prepend(str(folder / "host"))
        for name in ("beats", "load_port", "pynq_board"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        spec = importlib.util.spec_from_file_location("host_example", folder / "host" / "accelerator.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


# What is in the folder


def test_the_folder_holds_the_design_and_says_what_was_not_run(folder, built):
    listed = dict(reversed(line.split("  ")) for line in (folder / SUMS).read_text().splitlines())
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert listed == {name: sha256(path) for name, path in files.items() if name != SUMS}
    design = StitchedDesign.load(built.stitched)
    assert [path.name for path in sources(folder)] == [*design.sources, f"{TOP}.v"] and all(path.is_file() for path in sources(folder))
    roms = {name: (built.stitched / name).read_text() for name in design.digests if name.endswith(".hex")}
    assert {path.name: path.read_text() for path in folder.glob("rtl/*.mem")} == {
        name.replace(".hex", ".mem"): text for name, text in roms.items()
    }
    assert len(roms) > 10 and not any(path.is_symlink() for path in files.values())
    readme = (folder / "README.md").read_text()
    assert "**Nothing of this folder was run in Vivado or on a board.**" in readme
    assert f"in one piece: {IMAGES} images, 0 values that differ" in readme
    assert all("It was not run in Vivado." in (folder / name).read_text() for name in (*SCRIPTS, "design.tcl"))
    assert "It was not run on a board." in (folder / "host" / "accelerator.py").read_text()


def test_sources_are_those_of_the_build_but_for_the_suffix_of_rom_files(folder, built):
    for path in sources(folder):
        ours, theirs = path.read_text(), (built.stitched / path.name).read_text()
        assert ours == re.sub(r'(\w)\.hex"', r'\1.mem"', theirs) and ".hex" not in ours


def test_no_file_names_a_place_of_this_machine(folder, divided_folder, built):
    places = [str(built.path), str(Path.home()), str(Path(__file__).parents[2]), "/tmp/"]
    for path in [*folder.rglob("*"), *divided_folder.rglob("*")]:
        if path.is_file():
            assert not [place for place in places if place.encode() in path.read_bytes()], path


def test_verilator_and_slang_accept_the_sources_alone(divided_folder, tmp_path):
    """To slang they are as to Vivado, which brings the primitive DSP48E2."""
    folder = shutil.copytree(divided_folder, tmp_path / "v")
    warnings = [f"-Wno-{name}" for name in SILENT]
    toolchain.run_verilator(["--lint-only", "-Wall", *warnings, "-f", "sources.f", "--top-module", TOP], folder)
    for reader in ("synthesis", "simulators"):
        found = elaborated(folder, reader)
        wrong = {error.text for error in found.errors if (error.code, error.args) != ("DiagCode(UnknownModule)", ("DSP48E2",))}
        assert found.top.name == TOP and not wrong, (reader, wrong)


def test_lint_finds_a_source_that_is_missing(folder):
    lines = (folder / "sources.f").read_text().splitlines()
    (folder / "sources.f").write_text("\n".join(line for line in lines if "vp_mvau.sv" not in line))
    with pytest.raises(toolchain.SimulationError, match="vp_mvau"):
        toolchain.run_verilator(["--lint-only", "-Wno-lint", "-Wno-style", "-f", "sources.f", "--top-module", TOP], folder)


# Simulation and the host example


def test_the_host_example_gives_the_logits_of_the_build_on_the_rtl_of_the_folder(folder, built, host):
    """Packed and unpacked by the example, simulated from the copy: the same bits, one image a transfer and three."""
    example, move = host(folder), transfer(folder)
    images, expected = (np.load(folder / "vectors" / name) for name in ("images.npy", "logits.npy"))
    assert np.array_equal(expected, np.load(built.rtl_logits)) and len(images) == IMAGES
    for batch in (1, 3):
        found = example.Accelerator(move, batch).logits(images)
        assert found.dtype == np.int32 and np.array_equal(found, expected)
    assert not np.array_equal(expected[0], expected[1])


def test_the_host_example_packs_as_the_project_does(folder, built, host, small_build):
    design = StitchedDesign.load(built.stitched)
    example = host(folder).Accelerator(None)
    beats = example.to_beats(small_build.images)
    assert np.array_equal(beats, pack(to_patches(design.host(), small_build.images), design.input))
    answer = np.random.default_rng(1).integers(0, 256, (3 * design.output.beats, design.output.tdata_bits // 8), dtype=np.uint8)
    assert np.array_equal(example.from_beats(answer), unpack(answer, design.output).reshape(3, -1))
    assert example.scale == Summary.load(built.path).model.logit_scale
    settings = json.loads((folder / "host" / "settings.json").read_text())
    assert settings == driver_settings(design, PART, 4.0) and settings["driver_information"]["platform"] == "alveo"
    for wrong in (small_build.images[0], small_build.images.astype(np.int64), small_build.images[:, :4], small_build.images[:0]):
        with pytest.raises(ValueError, match=r"the accelerator takes uint8 \[images, 8, 8, 1\]"):
            example.to_beats(wrong)
        with pytest.raises(ValueError, match="the accelerator takes"):
            example.logits(wrong)


@pytest.mark.parametrize("place", sampled(["folder", "divided_folder"], 1))
def test_the_boards_part_of_the_host_example_moves_and_loads(place, request, host, monkeypatch, capsys, tmp_path):
    """With stand-ins of PYNQ's classes: DMA channels at the simulated RTL, registers that take a load."""
    folder = request.getfixturevalue(place)
    move, example, channels, words = transfer(folder), host(folder), {}, []

    class Channel:
        running = idle = True

        def __init__(self, name):
            self.name = name

        def transfer(self, buffer):
            channels[self.name] = buffer

        def wait(self):
            if self.name == "send":
                channels["receive"][:] = move(channels["send"], channels["receive"].shape)
            self.transferred = channels[self.name].nbytes

    class Registers:
        def __init__(self, address, size):
            assert (address, size) == (0xA000, 64)  # one of its registers is beyond the first 32 bytes

        def write(self, address, word):
            words.append((address, word))

        def read(self, address):
            return 7 if address == 0x20 else 3 if len(words) == 1 else 5  # loading after begin, then open

    overlay = SimpleNamespace(
        axi_dma_0=SimpleNamespace(sendchannel=Channel("send"), recvchannel=Channel("receive")),
        ip_dict={"finn_design_0": {"phys_addr": 0xA000}, "axi_dma_0": {}},
    )
    monkeypatch.setitem(sys.modules, "pynq", SimpleNamespace(Overlay=lambda path: overlay, MMIO=Registers, allocate=np.zeros))
    monkeypatch.setattr(sys, "argv", ["accelerator.py", "design.bit", "--batch", "2"])
    with pytest.raises(SystemExit) as ended:
        example.main()
    assert ended.value.code == 0 and f"0 of {IMAGES} images differ" in capsys.readouterr().out
    if place == "divided_folder":
        assert words[0] == (0, 1) and [word for _, word in words[1:]] == list(np.fromfile(folder / "weights" / "contents.bin", "<u4"))
        words.clear()
        assert example.wrong_frames(example.PynqBoard("design.bit", "axi_dma_0", "finn_design_0", 64)) == 7
        return
    images = np.load(folder / "vectors" / "images.npy")[:2]
    np.save(tmp_path / "in.npy", images)
    monkeypatch.setattr(
        sys, "argv", ["accelerator.py", "design.bit", "--images", str(tmp_path / "in.npy"), "-o", str(tmp_path / "out.npy")]
    )
    example.main()
    assert not words and np.array_equal(np.load(tmp_path / "out.npy"), np.load(folder / "vectors" / "logits.npy")[:2])
    np.save(folder / "vectors" / "logits.npy", np.load(folder / "vectors" / "logits.npy") + 1)
    monkeypatch.setattr(sys, "argv", ["accelerator.py", "design.bit"])
    with pytest.raises(SystemExit) as ended:
        example.main()
    assert ended.value.code == 1 and f"{IMAGES} of {IMAGES} images differ" in capsys.readouterr().out


# Tcl


def run_all(folder: Path, work: Path, found: Netlist) -> dict[str, list[Call]]:
    return {name: run_script(folder / name, work, found) for name in SCRIPTS}


def names(calls: list[Call]) -> list[str]:
    return [call.name for call in calls]


def one(calls: list[Call], name: str) -> Call:
    (call,) = [call for call in calls if call.name == name]
    return call


def test_the_scripts_use_documented_options_and_existing_files(built, tmp_path):
    folder = shutil.copytree(built.vivado, tmp_path / "v")
    calls = run_all(folder, tmp_path, netlist(folder))
    synth = calls["synth_ooc.tcl"]
    mems = sorted(map(str, folder.glob("rtl/*.mem")))
    assert one(synth, "read_verilog").options == {"-sv": "1"} and one(synth, "read_verilog").arguments == list(map(str, sources(folder)))
    assert sorted(one(synth, "read_mem").arguments) == mems
    assert one(synth, "synth_design").options == {"-top": TOP, "-part": PART, "-mode": "out_of_context", "-flatten_hierarchy": "rebuilt"}
    assert one(synth, "create_clock") == Call("create_clock", {"-period": "4.000", "-name": "ap_clk"}, ["ap_clk"])
    order = [
        "open_checkpoint",
        "opt_design",
        "place_design",
        "phys_opt_design",
        "route_design",
        "write_checkpoint",
        "report_timing_summary",
    ]
    implement = names(calls["implement.tcl"])
    assert sorted(order, key=implement.index) == order and "create_pblock" not in implement
    added = [call.arguments for call in calls["package_ip.tcl"] if call.name == "add_files"]
    assert added[0] == list(map(str, sources(folder))) and sorted(added[1]) == mems
    linked = [call.options for call in calls["package_ip.tcl"] if call.name == "ipx::associate_bus_interfaces"]
    assert linked == [{"-busif": port, "-clock": "ap_clk", "-reset": "ap_rst_n"} for port in ("s_axis_0", "m_axis_0")]
    results = {path.name for path in (folder / "work").iterdir()} | {path.name for path in folder.iterdir()}
    assert {"synth.dcp", "routed.dcp", "ip"} <= results


def test_the_scripts_run_in_a_folder_with_a_space_in_its_name(folder, tmp_path):
    run_all(folder, tmp_path, netlist(folder))


def test_the_part_can_be_given_to_the_scripts(folder, tmp_path):
    calls = run_script(folder / "synth_ooc.tcl", tmp_path, netlist(folder), ("xcu280-fsvh2892-2L-e",))
    assert one(calls, "synth_design").options["-part"] == "xcu280-fsvh2892-2L-e"


def test_scripts_stop_where_something_is_missing_or_in_the_way(folder, tmp_path):
    found = netlist(folder)
    with pytest.raises(ScriptError, match="synth.dcp is missing: run synth_ooc.tcl first"):
        run_script(folder / "implement.tcl", tmp_path, found)
    (folder / "ip").mkdir()
    with pytest.raises(ScriptError, match="ip exists: move it to another place first"):
        run_script(folder / "package_ip.tcl", tmp_path, found)
    next(folder.glob("rtl/*.mem")).unlink()
    with pytest.raises(ScriptError, match="mem does not exist"):
        run_script(folder / "synth_ooc.tcl", tmp_path, found)


def test_the_scripts_are_in_tcl_8_5(folder):
    """Words of Tcl that came later."""
    for name in (*SCRIPTS, "design.tcl"):
        assert not re.search(
            r"\b(lmap|try|tailcall|coroutine|yield|dict map|string cat)\b", re.sub(r"#.*", "", (folder / name).read_text())
        )


def test_pythons_own_tcl_does_what_tclsh_does(built, tmp_path, monkeypatch):
    folder = shutil.copytree(built.vivado, tmp_path / "v")
    found = netlist(folder)
    calls = [run_all(folder, tmp_path, found)]
    for name in ("ip", "work"):
        shutil.rmtree(folder / name)
    monkeypatch.setattr(shutil, "which", lambda program: None)
    calls.append(run_all(folder, tmp_path, found))
    assert calls[0] == calls[1]


@pytest.mark.parametrize(
    "line, text",
    [
        ("synth_design -top a -part b -mod out_of_context", "synth_design has no option -mod"),
        (f"read_verilog {__file__}; synth_design -top a -part b -mode out_of_contex", "-mode is one of default out_of_context"),
        ("place_desing", 'invalid command name "place_desing"'),
        ("read_xdc -mode", "read_xdc -mode needs a value"),
        ("read_xdc", "read_xdc takes 1 to 1 arguments, not 0"),
        ("write_checkpoint -force a.dcp b.dcp", "write_checkpoint takes 0 to 1 arguments, not 2"),
        ("write_checkpoint -force a.dcp", "no design is synthesised"),
        ("read_verilog gone.v", "gone.v does not exist"),
        ("ipx::package_project -root a", "ipx::package_project has no option -root"),
    ],
)
def test_what_is_not_documented_is_refused_by_the_stand_in(line, text, tmp_path):
    (tmp_path / "wrong.tcl").write_text(f"{line}\n")
    with pytest.raises(ScriptError, match=re.escape(text)):
        run_script(tmp_path / "wrong.tcl", tmp_path)


# Several SLRs, a load port


def test_every_unit_is_in_the_pblock_of_its_slr(divided, divided_folder, tmp_path):
    folder = shutil.copytree(divided_folder, tmp_path / "v")
    found = netlist(folder)
    calls = run_all(folder, tmp_path, found)["implement.tcl"]
    placed = {}
    for call in calls:
        if call.name == "add_cells_to_pblock":
            pblock, *cells = call.arguments
            placed |= dict.fromkeys(cells, pblock)
    assert {call.arguments[0]: call.options["-add"] for call in calls if call.name == "resize_pblock"} == {
        f"{TOP}_slr{i}": f"SLR{i}" for i in range(3)
    }
    model = ModelWrapper(str(divided.folder.parent / "intermediate_models" / "step_stitch.onnx"))
    slrs = {
        f"{instance(node.name)}/{cell}": getCustomOp(node).get_nodeattr("slr")
        for node in model.graph.node
        if node.op_type != "VitCrossing_rtl"
        for cell in getCustomOp(node).unit_cells()
    }
    assert placed == {cell: f"{TOP}_slr{slr}" for cell, slr in slrs.items()} and set(slrs.values()) == {0, 1, 2}
    nodes = {cell for cell in found.cells if "/" not in cell}
    crossings = {f"{cell}/inst" for cell in nodes if "VitCrossing" in cell}
    assert set(found.cells) - nodes - set(placed) == crossings | {f"{cell}/reset" for cell in nodes} and crossings
    assert names(calls).index("add_cells_to_pblock") < names(calls).index("opt_design")
    assert any(call.options.get("-slr") for call in calls if call.name == "report_utilization")
    readme = (folder / "README.md").read_text()
    assert "by formula" in readme and "at least 16 cycles long" in readme


def test_every_unit_is_in_the_pblock_of_its_place(divided, small_build, tmp_path):
    """In place of those of SLRs; nothing else of the folder changes but what speaks of them."""
    model = ModelWrapper(str(divided.folder.parent / "intermediate_models" / "step_stitch.onnx"))
    places = design_places(model, get_part(PART), estimated(model), ESTIMATE, 4.0, {})
    ops = {node.name: getCustomOp(node) for node in model.graph.node}
    chain = {(link.source, link.target) for link in places.links if link.via == "load chain"}
    followers = {(op.get_nodeattr("load_from"), name) for name, op in ops.items() if "load_from" in op.get_nodeattr_types()}
    assert chain == {pair for pair in followers if pair[0]} | {("VitLoadEnd_rtl_0", "VitLoadPort_rtl_0")} and len(chain) >= 3
    folder, logits = tmp_path / "v", np.zeros((IMAGES, 1), np.int32)
    export_vivado(divided, folder, TARGET, VERIFIED, small_build.images[:IMAGES], logits, place_constraints(model, places, TOP))
    assert (folder / PLACES).is_file() and not (folder / "finn_slr.xdc").exists() and f"`{PLACES}`" in (folder / "README.md").read_text()
    found = netlist(folder)
    calls = run_all(folder, tmp_path, found)["implement.tcl"]
    held = [(call.arguments[0], cell) for call in calls if call.name == "add_cells_to_pblock" for cell in call.arguments[1:]]
    expected = {
        f"{instance(name)}/{cell}": f"{TOP}_{name}" for name, op in ops.items() if not op.is_crossing for cell in op.unit_cells() if cell != "load"
    }  # fmt: skip
    assert len(held) == len(expected) and {cell: pblock for pblock, cell in held} == expected
    assert {call.arguments[0] for call in calls if call.name == "resize_pblock"} == set(expected.values())


def test_a_pblock_of_a_cell_that_is_not_in_the_netlist_is_found(divided_folder, tmp_path):
    folder = shutil.copytree(divided_folder, tmp_path / "v")
    found = netlist(folder)
    path = folder / "finn_slr.xdc"
    path.write_text(path.read_text().replace("inst_VitAdd_rtl_1", "inst_VitAdd_rtl_11"))
    run_script(folder / "synth_ooc.tcl", tmp_path, found)
    with pytest.raises(ScriptError, match="no such cell"):
        run_script(folder / "implement.tcl", tmp_path, found)


def test_a_load_port_is_packaged_and_its_contents_are_there(divided, divided_folder, tmp_path):
    folder = shutil.copytree(divided_folder, tmp_path / "v")
    calls = run_script(folder / "package_ip.tcl", tmp_path, netlist(folder))
    (kind,) = {call.arguments[-2] for call in calls if call.name == "ipx::infer_bus_interface" and "s_axilite_0_AWADDR" in call.arguments}
    assert kind == "xilinx.com:interface:aximm_rtl:1.0"
    assert "s_axilite_0" in [call.options["-busif"] for call in calls if call.name == "ipx::associate_bus_interfaces"]
    assert one(calls, "ipx::add_memory_map").arguments == ["s_axilite_0", "core"]
    for name in ("contents.bin", "load.json"):
        assert sha256(folder / "weights" / name) == divided.digests[name]
    load = (folder / "host" / "load_port.py").read_text()
    assert subprocess.run([sys.executable, "-I", "-c", load], capture_output=True).returncode == 0, "it needs nothing but Python"


def test_tlast_of_a_frame_check_is_packaged(divided_folder, built, tmp_path):
    for source, last in ((divided_folder, ["s_axis_0_tlast"]), (built.vivado, [])):
        folder, work = shutil.copytree(source, tmp_path / str(len(last))), tmp_path / f"work{len(last)}"
        work.mkdir()
        found = netlist(folder)
        calls = run_script(folder / "package_ip.tcl", work, found)
        (ports,) = [c.arguments[:-2] for c in calls if c.name == "ipx::infer_bus_interface" and "s_axis_0_tdata" in c.arguments]
        assert ports[3:] == last and ("wrong_frames" in found.ports) == bool(last)
        assert ("`wrong_frames`" in (folder / "README.md").read_text()) == bool(last)


# What is refused, and what is kept


def test_files_of_others_are_named_and_kept(built, options):
    mine = built.vivado / "work" / "synth.dcp"
    mine.parent.mkdir()
    mine.write_text("hours of work")
    before = sha256(built.vivado / SUMS)
    try:
        with pytest.raises(UserError, match=rf"{mine} is not of the export to {built.vivado}.*: move it"):
            build(options.changed(start_step=STEP))
        assert mine.read_text() == "hours of work" and sha256(built.vivado / SUMS) == before
    finally:
        shutil.rmtree(mine.parent)


def test_an_export_is_made_again_and_what_was_edited_is_moved_aside(built, options):
    script = built.vivado / "implement.tcl"
    text = script.read_text()
    script.write_text(text + "# mine\n")
    build(options.changed(start_step=STEP))
    assert script.read_text() == text
    assert (built.path / "previous-1" / "vivado" / "implement.tcl").read_text().endswith("# mine\n")


def test_without_a_record_an_edited_file_is_named_and_kept(folder, built, small_build):
    (folder / "implement.tcl").write_text("mine")
    with pytest.raises(UserError, match="implement.tcl has changed since its export: move it"):
        export_vivado(StitchedDesign.load(built.stitched), folder, TARGET, VERIFIED, small_build.images, np.zeros((64, 10)))
    assert (folder / "implement.tcl").read_text() == "mine"


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "vivado").write_text("mine")
    with pytest.raises(UserError, match="vivado is not of the export"):
        refuse_foreign(tmp_path / "vivado")
    refuse_foreign(tmp_path / "nothing")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_export_leaves_what_was_there(built, tmp_path, small_build, monkeypatch, error):
    design, rendered = StitchedDesign.load(built.stitched), export._rendered

    def breaks(name, values):
        if name == "implement.tcl":
            raise error
        return rendered(name, values)

    monkeypatch.setattr(export, "_rendered", breaks)
    with pytest.raises(BaseException) as raised:
        export_vivado(design, tmp_path / "vivado", TARGET, VERIFIED, small_build.images, np.zeros((64, 10)))
    assert isinstance(raised.value, KeyboardInterrupt | OSError) and not list(tmp_path.iterdir())
    old = shutil.copytree(built.vivado, tmp_path / "vivado")
    with pytest.raises(BaseException):  # noqa: B017
        export_vivado(design, old, TARGET, VERIFIED, small_build.images, np.zeros((64, 10)))
    assert sha256(old / SUMS) == sha256(built.vivado / SUMS) and (old / "implement.tcl").is_file()
    assert not list(filter(is_partial, tmp_path.rglob("*")))


def test_what_lacks_contents_is_not_exported(built, options):
    rom = next(built.stitched.glob("*weights.hex"))
    kept = rom.read_bytes()
    try:
        rom.unlink()
        with pytest.raises(UserError, match=f"{rom} is missing"):
            build(options.changed(start_step=STEP))
    finally:
        rom.write_bytes(kept)
    with pytest.raises(UserError, match="has no host.onnx"):
        export_vivado(
            replace(StitchedDesign.load(built.stitched), digests={}), built.path / "other", TARGET, VERIFIED, np.zeros(1), np.zeros(1)
        )
    assert not (built.path / "other").exists()


@pytest.mark.parametrize(
    "change, text",
    [
        ({"rtl_mismatches": 3}, "nothing is exported: the RTL differs from the hardware graph in 3 values"),
        ({"class_changes": 1}, "nothing is exported: .* the class of 1 images"),
        (None, "exports a design that was simulated: step_simulate comes before it"),
    ],
)
def test_what_is_wrong_or_was_not_simulated_is_not_exported(built, options, monkeypatch, change, text):
    load = ResultFile.load

    def changed(file):
        found = load(file)
        return (change and replace(found, **change)) if isinstance(found, Verification) else found

    monkeypatch.setattr(ResultFile, "load", changed)
    shutil.rmtree(built.vivado)
    with pytest.raises(UserError, match=text) as raised:
        build(options.changed(start_step=STEP))
    assert isinstance(raised.value, AnswerIsNo) == (change is not None) and not built.vivado.exists()
    monkeypatch.undo()
    build(options.changed(start_step=STEP))
    assert built.vivado.is_dir()


@pytest.mark.parametrize(
    "steps, place",
    [
        (["step_tidy_up", "a.step_simulate", "step_hw_ipgen"], 2),
        (["step_tidy_up", "a.step_simulate", "a.step_summarise", "step_hw_ipgen"], 3),
        (["step_tidy_up", "a.step_stitch"], 2),
        (["step_tidy_up", "b.step_export_vivado", "a.step_simulate"], 2),
    ],
)
def test_the_export_follows_what_it_looks_at_in_a_config_of_the_users(steps, place):
    with_export = _with_export(steps, EXPORT_STEPS["vivado"])
    assert with_export.index(EXPORT_STEPS["vivado"]) == place
    assert [step for step in with_export if "export" not in step] == [step for step in steps if "export" not in step]


def test_what_does_not_fit_is_not_exported(options, tmp_path):
    (tmp_path / "parts.json").write_text(json.dumps({"xcown-x-1": {"LUT": 900, "FF": 9000, "DSP": 9, "BRAM36": 9, "URAM": 0}}))
    done = build(options.changed(output_dir=tmp_path / "b", fpga_part="xcown-x-1", part_resources=tmp_path / "parts.json"))
    assert Summary.load(done).no_text and not (done / "vivado").exists()


@pytest.mark.parametrize("given, step", [({"estimate_only": True}, "step_check_part"), ({"stop_step": "step_stitch"}, "step_stitch")])
def test_a_build_that_stops_before_its_export_is_refused(options, tmp_path, given, step):
    with pytest.raises(UserError, match=f"--export vivado is for a build that is verified, and this one stops after {step}"):
        build(options.changed(output_dir=tmp_path / "b", **given))
    assert not (tmp_path / "b").exists()


def test_a_part_without_package_is_said_so(divided, tmp_path, small_build):
    target = replace(TARGET, part=get_part("xcu250"))
    export_vivado(divided, tmp_path / "v", target, VERIFIED, small_build.images[:1], np.zeros((1, 10)))
    assert "The part xcu250 has no package and no speed grade. Add them: `-tclargs PART`" in (tmp_path / "v" / "README.md").read_text()
