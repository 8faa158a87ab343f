"""How to connect each agent: one Jinja template per client, shared by `sbgw setup`, the start screen and the examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined


@dataclass(slots=True, frozen=True)
class Client:
    name: str
    title: str
    aliases: tuple[str, ...] = ()


CLIENTS: Mapping[str, Client] = {
    client.name: client
    for client in (
        Client("claude-code", "Claude Code", ("claude",)),
        Client("codex", "OpenAI Codex CLI"),
        Client("opencode", "OpenCode"),
        Client("qwen-code", "Qwen Code", ("qwen",)),
        Client("continue", "Continue", ("cn",)),
        Client("aider", "Aider"),
        Client("anthropic-sdk", "Anthropic SDKs"),
        Client("openai-sdk", "OpenAI SDKs"),
        Client("curl", "curl"),
    )
}
"""Clients by name, in the order in which help lists them."""


def configuration(name: str, *, url: str, key: str) -> str:
    """What to put where for client `name`. `key` is a shell expression that gives the key, such as `"$(sbgw key)"`."""
    environment = Environment(
        loader=PackageLoader("engine.cli"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (shell and TOML, not HTML; values are ours)
    )
    return environment.get_template(f"{name}.j2").render(url=url, key=key)


def short(name: str, *, url: str, key: str) -> str:
    """The first block of a client's configuration: what the start screen has room for."""
    return configuration(name, url=url, key=key).split("\n\n", 1)[0]
