"""Identifying clients: by hand for what each header means, and over every captured request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy.clients import ClientIdentity, identify

CLAUDE = {"user-agent": "claude-cli/2.1.330 (external, cli)", "x-app": "cli", "x-claude-code-session-id": "s-1"}
CODEX = {"user-agent": "codex_exec/0.169.0 (Debian 12.0.0; x86_64) dumb", "session-id": "s-2", "thread-id": "t-2"}


def captured(shared: Path) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for path in sorted((shared / "captures").glob("*/*/*.json")):
        exchange = json.loads(path.read_bytes())
        exchange["headers"] = {name.lower(): value for name, value in dict(exchange["headers"]).items()}
        found.append((str(path.relative_to(shared / "captures")), exchange))
    return found


def test_main_loop_of_claude_code() -> None:
    """The user agent names client and version, a header of its own the session."""
    assert identify(CLAUDE) == ClientIdentity("claude-code", "2.1.330", session="s-1")


@pytest.mark.parametrize(
    ("said", "purpose"),
    [("main", "main"), ("subagent", "subagent"), ("auxiliary", "auxiliary"), ("new-kind", ""), ("", "")],
)
def test_request_class_is_the_purpose(said: str, purpose: str) -> None:
    """Claude Code's request class is taken over where its word is known."""
    assert identify(CLAUDE | {"x-claude-code-request-class": said}).purpose == purpose


def test_agent_id_means_subagent() -> None:
    """A sub-agent of Claude Code names itself even when the hint headers are off."""
    found = identify(CLAUDE | {"x-claude-code-agent-id": "abad73b35c31968f6"})
    assert (found.agent, found.purpose) == ("abad73b35c31968f6", "subagent")


@pytest.mark.parametrize(
    ("metadata", "purpose"),
    [
        ({"request_kind": "turn", "thread_source": "user"}, "main"),
        ({"request_kind": "prewarm", "thread_source": "user"}, "main"),
        ({"request_kind": "turn", "thread_source": "thread_title"}, "title"),
        ({"request_kind": "compaction", "thread_source": "user"}, "compaction"),
        ({"request_kind": "turn", "thread_source": "subagent"}, "subagent"),
        ([1, 2], ""),
        ("text", ""),
    ],
)
def test_turn_metadata_of_codex(metadata: Any, purpose: str) -> None:
    """Codex says what a turn is for in a header of JSON; JSON of another shape says nothing."""
    assert identify(CODEX | {"x-codex-turn-metadata": json.dumps(metadata)}).purpose == purpose


def test_subagent_of_codex_has_its_parents_session() -> None:
    """A Codex sub-agent is known by its own thread, and its parent's id is kept."""
    found = identify(CODEX | {"x-openai-subagent": "collab_spawn", "x-codex-parent-thread-id": "t-1"})
    assert (found.session, found.agent, found.parent, found.purpose) == ("s-2", "t-2", "t-1", "subagent")


def test_unreadable_metadata_is_ignored() -> None:
    """Metadata that is no JSON, or far too long, is as good as none."""
    for text in ("{", "\udc80", "[" * 9000):
        assert identify(CODEX | {"x-codex-turn-metadata": text}).purpose == ""


def test_nameless_client_is_unknown() -> None:
    """Without headers nothing is known, and nothing is guessed."""
    assert identify({}) == ClientIdentity()
    assert identify({"user-agent": "curl/8.1"}).name == "unknown"


def test_sdk_behind_another_user_agent() -> None:
    """A program built on an official SDK is told by the SDK's own headers, the vendor by its version header."""
    stainless = {"user-agent": "ls/JS 5.23.2", "x-stainless-lang": "js", "x-stainless-package-version": "5.23.2"}
    assert identify(stainless) == ClientIdentity("openai-sdk", "5.23.2")
    assert identify(stainless | {"anthropic-version": "2023-06-01"}).name == "anthropic-sdk"


def test_project_comes_from_our_own_header() -> None:
    """`x-sbgw-project` names the project whoever sends it."""
    assert identify({"x-sbgw-project": " shop "}).project == "shop"


def test_values_are_cut_and_cleaned() -> None:
    """What is recorded has no control characters and a bounded length."""
    found = identify({"x-session-id": "a\x1b[31m" + "b" * 1000})
    assert found.session.isprintable()
    assert len(found.session) <= 200


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "user-agent",
                "originator",
                "x-codex-turn-metadata",
                "session-id",
                "thread-id",
                "x-openai-subagent",
                "x-claude-code-request-class",
                "x-stainless-lang",
                "x-sbgw-project",
            ]
        ),
        st.text() | st.sampled_from(["codex_exec/0.1", "claude-cli/2", "{}", '{"request_kind": 3}']),
    )
)
def test_never_raises(headers: dict[str, str]) -> None:
    """Any headers give an identity whose fields are printable."""
    found = identify(headers)
    assert all(
        getattr(found, f).isprintable() for f in ("name", "version", "agent", "session", "purpose", "project", "parent")
    )


EXPECTED = {
    "claude": "claude-code",
    "codex": "codex",
    "opencode": "opencode",
    "qwen": "qwen-code",
    "gemini": "gemini-cli",
}


def test_every_captured_client_is_known(shared: Path) -> None:
    """All captured model calls of the agents that name themselves are told right, with a version."""
    wrong = []
    for name, exchange in captured(shared):
        client = name.split("/")[0]
        said = exchange["headers"].get("user-agent", "")
        if client not in EXPECTED or not said or said.startswith("Bun/"):
            continue
        found = identify(exchange["headers"])
        if found.name != EXPECTED[client] or not found.version:
            wrong.append((name, found.name))
    assert wrong == []


def test_captured_sdks_are_known(shared: Path) -> None:
    """The official SDKs are told apart."""
    for name, exchange in captured(shared):
        if name.startswith("sdk/"):
            vendor = exchange["headers"]["user-agent"].split("/")[0].lower()
            assert identify(exchange["headers"]).name == f"{vendor}-sdk", name


def test_captured_sessions_are_read(shared: Path) -> None:
    """Every model call of Claude Code, Codex and opencode names its session in a header."""
    for name, exchange in captured(shared):
        agent = exchange["headers"].get("user-agent", "").split("/")[0]
        if exchange["method"] == "POST" and agent in ("claude-cli", "codex_exec", "codex-tui", "opencode"):
            assert identify(exchange["headers"]).session, name


def test_captured_purposes(shared: Path) -> None:
    """In the captures are main turns, sub-agents, a title call and compactions, and they are told apart."""
    purposes = {identify(exchange["headers"]).purpose for _, exchange in captured(shared)}
    assert purposes == {"", "main", "subagent", "auxiliary", "title", "compaction"}
