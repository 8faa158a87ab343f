"""Agents beside Claude Code and Codex: what each is run with, and how it is told where the gateway is."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.clients.install import cache, npm_installed, pip_installed
from tests.clients.run import Finished, bare, run

PACKAGE = Path(__file__).with_name("others") / "package.json"
REQUIREMENTS = Path(__file__).with_name("others") / "requirements.txt"
Prepared = tuple[list[str], dict[str, str]]
"""(command, environment)."""


@dataclass(slots=True, frozen=True)
class Asked:
    """One run: the gateway's origin and key, the model's name, what to do and where."""

    base: str
    key: str
    model: str
    prompt: str
    folder: Path


@dataclass(slots=True, frozen=True)
class Other:
    """An agent in one of its ways to speak to a provider. `prepare` writes its settings into a home."""

    id: str
    client: str
    """What the gateway takes it for: Continue and Aider use general HTTP clients."""
    protocol: str
    prepare: Callable[[Path, Asked], Prepared]
    calls_tools: bool = True

    async def run(self, asked: Asked, *, seconds: float = 90.0) -> Finished:
        """Let it work. Raises NotInstalled where it can't be had."""
        homes = cache() / "homes"
        homes.mkdir(exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix=f"{self.id}-", dir=homes))
        try:
            command, settings = self.prepare(home, asked)
            return await run(command, asked.folder, bare(home) | settings, seconds=seconds)
        finally:
            shutil.rmtree(home, ignore_errors=True)


def program(name: str) -> str:
    """An agent of npm, installed first if need be."""
    return str(
        npm_installed(PACKAGE, ["node", "node_modules/opencode-ai/postinstall.mjs"]) / "node_modules/.bin" / name
    )


def _opencode(npm: str) -> Callable[[Path, Asked], Prepared]:
    def prepare(home: Path, asked: Asked) -> Prepared:
        options = {"baseURL": f"{asked.base}/v1", "apiKey": asked.key}
        models = {asked.model: {"limit": {"context": 200_000, "output": 8192}}}
        _write(
            home / ".config/opencode/opencode.json",
            {
                "provider": {"gw": {"npm": npm, "name": "Gateway", "options": options, "models": models}},
                "model": f"gw/{asked.model}",
                "permission": {"*": "allow"},
                "autoupdate": False,
                "share": "disabled",
            },
        )
        return [program("opencode"), "run", asked.prompt], {"OPENCODE_DISABLE_MODELS_FETCH": "1"}

    return prepare


def _qwen(home: Path, asked: Asked) -> Prepared:
    settings = {
        "OPENAI_BASE_URL": f"{asked.base}/v1",
        "OPENAI_API_KEY": asked.key,
        "OPENAI_MODEL": asked.model,
    }
    _write(
        home / ".qwen/settings.json", {"privacy": {"usageStatisticsEnabled": False}, "telemetry": {"enabled": False}}
    )
    return [program("qwen"), "-p", asked.prompt, "--yolo"], settings


def _continue(provider: str) -> Callable[[Path, Asked], Prepared]:
    def prepare(home: Path, asked: Asked) -> Prepared:
        model = {
            "name": "gw",
            "provider": provider,
            "model": asked.model,
            "apiKey": asked.key,
            "apiBase": f"{asked.base}/v1",
        }
        model["roles"] = ["chat"]  # type: ignore[assignment]
        _write(home / "cn.yaml", {"name": "gw", "version": "1.0.0", "schema": "v1", "models": [model]})
        command = [program("cn"), "--config", str(home / "cn.yaml"), "--auto", "-p", asked.prompt]
        return command, {"CONTINUE_TELEMETRY_ENABLED": "0", "DO_NOT_TRACK": "1"}

    return prepare


def _aider(home: Path, asked: Asked) -> Prepared:
    command = [
        str(pip_installed(REQUIREMENTS) / "bin/python"),
        *("-m", "aider"),
        *("--model", f"openai/{asked.model}", "--openai-api-base", f"{asked.base}/v1", "--openai-api-key", asked.key),
        *("--message", asked.prompt, "--yes-always", "--no-git", "--no-check-update", "--no-show-release-notes"),
        *("--no-analytics", "--no-show-model-warnings", "--no-pretty", "--edit-format", "diff", "--map-tokens", "0"),
        "notes.txt",
    ]
    return command, {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def _write(path: Path, value: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


OTHERS = (
    Other("opencode-chat", "opencode", "openai-chat", _opencode("@ai-sdk/openai-compatible")),
    Other("opencode-messages", "opencode", "anthropic-messages", _opencode("@ai-sdk/anthropic")),
    Other("opencode-responses", "opencode", "openai-responses", _opencode("@ai-sdk/openai")),
    Other("qwen-code", "qwen-code", "openai-chat", _qwen),
    Other("continue-chat", "openai-sdk", "openai-chat", _continue("openai")),
    Other("continue-messages", "unknown", "anthropic-messages", _continue("anthropic")),
    Other("aider", "openai-sdk", "openai-chat", _aider, calls_tools=False),
)
