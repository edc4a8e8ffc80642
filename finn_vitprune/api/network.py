"""A network: a model file, and what can be done with it."""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path
from typing import Unpack

import numpy as np

from finn_vitprune.api.design import Design
from finn_vitprune.api.integers import Integers
from finn_vitprune.api.signature import spelled_out
from finn_vitprune.api.temporary import TemporaryPlace
from finn_vitprune.builds.build import build
from finn_vitprune.builds.evaluate import evaluate
from finn_vitprune.builds.records.tokens import TokenSample, network_tokens
from finn_vitprune.complexity.formulas import Complexity
from finn_vitprune.errors import UserError
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.files import whole_file
from finn_vitprune.graph.kinds import Kind
from finn_vitprune.graph.packed import SUFFIX, write_model
from finn_vitprune.graph.reading import need_qonnx, read_model, read_proto
from finn_vitprune.importing.verdict import import_verdict
from finn_vitprune.importing.workflow import Imported, import_model
from finn_vitprune.ingest.check.check import check
from finn_vitprune.ingest.check.checked import Checked, verdict
from finn_vitprune.options.build import BuildOptions
from finn_vitprune.options.check import CheckOptions
from finn_vitprune.options.evaluate import EvaluateOptions
from finn_vitprune.options.importing import ImportOptions
from finn_vitprune.options.keywords import BuildKeywords, CheckKeywords, CompressKeywords, EvaluateKeywords
from finn_vitprune.report.accuracy import Evaluation
from finn_vitprune.report.build_verdict import operations_text
from finn_vitprune.report.quantities import count_text
from finn_vitprune.report.summary import ModelCard
from finn_vitprune.report.verdict import Verdict, VerdictLine, model_title

BESIDE = (".npz", ".log")
"""What lies beside a compressed model: its held-out images, and what was logged."""


def load(model: str | Path) -> Network:
    """The network in an ONNX file: float, QDQ or QONNX.

    Raises:
        UserError: there is no such file, or it is not ONNX. The folder of a build is read by :meth:`Design.load`.
    """
    path = Path(model)
    if path.is_dir():
        raise UserError(f"{path} is a folder: give an ONNX file; Design.load reads the folder of a build")
    return Network(path, Kind.of(node.op_type for node in read_proto(path).graph.node))


