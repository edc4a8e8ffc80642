"""Accuracy against rate and latency: DeiT-Tiny at kept shares and bits, trained or only imported, planned for two parts.

``python -m builds.experiments.accuracy_rate RUN -o builds/results/accuracy_rate``, where RUN is a run of
``deit_tiny_tiny_imagenet`` with the dense float network, ``teacher.pt``. Networks that were trained, and their accuracy, are those of
``builds.experiments.trained``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure

from builds.experiments.study import ROWS, Only, Output, Study, start
from builds.experiments.zoo import WHOLE, Case, sound_export
from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.evaluate import evaluate
from finn_vitprune.errors import UserError
from finn_vitprune.files import read_json, sha256, whole_file
from finn_vitprune.importing.workflow import import_model
from finn_vitprune.options.evaluate import EvaluateOptions
from finn_vitprune.options.importing import ImportOptions
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import TextTable
from finn_vitprune.synth.budget import Budget
from finn_vitprune.training.config import TrainConfig, parse_config
from finn_vitprune.training.run import TrainingRun
from finn_vitprune.training.train import METRICS, TEACHER

MHZ = 300


@dataclass(frozen=True)
class Target:
    """How a part is planned for. engines: None is hardware for every encoder. budget: shares of the part that may be used."""

    engines: int | None = None
    budget: Budget = Budget()


PARTS: Mapping[str, Target] = {"U250": Target(), "ZCU104": Target(1, Budget(LUT=0.72, DSP=0.85, BRAM=0.9, URAM=0.95))}
TRAINED = Path("builds/results/trained")
"""Accuracy of networks that were trained while they were pruned."""
NETWORKS_TRAINED = Path("builds/results/train/deit_tiny")
"""Their files."""
CALIBRATION = 2000
"""Training images of an import."""


@dataclass(frozen=True)
class Network:
    """A setting: kept shares of blocks and neurons, and of tokens; bits of weights and activations; whether it was trained so."""

    block_keep: str
    token_keep: str
    bits: str
    trained: bool

    @property
    def name(self) -> str:
        """What its row goes by."""
        return f"r_b {self.block_keep}, r_t {self.token_keep}, {self.bits}, {'trained' if self.trained else 'imported'}"

    @property
    def file(self) -> str:
        """The name of its file, if it was trained."""
        return f"r{self.block_keep}_{self.token_keep}-0.xz"


NETWORKS = (
    *(Network(b, t, "8/8", True) for b, t in (("0.5", "0.5"), ("0.7", "0.7"), ("0.5", "1"), ("1", "0.5"))),
    *(Network(share, share, bits, False) for share in ("1", "0.9", "0.7") for bits in ("8/8", "4/8", "4/4")),
    Network("0.5", "0.5", "8/8", False),
)


@dataclass(frozen=True)
class Planned:
    """A plan by ``build --estimate-only``: cycles between images and of one image; used: shares of the part, by resource."""

    interval: int
    latency: int
    fits: bool
    used: dict[str, float]

    @property
    def rate(self) -> float:
        """Images a second."""
        return MHZ * 1e6 / self.interval

    @property
    def milliseconds(self) -> float:
        """Of one image."""
        return self.latency / (MHZ * 1e3)


@dataclass(frozen=True)
class AccuracyRow:
    """A network: right answers of its integers on ``images`` held-out images, and its plans by part.

    accuracy_float: of the dense float network that the imported networks are made of. passes: over the training images. macs: products an
    image. made_of: see :meth:`Maker.made_of`.
    """

    block_keep: str
    token_keep: str
    bits: str
    trained: bool
    passes: int
    train_images: int
    images: int
    accuracy: float
    accuracy_float: float
    macs: int
    macs_dense: int
    plans: dict[str, Planned]
    made_of: str


@dataclass(frozen=True)
class Maker:
    """Makes rows.

    run: a finished run with the dense float network. work: where networks are that it imports; what is there is taken as it is.
    trained, networks: folders of the accuracy of trained networks and of their files.
    """

    run: Path
    work: Path
    trained: Path = TRAINED
    networks: Path = NETWORKS_TRAINED

    def row(self, network: Network) -> AccuracyRow:
        """Import and evaluate where it was not trained, and plan.

        Raises:
            UserError: the run has no dense float network, or there is no accuracy of a trained network.
        """
        metrics, _ = self.finished
        model = self.networks / network.file if network.trained else self.imported(network)
        found = self.accuracy_of(model) if network.trained else self.evaluated(model)
        plans, macs = {}, (0, 0)
        for part, target in PARTS.items():
            folder = self.work / f"{network.name}, {part}".replace("/", "_")
            goal = "latency" if target.engines else "throughput"
            build(BuildOptions(model=model, output_dir=folder, fpga_part=part, engines=target.engines, budget=target.budget, goal=goal,
                               estimate_only=True, clk_ns=1e3 / MHZ))  # fmt: skip
            summary = Summary.load(folder)
            plan, of, used = summary.plan, summary.part, summary.resources
            assert plan is not None and of is not None and used is not None  # --estimate-only with a part gives all three
            shares = {kind: getattr(used, kind) / getattr(of, kind) for kind in ("LUT", "DSP", "BRAM36", "URAM") if getattr(of, kind)}
            plans[part] = Planned(plan.interval_cycles, plan.latency_cycles or 0, bool(of.fits), shares)
            macs = (summary.model.macs, summary.model.macs_dense)
        return AccuracyRow(
            network.block_keep, network.token_keep, network.bits, network.trained, found["passes"], found["train_images"], found["images"],
            found["accuracy"], metrics["accuracy_teacher"], *macs, plans, self.made_of(network),
        )  # fmt: skip

    def accuracy_of(self, model: Path) -> dict[str, Any]:
        """The row that ``builds.experiments.trained`` wrote of a network.

        Raises:
            UserError: there is none of this file.
        """
        path = self.trained / ROWS
        digest = _digest(model)
        for row in read_json(path, "rows of trained networks"):
            if row["sha256"].startswith(digest):
                return row
        raise UserError(
            f"{path} has no row of {model}: write it with python -m builds.experiments.trained {self.networks} -o {self.trained}"
        )

    def evaluated(self, model: Path) -> dict[str, Any]:
        """The same of an imported network, evaluated now."""
        metrics, config = self.finished
        found = evaluate(EvaluateOptions(target=model, data=config.data))
        assert found.accuracy is not None  # the data has labels
        seen = {"passes": config.teacher.epochs, "train_images": metrics["train_images"]}
        return seen | {"images": found.images, "accuracy": found.accuracy}

    @cached_property
    def finished(self) -> tuple[dict[str, Any], TrainConfig]:
        """What the run measured, and its configuration.

        Raises:
            UserError: it is not finished.
        """
        path = self.run / METRICS
        metrics = read_json(path, "metrics of a finished run")
        return metrics, parse_config(metrics["config"], str(path))

    def imported(self, network: Network) -> Path:
        """The file of a network that is pruned and quantised from the dense float network without training."""
        path = self.imports / f"{network.name.replace('/', '_')}.onnx"
        if path.is_file():
            return path
        metrics, config = self.finished
        weights, activations = map(int, network.bits.split("/"))
        pruned = network.block_keep != "1"
        import_model(ImportOptions(
            model=self.float_file(), data=config.data, output=path, block_size=config.prune.block_size, block_keep=network.block_keep,
            keep_by_layer="auto" if pruned else None, token_keep=network.token_keep,
            drop_at=config.prune.drop_at if network.token_keep != "1" else (), weight_bits=weights, act_bits=activations,
            fine_tune={"train_images": min(CALIBRATION, metrics["train_images"])}, seed=config.seed,
        ))  # fmt: skip
        return path

    def float_file(self) -> Path:
        """The dense float network as ONNX."""
        path = self.imports / "float.onnx"
        if not path.is_file():
            run = TrainingRun.from_checkpoint(self.run / TEACHER)
            path.parent.mkdir(parents=True, exist_ok=True)
            shape = (run.data.channels, *run.data.image_size)
            with whole_file(path) as partial:
                sound_export(run.teacher.eval(), shape, partial, Case(run.config.name, *WHOLE, None, None))
        return path

    @property
    def imports(self) -> Path:
        """Of networks that are made of this float network."""
        return self.work / f"of {self.float_digest}"

    def made_of(self, network: Network) -> str:
        """Digest of what a row is made of: the file of a trained network, or the dense float network."""
        return _digest(self.networks / network.file) if network.trained else self.float_digest

    @cached_property
    def float_digest(self) -> str:
        """Of the dense float network, a file of 90 MB."""
        return _digest(self.run / TEACHER)


def _digest(path: Path) -> str:
    return sha256(path)[:12] if path.is_file() else "missing"


# --- the page --------------------------------------------------------------------------------------

TITLE = "DeiT-Tiny: accuracy against rate and latency"
PICTURE = "accuracy_rate.png"
TEXT = f"""DeiT-Tiny on Tiny-ImageNet-200 enlarged to 224 x 224 pixels. Accuracy is that of the integers on the 10,000 validation images, by `evaluate`.
"Trained": pruned while it learned ([training](../train/deit_tiny/RESULTS.md)). "Imported": `import` pruned and quantised the dense float network with {CALIBRATION:,}
training images and without training. Rates and latencies are those of plans (`build --estimate-only`, {MHZ} MHz): hardware for every encoder on a U250
beside its shell, one engine on a ZCU104 (of which {PARTS["ZCU104"].budget} may be used). A star marks the front: no other network here is more
accurate and as fast on that part. {{known}} of {{settings}} networks.

