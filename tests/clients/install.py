"""Installs the pinned coding agents with npm into a cache outside the checkout, once per set of versions.

The cache is `$SBGW_TESTS_CACHE`, else `$XDG_CACHE_HOME/sbgw-tests`, else `~/.cache/sbgw-tests`. An install is made aside and moved
into place whole, so a broken one never looks finished and parallel test runs don't meet.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).with_name("package.json")
TIMEOUT = 600.0
"""Seconds for each of npm's and the post-install script's run."""


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
    """The agents, installed first if need be. Raises NotInstalled."""
    text = PACKAGE.read_bytes()
    folder = cache() / "clients" / hashlib.sha256(text).hexdigest()[:16]
    if not (folder / "node_modules").is_dir():
        _install(folder, text)
    modules = folder / "node_modules"
    versions = {name.rpartition("/")[2]: version for name, version in json.loads(text)["dependencies"].items()}
    return Clients(modules / "@anthropic-ai/claude-code/bin/claude.exe", modules / ".bin/codex", versions)


def _install(folder: Path, package: bytes) -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise NotInstalled(f"{program} is not installed")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix="installing-", dir=folder.parent))
    try:
        (aside / "package.json").write_bytes(package)
        _run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], aside)
        # npm may be set not to run scripts, so the one that puts Claude Code's native program in place is run by hand
        _run(["node", "install.cjs"], aside / "node_modules/@anthropic-ai/claude-code")
        if not folder.exists():
            aside.rename(folder)
    except OSError as error:
        if not folder.exists():
            raise NotInstalled(f"the agents could not be put in place: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"`{' '.join(command)}` took over {TIMEOUT:.0f} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotInstalled(f"`{' '.join(command)}` failed: {said[0] if said else done.returncode}")
