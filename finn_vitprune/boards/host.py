"""A host of boards that are simulated: images as frames to their serial lines, logits from what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finn_vitprune import progress
from finn_vitprune.boards.gate import FaultAt, GateRun, GateSimulator, LineMessage, LineTimes
from finn_vitprune.boards.netlist import LANES, StuckNet
from finn_vitprune.errors import AnswerIsNo, UserError
from finn_vitprune.link.frames import STATUS_BYTES, WORD_BYTES, FrameReader, FrameType, LinkFrame, LinkStatus, RegisterAccess
from finn_vitprune.sim.beats import Stream, unpack

WINDOW = 4
"""Images that a board has, at most, before the first one is answered."""
FRAME_BYTES = 12
"""Of a frame beside its payload."""
LOADED_BYTES = FRAME_BYTES + WORD_BYTES
"""Of the answer to an access."""
CRC_BYTES = 4
"""Before the logits in a frame of them: the CRC of the image's."""
BYTE_BITS = 10
SILENCE_FRAMES, SILENCE_CLOCKS = 8, 200_000
"""For as long as so many frames take, and so many clocks, a board may be silent in the middle of its answers."""


@dataclass(frozen=True)
class BoardAnswers:
    """What came of images: their logits, int64 ``[images, classes]``, and which came, bool ``[images]``; clocks of the simulation."""

    logits: np.ndarray
    came: np.ndarray
    clocks: int


@dataclass(frozen=True)
class BoardHost:
    """A host's end of the serial lines of boards with a design.

    Attributes:
        input, output: streams of the design. bit: of the line, in 256ths of a clock. silent: clocks for which the design may say nothing.
        load: accesses that load the design before its first image.
    """

    input: Stream
    output: Stream
    bit: int
    silent: int
    load: tuple[RegisterAccess, ...] = ()

    @property
    def answer_bytes(self) -> int:
        """Of the frame with the logits of an image."""
        return FRAME_BYTES + CRC_BYTES + self.output.tdata_bits // 8 * self.output.beats

    def messages(self, payloads: Sequence[bytes]) -> list[LineMessage]:
        """Frames that load one board, one at a time, and frames of images, which keep to its window."""
        loads = [
            LineMessage(LinkFrame(FrameType.ACCESS, k, access.encoded()).encoded, k * LOADED_BYTES)
            for k, access in enumerate(self.load)
        ]  # fmt: skip
        return loads + [
            LineMessage(LinkFrame(FrameType.IMAGE, k, payload).encoded, self._load_bytes + max(0, k - WINDOW + 1) * self.answer_bytes)
            for k, payload in enumerate(payloads)
        ]

    @property
    def _load_bytes(self) -> int:
        """Of the answers to all that loads a board."""
        return len(self.load) * LOADED_BYTES

    @property
    def times(self) -> LineTimes:
        """Of runs: one answer more would be seen, and a board may be silent for as long as an image takes and the design needs."""
        answer = self.answer_bytes * BYTE_BITS * self.bit // 256
        image = (FRAME_BYTES + self.input.tdata_bits // 8 * self.input.beats) * BYTE_BITS * self.bit // 256
        return LineTimes(self.bit, answer, SILENCE_FRAMES * (answer + image) + max(SILENCE_CLOCKS, self.silent))

    def status(self, simulator: GateSimulator) -> LinkStatus:
        """What a board says of itself when it has just begun.

        Raises:
            UserError: it does not answer.
        """
        query = LinkFrame(FrameType.QUERY, 1)
        run = simulator.run({0: [LineMessage(query.encoded)]}, {0: FRAME_BYTES + STATUS_BYTES}, self.times)
        for frame in FrameReader({FrameType.STATUS: STATUS_BYTES}).feed(run.bytes_of(0)):
            if frame.number == query.number:
                return LinkStatus.decode(frame.payload)
        raise UserError("the routed netlist does not answer over its serial line: make the bitstream again")

    def ask(self, simulator: GateSimulator, payloads: Sequence[bytes]) -> BoardAnswers:
        """Images dealt to all boards, one after another at each."""
        shares = [list(range(board, len(payloads), LANES)) for board in range(min(LANES, len(payloads)))]
        messages = {board: self.messages([payloads[i] for i in share]) for board, share in enumerate(shares)}
        expected = {board: self._load_bytes + len(share) * self.answer_bytes for board, share in enumerate(shares)}
        progress.begin(f"{len(payloads)} images through the pins of the routed netlist")
        run = simulator.run(messages, expected, self.times)
        logits = np.zeros((len(payloads), self.output.tokens * self.output.channels), np.int64)
        came = np.zeros(len(payloads), bool)
        for board, share in enumerate(shares):
            for number, found in self.answers(run, board, [payloads[i] for i in share]).items():
                logits[share[number]], came[share[number]] = found, True
        # what did not come differs from any logits
        logits[~came] = np.iinfo(np.int64).min
        return BoardAnswers(logits, came, run.clocks)

    def answers(self, run: GateRun, board: int, payloads: Sequence[bytes]) -> dict[int, np.ndarray]:
        """Logits that a host takes from a board, by the number of their image: with the CRC of that image."""
        found = {}
        lengths = {FrameType.LOGITS: self.answer_bytes - FRAME_BYTES, FrameType.WORD: WORD_BYTES}
        for frame in FrameReader(lengths).feed(run.bytes_of(board)):
            if frame.type == FrameType.WORD:
                continue
            image = LinkFrame(FrameType.IMAGE, frame.number, payloads[frame.number]) if frame.number < len(payloads) else None
            if image is not None and frame.payload[:CRC_BYTES] == image.crc.to_bytes(CRC_BYTES, "little"):
                beats = np.frombuffer(frame.payload[CRC_BYTES:], np.uint8).reshape(-1, self.output.tdata_bits // 8)
                found[frame.number] = unpack(beats, self.output).reshape(-1)
        return found

    def notice(self, simulator: GateSimulator, faults: Sequence[StuckNet], payloads: Sequence[bytes], wanted: np.ndarray) -> list[bool]:
        """Which faults a host notices: answers that are wrong or missing. One fault a board, and one board
        without any, for whose answers they are waited for."""
        seen: list[bool] = []
        messages = self.messages(payloads)
        for start in range(0, len(faults), LANES - 1):
            some = faults[start : start + LANES - 1]
            progress.begin(f"{len(payloads)} images through the routed netlist with each of {len(some)} faults")
            at = [FaultAt(start + k, k + 1, fault.value) for k, fault in enumerate(some)]
            run = simulator.run(
                dict.fromkeys(range(len(some) + 1), messages), {0: self._load_bytes + len(payloads) * self.answer_bytes}, self.times, at
            )
            right = [
                len(found := self.answers(run, board, payloads)) == len(payloads)
                and all(np.array_equal(found[k], wanted[k]) for k in range(len(payloads)))
                for board in range(len(some) + 1)
            ]  # fmt: skip
            if not right[0]:
                raise AnswerIsNo("a board without a fault gave wrong logits beside boards with faults")
            seen += [not one for one in right[1:]]
            progress.line(f"{sum(seen)} of {len(seen)} faults noticed")
        return seen
