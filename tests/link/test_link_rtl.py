"""The link to a board without a processor: bytes, or a serial line, against the rules of docs/link.md."""

from __future__ import annotations

import re

import pytest

from finn_vitprune.custom_ops.op.rtl_sources import rtl_source, rtl_sources
from finn_vitprune.link import frames
from finn_vitprune.link.frames import Cause, FrameType, LinkFrame
from tests.elaborated import elaborate
from tests.rtl.benches import link_design
from tests.rtl.benches.link_design import SIZES, Sizes, bytes_of, compiled, frames_of, run
from tests.rtl.benches.link_model import ERROR, SILENCE, expected
from tests.sampling import sampled

ALL_CAUSES = {None, *Cause} - {Cause.ROOM}


@pytest.fixture(scope="module", params=list(SIZES))
def link(request, tmp_path_factory):
    sizes = SIZES[request.param]
    return compiled(sizes, tmp_path_factory.mktemp("link")), sizes


def test_right_frames_get_through_under_any_traffic(link):
    link_design.check_frames(*link)


def test_damaged_frames_never_reach_the_design(link):
    assert link_design.check_damage(*link) == ALL_CAUSES, "a run that damages nothing shows nothing"


def test_the_image_after_a_damaged_frame_is_right(link):
    link_design.check_next_is_right(*link)


def test_the_bytes_of_an_answer_follow_each_other(link):
    link_design.check_no_gaps(*link)


def test_images_without_room_are_refused(link):
    link_design.check_room(*link)


@pytest.mark.parametrize(
    "bit, off", sampled([(29 * 256, 0.03), (29 * 256, -0.03), (4 * 256 + 70, 0.02), (9 * 256 + 255, -0.03)], 1, several=True)
)
def test_the_host_may_be_slower_or_faster(bit, off, tmp_path):
    sizes = Sizes(2, 5, 3, 2, images=4, tags=4, bit=bit, host_bit=round(bit * (1 + off)))
    simulator = compiled(sizes, tmp_path)
    for seed in range(3):
        want = run(simulator, sizes, bytes_of(frames_of(sizes, seed, 4, 1)))
        assert want.counts[None] == 6


def test_registers_are_one_access_at_a_time(link):
    link_design.check_one_access(*link)


def test_the_rules_by_hand():
    """What :func:`expected` makes of a few frames, written out."""
    image = LinkFrame(FrameType.IMAGE, 7, b"\x11\x22").encoded
    found = expected(list(image), 2)
    assert found.images == [b"\x11\x22"] and not found.answers
    cases = {
        Cause.START: [0x00, *image], Cause.TYPE: [0xA5, 9, *image], Cause.LENGTH: [*image[:4], 3, 0, 0, 0, *image],
        Cause.CRC: [*image[:-1], image[-1] ^ 1, *image], Cause.LINE: [0x40 | ERROR, *image], Cause.SILENCE: [*image[:9], SILENCE, *image],
    }  # fmt: skip
    for cause, symbols in cases.items():
        found = expected(symbols, 2)
        assert [a for a, _ in found.answers] == [cause] and found.images == [b"\x11\x22"], cause


def test_both_sides_have_the_same_numbers():
    """Every type, cause and version of the RTL is Python's."""
    receive, send = (rtl_source(f"vp_link_{side}.sv").read_text() for side in ("receive", "send"))

    def numbers(text: str) -> dict[str, int]:
        text = re.sub(r"//.*", "", text)
        found = re.findall(r"\b([A-Z_]+) = \d+'([hd])([0-9a-f]+)\b", text)
        return {name: int(value, 16 if base == "h" else 10) for name, base, value in found}

    into, out = numbers(receive), numbers(send)
    assert into["START"] == out["START"] == frames.START and out["VERSION"] == frames.VERSION
    assert (into["IMAGE"], into["QUERY"], into["ACCESS"]) == (FrameType.IMAGE, FrameType.QUERY, FrameType.ACCESS)
    assert [out[kind.name] for kind in FrameType if kind >= FrameType.LOGITS] == [k for k in FrameType if k >= FrameType.LOGITS]
    causes = ("BAD_LINE", "BAD_START", "BAD_TYPE", "BAD_LENGTH", "BAD_CRC", "BAD_SILENCE", "NO_ROOM")
    assert [into[name] for name in causes] == list(Cause)
    assert frames.STATUS_BYTES == 4 * (out["LONG"] - out["SHORT"] + 1)


@pytest.mark.parametrize("module, wrong, said", [
    ("vp_uart_rx", "CLKS_PER_BIT=3", "CLKS_PER_BIT 3 must be at least 4"), ("vp_uart_tx", "CLKS_FRACTION=256", "CLKS_FRACTION 256 at most 255"),
    ("vp_link", "TAGS=3", "TAGS 3 must be at least 4"), ("vp_link_images", "IMAGES=0", "must be at least 1"),
    ("vp_link_receive", "TIMEOUT=9", "TIMEOUT 9 at least 16"), ("vp_link_access", "WORDS=256", "WORDS 256 must be 1 to 255"),
])  # fmt: skip
def test_wrong_parameters_are_refused_by_name(module, wrong, said, tmp_path):
    name, value = wrong.split("=")
    top = tmp_path / "wrong.sv"
    top.write_text(f"module wrong; {module} #(.{name}({value})) it (); endmodule\n")
    assert said in "\n".join(error.text for error in elaborate("wrong", [*rtl_sources(module), top]).errors)


def test_a_host_that_keeps_to_the_room_is_never_refused(link):
    """A dozen images, of which no more are on the way than the board has room for."""
    simulator, sizes = link
    symbols: list[int] = []
    for i, frame in enumerate(frames_of(sizes, 77, 12)):
        symbols += frame.encoded
        if i % sizes.images == sizes.images - 1:
            symbols += [SILENCE]
    assert len(run(simulator, sizes, symbols).images) == 12
