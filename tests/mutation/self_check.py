"""Self-checks that judge the mutants of a unit: small ops out of the unit's own tests."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from finn_vitprune.bench.cycles import op_ports
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.sim import Simulator
from tests.mutation.quick import translate
from tests.rtl import test_switch
from tests.rtl.benches import frame_check_design
from tests.rtl.benches.helper import BuiltOp, check_built, generate_op
from tests.rtl.benches.shared_helper import BuiltShared, Use, check_built_shared, generate_shared

Inputs = tuple[str, dict, Sequence[np.ndarray]] | tuple[str, dict, Sequence[np.ndarray], Sequence[np.ndarray]]


@dataclass
class SelfCheck:
    """An op with data, and what it is asked: :func:`tests.rtl.benches.helper.check_built`, and more.

    Attributes:
        name: for reports.
        inputs: makes op type, attributes, streams and, where there are some, initialisers.
        options: of ``check_built``.
        more: a further check of the built op; raises AssertionError.
    """

    name: str
    inputs: Callable[[], Inputs]
    options: dict = field(default_factory=dict)
    more: Callable[[BuiltOp], None] | None = None

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Files of the op, the top last."""
        return tuple(self.op.get_rtl_file_list(abspath=True))

    @cached_property
    def _inputs(self) -> Inputs:
        op_type, attrs, streams, *initialisers = self.inputs()
        return op_type, attrs, streams, *(initialisers or [()])

    @cached_property
    def _generated(self):
        op_type, attrs, _, initialisers = self._inputs
        return generate_op(op_type, attrs, initialisers)

    def judge(self, simulator: Simulator) -> None:
        """Run ``simulator`` in place of the op's own.

        Raises:
            AssertionError: a beat, the handshake or the interval is not what it must be.
            SimulationError: the simulation stopped.
        """
        op, model, keep = self._generated
        _, _, streams, initialisers = self._inputs
        arrays = tuple(np.asarray(a, np.int64) for a in initialisers)
        built = BuiltOp(op, model, arrays, simulator, Path(keep.name), keep)
        check_built(built, streams, **self.options)
        if self.more:
            self.more(built)

    @property
    def op(self) -> VitOp:
        """The op, with its HDL generated."""
        return self._generated[0]

    @property
    def ports(self) -> tuple:
        """Ports of what :attr:`sources` build: streams in and out, and what is loaded through."""
        return op_ports(self.op)

    @cached_property
    def sound_code(self) -> str:
        """Digest of the C++ that Verilator makes of the RTL as it is, which passes.

        Raises:
            AssertionError: it does not.
        """
        with tempfile.TemporaryDirectory(prefix="vitprune-mutant-") as folder:
            code = translate(self.sources, Path(folder))
            self.judge(code.compile(*self.ports))
        return code.digest


@dataclass
class SharedCheck(SelfCheck):
    """A unit that encoders of an engine share; ``inputs`` makes the op type and what each encoder needs, ``options`` are those of
    :func:`tests.rtl.benches.shared_helper.check_built_shared`.
    """

    inputs: Callable[[], tuple[str, Sequence[Use]]]

    @cached_property
    def _generated(self):
        return generate_shared(*self.inputs())

    def judge(self, simulator: Simulator) -> None:
        op, _, keep = self._generated
        _, uses = self.inputs()
        check_built_shared(BuiltShared(op, tuple(uses), simulator, Path(keep.name), keep), **self.options)


def loaded(check: SharedCheck) -> SharedCheck:
    """The same of a unit whose contents are all loaded."""

    def inputs() -> tuple[str, Sequence[Use]]:
        op_type, uses = check.inputs()
        return op_type, [replace(use, attrs=use.attrs | {"loaded": 1}) for use in uses]

    return replace(check, name=f"{check.name}, loaded", inputs=inputs)


@dataclass
class BranchCheck(SelfCheck):
    """A switch or a merge; ``inputs`` makes op type, tokens and branches of the encoders, channels and elements a beat."""

    inputs: Callable[[], tuple]

    @cached_property
    def _generated(self):
        return test_switch.generated(*self.inputs())

    def judge(self, simulator: Simulator) -> None:
        op, _, keep = self._generated
        test_switch.check(op, simulator, Path(keep.name))


@dataclass
class FrameCheckCheck(SelfCheck):
    """A frame check with a top round it that has TLAST and the count in beats; ``inputs`` makes its attributes."""

    inputs: Callable[[], dict]

    @cached_property
    def _generated(self):
        return generate_op("VitFrameCheck", self.inputs())

    @cached_property
    def sources(self) -> tuple[str, ...]:
        top = frame_check_design.write_top(*self._round, Path(self._generated[2].name))
        return (*super().sources, str(top))

    @property
    def ports(self) -> tuple:
        return (*frame_check_design.checked_ports(self._round[2]), ())

    @property
    def _round(self) -> tuple[str, tuple[str, str], tuple[int, int]]:
        streams = self.op.in_streams() + self.op.out_streams()
        return "dut", frame_check_design.PORTS, tuple(stream.tdata_bits for stream in streams)

    def judge(self, simulator: Simulator) -> None:
        frame_check_design.check_frames(self.op, simulator, Path(self._generated[2].name))


@dataclass(frozen=True)
class Unit:
    """A unit: its top module, the size of its stored sample, the checks of its mutants (those that find most first).

    ``parts`` are further modules that belong to it, not below its top. ``encoders``: mutants are only over what engines brought
    (:func:`tests.mutation.mutants.over_engines`). ``also`` are files of which some mutants are judged whatever is drawn, ``written``
    mutants by hand: file, text, and what that becomes.
    """

    name: str
    top: str
    sample: int
    checks: tuple[SelfCheck, ...]
    parts: tuple[str, ...] = ()
    encoders: bool = False
    also: tuple[str, ...] = ()
    written: tuple[tuple[str, str, str], ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its RTL files, without that of the primitive, which is not in a netlist."""
        paths = dict.fromkeys(path for top in (self.top, *self.parts) for path in rtl_sources(top))
        return tuple(path.name for path in paths if path.name != "vp_dsp48e2_model.sv")