class Network:
    """A vision transformer in an ONNX file. ``print(network)`` says what it is."""

    def __init__(self, path: Path, kind: Kind, imported: Imported | None = None, kept: TemporaryPlace | None = None) -> None:
        """Of a file, as :func:`load` and :meth:`compress` make it.

        Args:
            imported: what the import found that made the file. kept: a folder that goes when nobody needs the network any more.
        """
        self.path, self.kind, self.imported, self._kept = path, kind, imported, kept

    def __str__(self) -> str:
        return str(self.verdict)

    def __repr__(self) -> str:
        return f"<Network {self.path.name}, {self.kind.value}>"

    @property
    def verdict(self) -> Verdict:
        """What the network is, and what comes next; of a compressed one what it lost and saves."""
        if self.imported is not None:
            return import_verdict(
                self.imported, self.path if self._kept is None else Path(self.path.name), "plan(part=...) or build(part=..., to=...)"
            )
        return _card(self.path, self._checked)

    @cached_property
    def _checked(self) -> Checked:
        return check(self.path)

    @property
    def complexity(self) -> Complexity:
        """Operations and parameters of one image, before and after pruning.

        Raises:
            UserError: no vision transformer was found in the file.
        """
        if (found := self._checked.complexity) is None:
            raise UserError(f"{self.path}: {verdict(self._checked)}")
        return found

    @property
    def metadata(self) -> ModelMetadata:
        """What was pruned and quantised: shares, tokens, heads, masks, operations, parameters.

        Raises:
            UserError: the file was not made by ``train``, ``export`` or :meth:`compress`.
        """
        return ModelMetadata.load(self.path)

    @spelled_out(CheckKeywords)
    def check(self, part: str | None = None, **options: Unpack[CheckKeywords]) -> Checked:
        """What each node becomes in hardware, or why not and what would help; ``print`` shows it.

        Args:
            part: a part or board that a QONNX file must fit. options: of ``finn-vitprune check``.
        Raises:
            UserError: an option is wrong, or the file is not a sound graph.
        """
        chosen = CheckOptions.of_keywords({"model": self.path, "part": part, **options})
        chosen.files()
        return check(chosen.model, chosen.fpga_part, chosen.budget, chosen.shell, chosen.part_resources)

    @spelled_out(CompressKeywords)
    def compress(self, data: str, to: str | Path | None = None, **options: Unpack[CompressKeywords]) -> Network:
        """Prune and quantise a float network: ``finn-vitprune import``.

        Args:
            data: images, as ``imagefolder:PATH``, ``npz:FILE``, ``digits``. to: the QONNX file to write; without it the file lives as long as
                the result, whose :meth:`save` keeps it. options: of ``finn-vitprune import``, such as block_keep, token_keep, drop_at, weight_bits.
        Raises:
            UserError: an option is wrong, the file is not supported, or the data does not fit it.
        """
        kept = TemporaryPlace("network_") if to is None else None
        path = kept.path / f"{self.path.stem}_compressed.onnx" if kept else Path(to or "")
        chosen = ImportOptions.of_keywords({"model": self.path, "data": data, "to": path, **options})
        return Network(path, Kind.QONNX, import_model(chosen), kept)

    def save(self, to: str | Path) -> Network:
        """Copy the file, and what lies beside it, and give the network of the copy; one whose name ends in ``.xz`` is packed.

        Raises:
            UserError: something is there already.
        """
        path = Path(to)
        beside = {self.path.with_suffix(suffix): path.with_suffix(suffix) for suffix in BESIDE}
        files = {self.path: path} | {source: place for source, place in beside.items() if source.is_file()}
        for place in files.values():
            if place.exists():
                raise UserError(f"{place} is there already: give another name")
        for source, place in files.items():
            if source == self.path and (source.suffix == SUFFIX) != (place.suffix == SUFFIX):
                write_model(read_model(source), place)
                continue
            with whole_file(place) as partial:
                shutil.copyfile(source, partial)
        return Network(path, self.kind, self.imported)

    @spelled_out(BuildKeywords)
    def plan(self, part: str | None = None, **options: Unpack[BuildKeywords]) -> Design:
        """A design for a part by estimate, in about a minute: rate, latency, resources, whether it fits. Nothing is simulated or kept.

        Args:
            part: a part or board, as "ZCU104". options: of ``finn-vitprune build``, such as engines, clk_ns, target_fps.
        Raises:
            UserError: an option is wrong, or the network is not QONNX.
        """
        kept = TemporaryPlace("plan_")
        return Design(self._build({"part": part, "to": kept.path, "estimate_only": True, **options}), kept)

    @spelled_out(BuildKeywords)
    def build(self, part: str | None = None, *, to: str | Path, **options: Unpack[BuildKeywords]) -> Design:
        """An accelerator in RTL, simulated and compared with the network in every bit, in a folder.

        Args:
            part: a part or board, as "ZCU104". to: the folder. options: of ``finn-vitprune build``, such as engines, clk_ns, target_fps.
        Raises:
            UserError: an option is wrong, the network is not QONNX, or a step failed.
        """
        return Design(self._build({"part": part, "to": to, **options}))

    def _build(self, given: dict[str, object]) -> Path:
        options = BuildOptions.of_keywords({"model": self.path, **given})
        need_qonnx(self.path)
        return build(options)

    @cached_property
    def _integers(self) -> Integers:
        need_qonnx(self.path)
        return Integers.of(self.path)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The logits of a QONNX network as an accelerator computes them, as :meth:`Design.predict`."""
        return self._integers.logits(images)

    def tokens(self, images: np.ndarray) -> TokenSample:
        """Which patches of images the token drops of a QONNX network leave, and the classes that it predicts; ``.figure()`` draws it.

        Args:
            images: uint8 ``[F, H, W, C]``.
        Raises:
            UserError: the network is not QONNX, or drops no tokens; or the images do not fit it.
        """
        return network_tokens(self.path, images)

    @spelled_out(EvaluateKeywords)
    def evaluate(self, data: str, **options: Unpack[EvaluateKeywords]) -> Evaluation:
        """The accuracy of a QONNX network's integers over a data set, as :meth:`Design.evaluate`."""
        return evaluate(EvaluateOptions.of_keywords({"target": self.path, "data": data, **options}))


def _card(path: Path, checked: Checked) -> Verdict:
    """What a model file is, in five lines, with the reason first where nothing can be built of it."""
    metadata = {p.key: p.value for p in read_proto(path).graph.metadata_props}
    title = model_title(ModelCard.of(path.stem, metadata).model_dump(), None) if metadata else path.stem
    lines = []
    if (found := checked.structure) is not None:
        c = found.config
        heads, tokens = {e.heads for e in c.encoders}, {min(found.tokens), max(found.tokens)}
        kept = " to ".join(str(n) for n in sorted(tokens, reverse=True))
        lines.append(VerdictLine("images", f"{c.image_size} x {c.image_size} x {c.channels}", "", f"{c.classes:,} classes"))
        shape = f"{'-'.join(map(str, sorted(heads)))} heads of {c.head_dim}, {kept} tokens of {c.patch_size} x {c.patch_size} pixels"
        lines.append(VerdictLine("encoders", f"{len(c.encoders)} of width {c.dim}", "", shape))
    if (m := checked.complexity) is not None:
        saved, _, _ = operations_text(m.macs_dense, m.macs_pruned, m.macs)
        lines.append(VerdictLine("operations", count_text(m.macs), "", f"products an image, {saved}; {count_text(m.params)} parameters"))
    following = (
        "" if not checked.passed else "plan(part=...) or build(part=..., to=...)" if checked.kind is Kind.QONNX else "compress(DATA, ...)"
    )
    warnings = () if checked.passed else (verdict(checked),)
    return Verdict(f"{title} ({checked.kind.value})", str(path), warnings, tuple(lines), next=following)
