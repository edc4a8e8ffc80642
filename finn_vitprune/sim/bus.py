"""Steps of an AXI4-Lite master in a simulation: uint32 ``[steps, 4]``, kind, byte address, data, mask."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from finn_vitprune import load_port


class BusStep(IntEnum):
    """What a step does."""

    WRITE = 0
    READ = 1
    POLL = 2
    WAIT = 3


def writes(address: int, words: np.ndarray) -> np.ndarray:
    """Write words one after another, all to one address."""
    steps = np.zeros((len(words), 4), np.uint32)
    steps[:, 1], steps[:, 2] = address, words
    return steps


def write(address: int, word: int) -> np.ndarray:
    """Write one word."""
    return writes(address, np.array([word], np.uint32))


def read(address: int) -> np.ndarray:
    """Read a word into :attr:`.run.LoadState.reads`."""
    return _step(BusStep.READ, address)


def poll(address: int, wanted: int, mask: int = 0xFFFFFFFF) -> np.ndarray:
    """Read again and again, until the bits of ``mask`` are those of ``wanted``."""
    return _step(BusStep.POLL, address, wanted, mask)


def wait(cycles: int) -> np.ndarray:
    """Do nothing for so many cycles."""
    return _step(BusStep.WAIT, 0, cycles)


def load(words: np.ndarray) -> np.ndarray:
    """A whole load through the load port, as a host does it: begin, wait, write all ``words``, wait until it is open."""
    return np.concatenate(
        [
            write(load_port.CONTROL, load_port.BEGIN),
            poll(load_port.STATUS, load_port.LOADING),
            writes(load_port.DATA, words),
            poll(load_port.STATUS, load_port.OPEN),
        ]
    )


def _step(kind: BusStep, address: int, data: int = 0, mask: int = 0) -> np.ndarray:
    return np.array([[kind, address, data, mask]], np.uint32)
