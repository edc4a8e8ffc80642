"""Runs FINN's builder as a function: what stops it is raised, what it prints is progress, what it changes is put back."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import finn.builder.build_dataflow as builder
import finn.transformation.fpgadataflow.prepare_ip as prepare_ip
import finn.util.logging as finn_logging
import finn.util.settings as global_settings
from finn.builder.build_dataflow_config import DataflowBuildConfig
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune import finn_setup, progress
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.errors import UserError, refused
from finn_vitprune.files import whole_file
from finn_vitprune.graph.reading import read_qonnx


def all_steps(cfg: DataflowBuildConfig) -> list[Callable]:
    """The steps of ``cfg``, injected ones among them, whatever its start and stop step are.

    Raises:
        UserError: there is no such step.
    """
    try:
        return builder.resolve_build_steps(cfg, partial=False)
    except Exception as error:
        raise UserError(f"a step of the build config cannot be found: {str(error).splitlines()[0]}") from None


def run_builder(model: Path, cfg: DataflowBuildConfig) -> None:
    """Run the steps of ``cfg`` on ``model``; FINN generates code in ``hdl`` of the build's folder.

    Raises:
        UserError: a step rejected the model or the set-up, or failed; then the text names FINN's log.
        KeyboardInterrupt: the user stopped the build.
    """
    try:
        with _finn_patched(BuildFolder(Path(cfg.output_dir).resolve()).hdl) as stopped:
            builder.build_dataflow_cfg(str(model), cfg)
        if stopped:
            raise stopped[0]
    except Exception as error:
        for cause in (error, error.__cause__):
            if isinstance(cause, UserError):
                raise cause from None
        if (reason := refused(error)) is not None:
            raise UserError(f"the build cannot go on in {cfg.output_dir}: {reason}") from error
        text = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"FINN's builder stopped: {text} (details in {builder.get_logfile_path(cfg)})") from error


@contextmanager
def _finn_patched(hdl: Path) -> Iterator[list[BaseException]]:
    """The list gets what stopped the builder, which makes an exit code of every exception.

    FINN replaces standard output, its own console and the handlers of the root logger, and does not put them back.
    """
    stopped: list[BaseException] = []
    lines, root, finish, from_folder = _StepLines(), logging.getLogger(), builder.exit_buildflow, builder.create_model_wrapper
    level = root.level

    def exit_buildflow(cfg: DataflowBuildConfig, time_per_step=None, exit_code: int = 0) -> int:
        if exit_code:
            stopped.append(sys.exception() or RuntimeError(f"exit code {exit_code}"))
        return finish(cfg, time_per_step, exit_code)

    def opened(model: str, cfg: DataflowBuildConfig) -> ModelWrapper:
        return from_folder(model, cfg) if cfg.start_step else ModelWrapper(read_qonnx(Path(model)))  # which may be packed

    with (
        patch.object(builder, "exit_buildflow", exit_buildflow),
        patch.object(builder, "create_model_wrapper", opened),
        patch.object(global_settings, "_SETTINGS", finn_setup.settings(hdl)),
        patch.object(ModelWrapper, "save", _save_whole),
        patch.object(prepare_ip, "make_build_dir", _named_dir),
        patch.object(finn_logging, "_RICH_CONSOLE", finn_logging.get_console()),
        patch.object(root, "handlers", []),
        redirect_stdout(lines),
        redirect_stderr(lines),
    ):
        try:
            yield stopped
        finally:
            for handler in root.handlers:
                handler.close()
            root.setLevel(level)
            logging.captureWarnings(False)


_save = ModelWrapper.save


def _save_whole(model: ModelWrapper, path: str | Path) -> None:
    """``ModelWrapper.save``, which leaves no half-written model where the disk is full or the build is killed."""
    with whole_file(path) as partial:
        _save(model, str(partial))


def _named_dir(prefix: str) -> str:
    """FINN's ``make_build_dir`` without the random part of the name."""
    path = global_settings.get_settings().finn_build_dir / prefix.rstrip("_")
    path.mkdir(parents=True, exist_ok=True)
    return str(path)


class _StepLines(io.TextIOBase):
    """A stream that shows FINN's ``Running step`` lines and drops the rest: all of it is in the log."""

    def write(self, text: str) -> int:
        """Show the steps in ``text``."""
        for line in text.splitlines():
            if "Running step:" in line:
                progress.place().begin(line.split("Running step:", 1)[1].strip())
        return len(text)
