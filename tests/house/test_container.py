"""The container is made of the README's commands, and passes its linter."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / ".devcontainer" / "Dockerfile"
DEVCONTAINER = ROOT / ".devcontainer" / "devcontainer.json"


def _installed(text: str) -> set[str]:
    """What ``apt`` or ``apt-get`` installs in a text."""
    return set(re.search(r"apt(?:-get)? install ((?:[\w+.-]+ ?)+)", text)[1].split()) - {"-y", "--no-install-recommends"}


def test_containers_install_what_the_readme_installs():
    commands = _installed((ROOT / "README.md").read_text())
    assert "python3-venv" in commands
    for path in (DOCKERFILE, DEVCONTAINER, ROOT / "docs" / "install.md"):
        text = path.read_text()
        assert _installed(text) == commands and "make setup" in text, path
    assert "finn-vitprune doctor" in DOCKERFILE.read_text()


def test_the_linter_of_dockerfiles_has_nothing_to_say():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_development_container_is_json_with_the_environment_of_setup():
    settings = json.loads(DEVCONTAINER.read_text())["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"] == ".venv/bin/python"
