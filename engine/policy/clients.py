"""Who sends a request: client, version, sub-agent, session and purpose, read from the request's headers alone.

Rules kept here:

- Headers are claims. What comes out of them chooses rules of a policy; it never opens a door (that is the guard's business).
- Names arrive in lower case, as the server hands them over. Values are cut and cleaned of control characters, because they
  are recorded and shown.
- A client that does not name itself stays `unknown`: a wrong guess would be worse than none, since the rules for an agent's
  side work apply to the clients that are known to have such work.

What each client sends was observed by running it: Claude Code 2.1, Codex 0.169, opencode 1.18, Qwen Code 0.15, Gemini CLI
0.61, Continue 1.5, aider 0.86 and the two official SDKs. Continue and aider use general HTTP clients and can't be told apart
from other programs by their headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from engine.llm.frozen import dataclass

AGENTS = frozenset({"claude-code", "codex", "opencode", "qwen-code", "gemini-cli", "continue"})
"""Clients that offer tools with every request of their main work, so that a request without tools is side work."""

_PRODUCTS: Mapping[str, str] = {
    "claude-cli": "claude-code",
    "claude-code": "claude-code",
    "codex": "codex",
    "codex_exec": "codex",
    "codex-tui": "codex",
    "codex_cli_rs": "codex",
    "codex_vscode": "codex",
    "opencode": "opencode",
    "qwencode": "qwen-code",
    "geminicli": "gemini-cli",
    "geminicli-tui": "gemini-cli",
    "continue": "continue",
    "aider": "aider",
    "anthropic": "anthropic-sdk",
    "asyncanthropic": "anthropic-sdk",
    "openai": "openai-sdk",
    "asyncopenai": "openai-sdk",
}
"""First product token of the user agent, in lower case → the client's name in the facts."""

CLIENTS = frozenset({*_PRODUCTS.values(), "unknown"})
"""Every value that `client.name` of the facts can have."""

_PURPOSES: Mapping[str, str] = {"main": "main", "subagent": "subagent", "auxiliary": "auxiliary"}
"""Claude Code's request class, sent when its hint headers are on → purpose. Its word for side work covers the title call."""

_LONGEST = 200
"""Characters kept of a header's value."""

_LONGEST_PATH = 500

_LONGEST_METADATA = 8192
"""Longest turn metadata that is parsed; observed ones have about 1 kB."""


@dataclass(slots=True, frozen=True)
class ClientIdentity:
    """What a client says of itself. Empty strings where it says nothing."""

    name: str = "unknown"
    """One of the names that `client.name` lists in the facts."""
    version: str = ""
    agent: str = ""
    """The sub-agent that calls; empty for the main loop."""
    session: str = ""
    purpose: str = ""
    """`main subagent auxiliary title compaction`, empty when the client does not say."""
    project: str = ""
    """The value of `x-sbgw-project`, else what the address or the key says."""
    parent: str = ""
    """The thread that started this sub-agent."""
    repo: str = ""
    """The repository it works in: `x-sbgw-repo`, else what Codex tells of its workspace."""
    key: str = ""
    """Name of the gateway's key that it presented, empty for the one without a name."""


def identify(headers: Mapping[str, str], *, project: str = "", key: str = "") -> ClientIdentity:
    """The sender of a request with these headers (names in lower case). Never raises: what can't be read is left empty.

    `project` is what the request's address or key says; a header that names one goes before it.
    """
    name, version = _product(headers)
    session = (
        _clean(headers, "x-claude-code-session-id") or _clean(headers, "session-id") or _clean(headers, "x-session-id")
    )
    project = _clean(headers, "x-sbgw-project") or _printable(project)
    repo = _printable(headers.get("x-sbgw-repo", ""), _LONGEST_PATH)
    if name == "codex":
        said = _metadata(headers.get("x-codex-turn-metadata", ""))
        agent, purpose, parent = _codex(headers, said)
        repo = repo or _workspace(said)
    else:
        agent = _clean(headers, "x-claude-code-agent-id")
        purpose = _PURPOSES.get(headers.get("x-claude-code-request-class", ""), "")
        parent = ""
    if agent and not purpose:
        purpose = "subagent"
    return ClientIdentity(name, version, agent, session, purpose, project, parent, repo, _printable(key))


def _product(headers: Mapping[str, str]) -> tuple[str, str]:
    """Name and version: the user agent's first product, else what the headers of a client's library tell."""
    token = headers.get("user-agent", "").split(" ", 1)[0]
    product, _, rest = token.partition("/")
    name = _PRODUCTS.get(product.lower(), "")
    if name.endswith("-sdk") or not name:
        return _library(headers, name)
    return name, _printable(rest.partition("/")[0])


def _library(headers: Mapping[str, str], name: str) -> tuple[str, str]:
    """A program on top of an official SDK: the SDK sends its version in a header of its own, whatever the user agent says."""
    if "codex" in headers.get("originator", ""):
        return "codex", _clean(headers, "version")
    if not name and "x-stainless-lang" in headers:
        name = "anthropic-sdk" if "anthropic-version" in headers else "openai-sdk"
    return (name, _clean(headers, "x-stainless-package-version")) if name else ("unknown", "")


def _codex(headers: Mapping[str, str], said: Mapping[str, Any]) -> tuple[str, str, str]:
    """(sub-agent, purpose, parent) from Codex's turn metadata and thread headers.

    A sub-agent has a thread of its own and its parent's session; a title call is a thread of its own without tools.
    """
    source, kind = said.get("thread_source"), said.get("request_kind")
    parent = _clean(headers, "x-codex-parent-thread-id")
    agent = _clean(headers, "thread-id") if "x-openai-subagent" in headers or source == "subagent" else ""
    if kind == "compaction":
        purpose = "compaction"
    elif source == "thread_title":
        purpose = "title"
    elif agent:
        purpose = "subagent"
    else:
        purpose = "main" if kind in ("turn", "prewarm") else ""
    return agent, purpose, parent


def _workspace(said: Mapping[str, Any]) -> str:
    """The first of Codex's workspaces, a map by path that it sends inside a Git repository. Remotes are not read: their
    addresses may hold a password.
    """
    places = said.get("workspaces")
    return _printable(next(iter(places), ""), _LONGEST_PATH) if isinstance(places, dict) else ""


def _metadata(text: str) -> Mapping[str, Any]:
    """The JSON object in `text`; empty when it is none, or too long to be one that Codex sends."""
    if not text or len(text) > _LONGEST_METADATA:
        return {}
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _clean(headers: Mapping[str, str], name: str) -> str:
    return _printable(headers.get(name, ""))


def _printable(text: str, longest: int = _LONGEST) -> str:
    text = text.strip()[:longest]
    return text if text.isprintable() else "".join(c for c in text if c.isprintable())
