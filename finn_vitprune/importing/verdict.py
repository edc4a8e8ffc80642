"""The verdict of an import."""

from __future__ import annotations

from pathlib import Path

from finn_vitprune.importing.workflow import Imported
from finn_vitprune.report.build_verdict import operations_text
from finn_vitprune.report.quantities import accuracy_text, count_text
from finn_vitprune.report.tables import COUNTED, MEASURED, TextTable
from finn_vitprune.report.verdict import Verdict, VerdictLine, model_title


def import_verdict(imported: Imported, output: Path, following: str) -> Verdict:
    """What the network lost against the float one, what it saves, and the file ``output``; ``following``: what comes next."""
    m, c, last = imported.metadata, imported.comparison, imported.stages[-1]
    of_float = imported.stages[0].accuracy
    accuracy = VerdictLine("accuracy", "not known", note="the data has no labels")
    if last.accuracy is not None:
        accuracy = VerdictLine(
            "accuracy", f"{accuracy_text(last.accuracy)} (float {accuracy_text(of_float)})", MEASURED, f"held out: {imported.measured_on}"
        )
    lines: tuple[VerdictLine, ...] = (
        accuracy,
        VerdictLine("same class", accuracy_text(last.agreement), MEASURED, f"as float; cosine of the logits {last.cosine:.4f}"),
        VerdictLine("operations", *operations_text(m.macs_dense, m.macs_pruned, m.macs)),
        VerdictLine(
            "parameters", f"{m.params_dense / m.params:.2f} x fewer", COUNTED, f"{count_text(m.params)} of {count_text(m.params_dense)}"
        ),
        VerdictLine("onnxruntime", "as the float file", MEASURED, f"but for {c.relative:.1g} of the largest output"),
        VerdictLine("images", str(output.with_suffix(".npz")), "", "that build verifies with"),
    )
    if imported.layers is not None:
        lines += (VerdictLine("layers", str(output.with_suffix(".layers.json")), "", "what each loses: picture --what layers"),)
    return Verdict(model_title(vars(m) | {"activation_bits": m.act_bits}, None), str(output), imported.notes, lines, next=following)


def import_table(imported: Imported) -> TextTable:
    """What each stage cost."""
    rows = tuple(
        (s.name, f"{s.cosine:.4f}", f"{s.worst:.4f}", f"{s.agreement:.4f}", "-" if s.accuracy is None else f"{s.accuracy:.4f}")
        for s in imported.stages
    )
    heads = ("stage", "cosine with float", "worst image", "same class as float", "accuracy")
    return TextTable("What each stage cost", heads, rows, f"Held out: {imported.measured_on}.", ("", *(MEASURED,) * 4))
