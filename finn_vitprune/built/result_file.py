"""A JSON file with one result of a build."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from finn_vitprune.errors import UserError
from finn_vitprune.files import write_json

Result = TypeVar("Result")


class ResultFile(Generic[Result]):
    """A JSON file that holds one result."""

    def __init__(self, path: Path, kind: type[Result]) -> None:
        self.path, self._adapter = path, TypeAdapter(kind)

    def save(self, result: Result) -> None:
        """Write the file, whole or not at all."""
        write_json(self.path, self._adapter.dump_python(result, mode="json"))

    def load(self) -> Result | None:
        """Read the file; None where its step did not run.

        Raises:
            UserError: something in it is wrong; the text names it.
        """
        if not self.path.is_file():
            return None
        try:
            return self._adapter.validate_json(self.path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"{self.path}: {where + ': ' if where else ''}{first['msg']}") from None
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None
