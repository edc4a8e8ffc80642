"""Registers of a design behind a link, as those of a load port: words for it go a frame at a time, and none goes twice."""

from __future__ import annotations

import struct

from finn_vitprune import load_port
from finn_vitprune.errors import UserError
from finn_vitprune.link.exchange import Exchange
from finn_vitprune.link.frames import ACCESS_WORDS, RegisterAccess


def accesses(contents: bytes) -> list[RegisterAccess]:
    """What loads a design with ``contents``, on a line that loses nothing; it is loading by the time that the second one has gone over it."""
    words = [word for (word,) in struct.iter_unpack("<I", contents)]
    parts = [tuple(words[i : i + ACCESS_WORDS]) for i in range(0, len(words), ACCESS_WORDS)]
    begin = RegisterAccess(load_port.CONTROL, (load_port.BEGIN,), load_port.STATUS)
    return [begin, *(RegisterAccess(load_port.DATA, part, load_port.TAKEN) for part in parts)]


HEADER_WORDS = 4
"""Of contents, which the port does not count."""


class LinkRegisters:
    """A window on the registers of a load port (:class:`.load_port.Registers`).

    Words for DATA wait until a frame is full, or another register is wanted. Where the answer to them is lost, the port says whether they
    came: it counts what it takes. All else that is written may be written again.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._words: list[int] = []
        self._sent = 0
        """Words of this load that went."""

    def read(self, address: int) -> int:
        """The word at an address.

        Raises:
            UserError: no answer comes.
        """
        self._flush()
        return self._repeated(RegisterAccess(address, (), address))

    def write(self, address: int, word: int) -> None:
        """Write a word, or keep it for the next frame.

        Raises:
            UserError: as of :meth:`read`, or the port took other words than were sent.
        """
        if address == load_port.DATA:
            self._words.append(word)
            if len(self._words) == ACCESS_WORDS:
                self._flush()
            return
        self._flush()
        self._sent = 0
        self._repeated(RegisterAccess(address, (word,), load_port.STATUS))

    def _flush(self) -> None:
        words, self._words = self._words, []
        if not words:
            return
        before, self._sent = self._sent, self._sent + len(words)
        access = RegisterAccess(load_port.DATA, tuple(words), load_port.TAKEN)
        for left in reversed(range(self._exchange.tries)):
            if self._exchange.access(access) is not None or self._came(before, self._sent):
                return
            self._exchange.resent += bool(left)
        self._give_up()

    def _came(self, before: int, after: int) -> bool:
        """Whether the port has the words of a frame from ``before`` to ``after`` that was not answered; none is there in part."""
        if self.read(load_port.STATUS) != load_port.LOADING:
            return True  # with the last words it has gone on, and what became of them is its state
        counted = [max(0, sent - HEADER_WORDS) for sent in (before, after)]
        if counted[0] == counted[1]:
            raise UserError(f"{self._exchange.transport.name} did not say whether it has the header of a load: load again")
        taken = self.read(load_port.TAKEN)
        if taken not in counted:
            raise UserError(f"{self._exchange.transport.name} took {taken} words of a load, and {counted[0]} were sent: load again")
        return taken == counted[1]

    def _repeated(self, access: RegisterAccess) -> int:
        """The word of an access that may be done twice."""
        for left in reversed(range(self._exchange.tries)):
            if (word := self._exchange.access(access)) is not None:
                return word
            self._exchange.resent += bool(left)
        return self._give_up()

    def _give_up(self) -> int:
        where = self._exchange.transport.name
        raise UserError(f"registers behind {where} were asked {self._exchange.tries} times without an answer: is the line good?")
