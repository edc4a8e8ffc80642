"""Boards with PYNQ and cards with XRT, against stand-ins of both: each call, the same logits, or an error."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from finn_vitprune import Accelerator, BlockDesign, UserError
from finn_vitprune.builds.networks import contents_of
from finn_vitprune.sim.contents import Contents
from tests.link.board import tiny
from tests.link.cards import Chip, Pynq, Xrt
from tests.vit_models import random_vit

KINDS = {"pynq": ("pynq:design.bit", "pynq", Pynq), "xrt": ("xrt:design.xclbin", "pyxrt", Xrt)}


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    """A network whose weights are built in."""
    return tiny(tmp_path_factory.mktemp("fixed"))


@pytest.fixture(scope="module")
def loadable(tmp_path_factory):
    """One that is loaded, and counts wrong frames."""
    return tiny(tmp_path_factory.mktemp("loadable"), loadable=True, engines=1, frame_check="transfer")


@pytest.fixture(scope="module")
def other(loadable):
    """Contents of another network for it."""
    place = loadable.folder.parent
    random_vit(depth=1, dim=8, heads=1, drop_at=(), seed=9)[0].save(str(place / "other.onnx"))
    contents_of(place / "other.onnx", loadable.folder).write(place / "other.bin")
    return place / "other.bin"


@pytest.fixture(scope="module")
def chips(fixed, loadable):
    return {"fixed": Chip(fixed.design), "loadable": Chip(loadable.design)}


@pytest.fixture
def chip(chips, request):
    """What a test does to a chip is undone."""
    found = chips[request.param if hasattr(request, "param") else "fixed"]
    found.faults.clear()
    found.reset()
    return found


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def opened(monkeypatch, kind):
    """Opens a target of this kind with a chip in it; gives driver and stand-in."""

    def open_(network, chip, *, stand_in=None, design=None, **options):
        target, module, made = KINDS[kind]
        found = stand_in or made(chip)
        monkeypatch.setitem(sys.modules, module, found)
        return Accelerator(target, design or network.folder, **({"timeout_s": 0.05} | options)), found

    return open_


def logits_of(network, images, contents=None):
    with Accelerator("integers", network.folder) as integers:
        if contents:
            integers.load(contents)
        return integers.predict(images)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_logits_are_those_of_the_integers(fixed, chip, opened, batch):
    images = fixed.images[:7]
    driver, _ = opened(fixed, chip, block_design=BlockDesign(batch=batch))
    with driver:
        found = driver.predict(images)
        assert found.dtype == np.int32 and (found == logits_of(fixed, images)).all()
        assert (np.stack(list(driver.stream(images[:2, :, :, 0]))) == found[:2]).all()
        state = driver.status()
    assert (state.images, state.design, state.resent, state.board, state.wrong_frames) == (9, fixed.design.number, 0, None, None)


CALLS = {
    "pynq": ["allocate (16, 1)", "allocate (10, 4)", "receive.transfer (10, 4)", "send.transfer (16, 1)", "send.wait", "receive.wait"],
    "xrt": ["sync to 16 0", "odma0 40 1", "idma0 16 1", "idma0 wait 50", "odma0 wait 50", "sync from 40 0"],
}
OPENED = {"pynq": ["Overlay design.bit"], "xrt": ["device 0", "load_xclbin design.xclbin", "kernel idma0", "kernel odma0"]}


def test_every_call_of_a_transfer(fixed, chip, opened, kind):
    driver, stand_in = opened(fixed, chip)
    sizes = fixed.design.input.beats, fixed.design.output.beats
    assert sizes == (16, 10), "the calls below are for these sizes"
    assert stand_in.calls[: len(OPENED[kind])] == OPENED[kind]
    assert stand_in.calls[len(OPENED[kind]) :][: len(CALLS[kind])] == CALLS[kind]
    stand_in.calls.clear()
    driver.predict(fixed.images[:1])
    assert stand_in.calls == [call for call in CALLS[kind] if not call.startswith("allocate")], "memory is kept"
    driver.close()
    driver.close()
    assert all(buffer.freed for buffer in getattr(stand_in, "buffers", ()))


@pytest.mark.parametrize("chip", ["loadable"], indirect=True)
def test_a_loadable_design_is_loaded_and_loaded_again(loadable, other, chip, opened, kind):
    images = loadable.images[:3]
    driver, stand_in = opened(loadable, chip)
    name = {"pynq": "MMIO 0xa0000000 64", "xrt": "ip finn_design"}[kind]
    assert name in stand_in.calls and chip.words == list(Contents.load(loadable.design.folder).words)
    first = driver.predict(images)
    assert (first == logits_of(loadable, images)).all()
    driver.load(other)
    second = driver.predict(images)
    assert (second == logits_of(loadable, images, other)).all() and (second != first).any()
    assert driver.status().contents == other and driver.status().wrong_frames == 0
    assert driver.logit_scale == Accelerator("integers", loadable.folder.parent / "other.onnx").logit_scale


@pytest.mark.parametrize("kind", ["pynq"], indirect=True)
@pytest.mark.parametrize("chip", ["loadable"], indirect=True)
@pytest.mark.parametrize("faults", [["silent"], ["short"], ["counted"], ["fine", "silent", "counted", "short"]])
def test_pynq_sends_again_after_a_reset(loadable, other, chip, opened, faults):
    """The contents that were loaded last are loaded once more."""
    driver, stand_in = opened(loadable, chip)
    driver.load(other)
    stand_in.calls.clear()
    chip.faults += faults
    assert (driver.predict(loadable.images[:3]) == logits_of(loadable, loadable.images[:3], other)).all()
    failed = len(faults) - faults.count("fine")
    assert driver.resent == failed == stand_in.calls.count("download") == stand_in.calls.count("send.start")


@pytest.mark.parametrize("kind", ["xrt"], indirect=True)
@pytest.mark.parametrize("fault, said", [
    ("silent", r"the data mover of the images did not end \(ERT_CMD_STATE_TIMEOUT\)"),
    ("short", r"the data mover of the images did not end"),
])  # fmt: skip
def test_xrt_is_not_used_after_a_failure(fixed, chip, opened, fault, said):
    """It cannot reset a card."""
    driver, _ = opened(fixed, chip, tries=1)
    chip.faults.append(fault)
    with pytest.raises(UserError, match=said):
        driver.predict(fixed.images[:1])
    with pytest.raises(UserError, match="reset the card"):
        driver.predict(fixed.images[:1])


def test_a_design_that_never_answers_is_an_error_in_one_line(fixed, chip, opened):
    driver, _ = opened(fixed, chip, tries=3)
    chip.faults += ["silent"] * 3
    with pytest.raises(UserError, match="images were sent 3 times to design") as caught:
        driver.predict(fixed.images[:2])
    assert "\n" not in str(caught.value) and driver.status().images == 0


def test_an_interrupted_transfer_leaves_nothing_behind(fixed, chip, opened, kind, monkeypatch):
    """PYNQ resets, XRT refuses; neither gives the logits of the image before."""
    driver, _ = opened(fixed, chip)
    with monkeypatch.context() as patched:
        patched.setattr(Chip, "beats", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            driver.predict(fixed.images[:1])
    if kind == "xrt":
        with pytest.raises(UserError, match="reset the card"):
            driver.predict(fixed.images[1:2])
    else:
        assert (driver.predict(fixed.images[1:2]) == logits_of(fixed, fixed.images[1:2])).all()


def test_another_design_is_refused_before_any_image(fixed, chip, opened, tmp_path):
    """Of the same sizes with other weights, without a number to read."""
    another = tiny(tmp_path, seed=1)
    with pytest.raises(UserError, match=r"gives other logits than .*: is it the bitstream of that build\?"):
        opened(another, chip)


@pytest.mark.parametrize("chip", ["loadable"], indirect=True)
def test_the_number_of_a_loadable_design_is_read(loadable, chip, opened, monkeypatch):
    monkeypatch.setattr(chip, "number", chip.number ^ 1)
    with pytest.raises(UserError, match=f"holds design {chip.number:#010x}, .* is loaded as {chip.number ^ 1:#010x}"):
        opened(loadable, chip)


@pytest.mark.parametrize("chip", ["loadable"], indirect=True)
def test_contents_for_another_design_are_refused_and_the_old_ones_stay(loadable, chip, opened, tmp_path):
    driver, _ = opened(loadable, chip)
    own = Contents.load(loadable.design.folder)
    replace(own, design=own.design ^ 1).write(tmp_path / "wrong.bin")
    with pytest.raises(UserError, match=f"is for design {own.design ^ 1:#010x}"):
        driver.load(tmp_path / "wrong.bin")
    own.write(tmp_path / "alone.bin")
    with pytest.raises(UserError, match=r"alone\.bin\.onnx is missing"):
        driver.load(tmp_path / "alone.bin")
    assert (driver.predict(loadable.images[:1]) == logits_of(loadable, loadable.images[:1])).all() and driver.resent == 0


@pytest.mark.parametrize("chip", ["loadable"], indirect=True)
def test_words_that_are_damaged_on_their_way_are_an_error(loadable, chip, opened, monkeypatch):
    write = chip.write
    monkeypatch.setattr(chip, "write", lambda address, word: write(address, word ^ (len(chip.words) == 9)))
    with pytest.raises(UserError, match="no load: the checksum is wrong"):
        opened(loadable, chip)


def test_a_design_without_a_load_port_is_not_loaded(fixed, chip, opened, other):
    driver, _ = opened(fixed, chip)
    with pytest.raises(UserError, match=r"cannot be loaded: .* has no load port: build it with --loadable or --reserve"):
        driver.load(other)


def test_a_count_that_cannot_be_read_is_refused(chip, opened, tmp_path):
    network = tiny(tmp_path, frame_check="frame")
    with pytest.raises(UserError, match="counts wrong frames and has no port to read the count"):
        opened(network, chip)


def test_a_batch_of_none_is_refused(fixed, chip, opened):
    with pytest.raises(UserError, match="batch 0: use 1 or more"):
        opened(fixed, chip, block_design=BlockDesign(batch=0))


def test_names_that_are_not_there_are_named(fixed, chip, opened, kind):
    said = {"pynq": "design.bit has no my_dma, it has axi_dma_0, finn_design_0", "xrt": "No such kernel 'my_dma'"}[kind]
    with pytest.raises(UserError, match=said):
        opened(fixed, chip, block_design=BlockDesign(dma="my_dma", send="my_dma"))


@pytest.mark.parametrize("chip", ["loadable"], indirect=True)
def test_a_pyxrt_without_registers_loads_nothing(loadable, chip, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyxrt", Xrt(chip, registers=False))
    with pytest.raises(UserError, match="this pyxrt has no `ip`"):
        Accelerator("xrt:design.xclbin", loadable.folder)


@pytest.mark.parametrize("options, said", [({"timeout_s": 0}, "timeout_s 0 and tries 5"), ({"tries": 0}, "tries 0")])
def test_limits_that_allow_nothing_are_refused(fixed, options, said):
    with pytest.raises(UserError, match=said):
        Accelerator("integers", fixed.folder, **options)


def test_in_process_targets_are_loaded_too(loadable, other):
    """The RTL gives what the integers of the other network give."""
    images = loadable.images[:2]
    with Accelerator("rtl", loadable.folder) as rtl:
        own = rtl.predict(images)
        rtl.load(other)
        assert (rtl.predict(images) == logits_of(loadable, images, other)).all() and (own == logits_of(loadable, images)).all()
    with Accelerator("integers", loadable.folder.parent / "model.onnx") as file, pytest.raises(UserError, match="is no build"):
        file.load(other)
