"""Installs the pinned coding agents from npm and PyPI into a cache outside the checkout, once per set of versions.

The cache is `$SBGW_TESTS_CACHE`, else `$XDG_CACHE_HOME/sbgw-tests`, else `~/.cache/sbgw-tests`. An install is made aside and moved
into place whole, so a broken one never looks finished and parallel test runs don't meet.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).with_name("package.json")
TIMEOUT = 600.0
"""Seconds for each of an installer's and a post-install script's run."""


class NotInstalled(Exception):
    """The agents can't be had here; the text says why."""


@dataclass(slots=True, frozen=True)
class Clients:
    """Where the agents' programs are, and the versions they were asked for."""

    claude_code: Path
    codex: Path
    versions: dict[str, str]


def cache() -> Path:
    """The folder for everything these tests keep between runs; created."""
    chosen = os.environ.get("SBGW_TESTS_CACHE")
    base = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sbgw-tests"
    base.mkdir(parents=True, exist_ok=True)
    return base


def clients() -> Clients:
    """Claude Code and Codex, installed first if need be. Raises NotInstalled."""
    modules = npm_installed(PACKAGE, ["node", "node_modules/@anthropic-ai/claude-code/install.cjs"]) / "node_modules"
    versions = {name.rpartition("/")[2]: v for name, v in json.loads(PACKAGE.read_bytes())["dependencies"].items()}
    return Clients(modules / "@anthropic-ai/claude-code/bin/claude.exe", modules / ".bin/codex", versions)


def npm_installed(package: Path, after: list[str]) -> Path:
    """The folder with the packages of a package.json. `after` is run where its program lies: npm may be set not to run scripts,
    and this one puts a native program in place. Raises NotInstalled.
    """

    def install(aside: Path) -> None:
        for program in ("node", "npm"):
            if shutil.which(program) is None:
                raise NotInstalled(f"{program} is not installed")
        (aside / "package.json").write_bytes(package.read_bytes())
        _run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], aside)
        script = aside / after[1]
        _run([after[0], script.name], script.parent)

    return _installed(package.read_bytes(), install)


def pip_installed(requirements: Path) -> Path:
    """The virtual environment with the packages of a requirements file. Raises NotInstalled."""
    text = requirements.read_bytes()

    def install(aside: Path) -> None:
        _run([sys.executable, "-m", "venv", "."], aside)
        # A moved environment's scripts would start the interpreter where it was, so programs are run as modules.
        _run([str(aside / "bin/python"), "-m", "pip", "install", "-q", "-r", str(requirements)], aside)

    return _installed(text, install)


def _installed(text: bytes, install: Callable[[Path], None]) -> Path:
    folder = cache() / "clients" / hashlib.sha256(text).hexdigest()[:16]
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix="installing-", dir=folder.parent))
    try:
        install(aside)
        if not folder.exists():
            aside.rename(folder)
    except OSError as error:
        if not folder.exists():
            raise NotInstalled(f"the agents could not be put in place: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"`{' '.join(command)}` took over {TIMEOUT:.0f} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotInstalled(f"`{' '.join(command)}` failed: {said[0] if said else done.returncode}")
