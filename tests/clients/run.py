"""Runs one coding agent to its end: bare environment, empty home, a time limit, nothing left running.

The home lies in the cache, not below the system's temporary folder: Codex will not run from there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.clients.install import Clients, cache

TIMEOUT = 90.0

CODEX_CONFIG = """\
model = "{model}"
model_provider = "gw"
check_for_update_on_startup = false
[model_providers.gw]
name = "Gateway"
base_url = "{url}"
env_key = "GW_KEY"
wire_api = "responses"
[features]
daemon_auto_start = false
"""


@dataclass(slots=True, frozen=True)
class Finished:
    """How an agent ended. `code` is None when the time ran out and it was killed."""

    code: int | None
    out: str
    err: str

    def told(self) -> str:
        """All of it, for a failing test to show."""
        return f"exit {self.code}\n--- stdout ---\n{self.out[-4000:]}\n--- stderr ---\n{self.err[-6000:]}"


@dataclass(slots=True, frozen=True)
class Agent:
    """One agent ready to run against `base`: an origin without `/v1`, as both agents' settings are made from it."""

    name: str
    clients: Clients
    base: str
    key: str
    model: str
    env: Mapping[str, str] = field(default_factory=dict)
    """More environment, for settings a test is about."""

    async def run(self, prompt: str, folder: Path, *, seconds: float = TIMEOUT) -> Finished:
        """Let it work on `prompt` in `folder`."""
        homes = cache() / "homes"
        homes.mkdir(exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=homes))
        try:
            command, settings = self._claude_code(prompt) if self.name == "claude-code" else self._codex(prompt, home)
            return await run(command, folder, bare(home) | settings | dict(self.env), seconds=seconds)
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def _claude_code(self, prompt: str) -> tuple[list[str], dict[str, str]]:
        command = [str(self.clients.claude_code), "-p", prompt, "--model", self.model, "--dangerously-skip-permissions"]
        return command, {
            "ANTHROPIC_BASE_URL": self.base,
            "ANTHROPIC_AUTH_TOKEN": self.key,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "IS_SANDBOX": "1",  # lets root skip permissions, as in a container
        }

    def _codex(self, prompt: str, home: Path) -> tuple[list[str], dict[str, str]]:
        (home / ".codex").mkdir()
        (home / ".codex/config.toml").write_text(
            CODEX_CONFIG.format(model=self.model, url=f"{self.base}/v1"), encoding="utf-8"
        )
        command = [
            str(self.clients.codex),
            "exec",
            "--skip-git-repo-check",
            "--dangerously-bypass-approvals-and-sandbox",
            prompt,
        ]
        return command, {"GW_KEY": self.key}


def bare(home: Path) -> dict[str, str]:
    """The least environment that programs need to run; no key, proxy or setting of the caller's gets in."""
    node = shutil.which("node")
    path = [str(Path(node).parent)] if node else []
    return {
        "PATH": os.pathsep.join([*path, "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_PROXY": "*",
    }


async def run(command: list[str], folder: Path, env: Mapping[str, str], *, seconds: float) -> Finished:
    """Run `command`, kill what is left of its process group, and tell how it ended."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=dict(env),
        start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    talk = asyncio.ensure_future(process.communicate())
    done, _ = await asyncio.wait({talk}, timeout=seconds)
    kill_group(process.pid)
    out, err = await talk
    code = process.returncode if done else None
    return Finished(code, out.decode(errors="replace"), err.decode(errors="replace"))


def kill_group(leader: int) -> None:
    """End every process of a group that this program started."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return