```
finn-vitprune train --config deit_tiny_tiny_imagenet --set student.epochs=0 -o runs/float
python -m builds.experiments.accuracy_rate runs/float -o builds/results/accuracy_rate
```

![Accuracy against rate]({PICTURE})
"""
COLUMNS = (
    "r_b, r_t", "bits", "network", "accuracy, %", "products, of dense", *(f"{part}, {what}" for part in PARTS for what in ("img/s", "ms", "LUT, DSP, BRAM36, URAM, %")),
)  # fmt: skip


def front(rows: Iterable[AccuracyRow], part: str) -> list[AccuracyRow]:
    """The rows that fit the part and that no other row beats, in accuracy or in rate, without losing the other; from slow to fast."""
    fitting = [row for row in rows if row.plans[part].fits]

    def beaten(row: AccuracyRow) -> bool:
        own = (row.accuracy, row.plans[part].rate)
        return any(
            other != own and other[0] >= own[0] and other[1] >= own[1] for other in ((r.accuracy, r.plans[part].rate) for r in fitting)
        )

    return sorted((row for row in fitting if not beaten(row)), key=lambda row: row.plans[part].rate)


def tables(rows: Mapping[str, AccuracyRow]) -> list[TextTable]:
    """One."""
    fronts = {part: front(rows.values(), part) for part in PARTS}
    note = "" if not rows else f"The dense float network: {100 * next(iter(rows.values())).accuracy_float:.2f} %."
    by_accuracy = sorted(rows.values(), key=lambda row: -row.accuracy)
    return [TextTable("Networks", COLUMNS, tuple(cells(row, {part: row in fronts[part] for part in PARTS}) for row in by_accuracy), note)]


def cells(row: AccuracyRow, best: Mapping[str, bool]) -> tuple[str, ...]:
    """The row of a network; best: on which parts it is on the front."""
    found = [
        f"{row.block_keep}, {row.token_keep}", row.bits, "trained" if row.trained else "imported", f"{100 * row.accuracy:.2f}",
        f"{row.macs / 1e9:.2f} of {row.macs_dense / 1e9:.2f} G",
    ]  # fmt: skip
    for part, plan in row.plans.items():
        star = "\\*" if best[part] else ""
        shares = ", ".join(f"{100 * share:.0f}" for share in plan.used.values())
        found += [f"{plan.rate:,.0f}{star}", f"{plan.milliseconds:.2f}", shares] if plan.fits else ["does not fit", "", shares]
    return tuple(found)


def picture(rows: Mapping[str, AccuracyRow]) -> Figure:
    """Accuracy against images a second, one drawing a part: full marks are trained, lines are fronts, the broken line is the float network."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, part in zip(figure.subplots(1, len(PARTS), sharey=True), PARTS):
        shown = [row for row in rows.values() if row.plans[part].fits]
        for number, bits in enumerate(("8/8", "4/8", "4/4")):
            for trained in (True, False):
                points = [row for row in shown if row.bits == bits and row.trained is trained]
                rates, right = [r.plans[part].rate for r in points], [100 * r.accuracy for r in points]
                label = f"{bits}, {'trained' if trained else 'imported'}"
                if points:
                    axes.plot(rates, right, "osD"[number], color=f"C{number}", mfc=f"C{number}" if trained else "none", label=label)
        for row in shown:
            text = f"{row.block_keep}, {row.token_keep}"
            axes.annotate(text, (row.plans[part].rate, 100 * row.accuracy), textcoords="offset points", xytext=(5, 4), fontsize=7)
        best = front(shown, part)
        axes.plot([r.plans[part].rate for r in best], [100 * r.accuracy for r in best], "-", color="0.6", lw=1, zorder=0, label="front")
        if shown:
            axes.axhline(100 * shown[0].accuracy_float, ls="--", color="0.6", lw=1, label="dense, float")
        axes.set(xlabel="images/s, by plan", title=f"{part}, {'one engine' if PARTS[part].engines else 'pipeline'}")
        axes.legend(fontsize=7)
    figure.axes[0].set_ylabel("right answers, %")
    return figure


def said(row: AccuracyRow) -> str:
    """A row in a line."""
    return ", ".join(cells(row, dict.fromkeys(PARTS, False))[3:])


def study(maker: Maker) -> Study[Network, AccuracyRow]:
    """All networks."""
    settings = {network.name: network for network in NETWORKS}
    return Study(
        settings, AccuracyRow, maker.row, tables, TITLE, TEXT, said, lambda network, row: row.made_of == maker.made_of(network),
        (UserError,), {PICTURE: picture},
    )  # fmt: skip


def main(
    run: Path,
    output: Output,
    only: Only = None,
    work: Annotated[Path, typer.Option(help="Folder of networks that are imported, and of their plans.")] = Path("build/accuracy_rate"),
) -> None:
    """Make the rows that are missing, and write the results after each."""
    warnings.simplefilter("ignore")
    study(Maker(run, work)).go(output, only)


if __name__ == "__main__":
    start(lambda: typer.run(main))
