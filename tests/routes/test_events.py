"""Records over HTTP: filters, sessions with their workflow, violations."""

from __future__ import annotations

from typing import Any

import pytest

from tests.spine import KEY, Spine


async def ask(gate: Spine, *projects: str, **more: Any) -> list[str]:
    """One request a project; the events' ids."""
    ids = []
    for project in projects:
        headers = {"x-sbgw-project": project, "x-session-id": "s-" + project, "user-agent": "opencode/1.0"}
        answer = await gate.ask("openai-chat", headers=headers, **more)
        ids.append(answer.headers["x-sbgw-event"])
        await gate.event(ids[-1])
    return ids


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", [2, 1, 0]),
        ("?project=a", [0]),
        ("?session=s-b&client=opencode", [1]),
        ("?status=error", [2]),
        ("?model=m&provider=first&class=fallback_safe", [1, 0]),
        ("?agent=none", []),
        ("?key=none", []),
        ("?since=1h&limit=2", [2, 1]),
        ("?since=2099-01-01", []),
        ("?until=2000-01-01T00:00:00Z", []),
    ],
)
async def test_filters(gate: Spine, query: str, wanted: list[int]) -> None:
    """Each parameter keeps what it names; times may be spans."""
    ids = await ask(gate, "a", "b", "x")
    found = (await gate.send("GET", "/events/recent" + query)).json["events"]
    assert [ids.index(event["id"]) for event in found] == wanted


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit must"), ("limit=x", "limit must"), ("limit=1001", "limit must"), ("status=fine", "status must"),
        ("projct=a", "no parameter 'projct'; there are: limit, session"), ("since=yesterday", "'yesterday' is no time"), ("until=1y", "'1y' is no time"),
    ],
)  # fmt: skip
async def test_wrong_parameters_are_named(gate: Spine, query: str, said: str) -> None:
    """A clear error, no guess."""
    answer = await gate.send("GET", f"/events/recent?{query}")
    assert (answer.status, said in answer.body.decode()) == (400, True)


async def test_violations(gate: Spine) -> None:
    """A refusal is an event of its own, in the list and in the metrics."""
    ids = await ask(gate, "a", "x")
    [said] = (await gate.send("GET", "/events/violations?kind=denied")).json["violations"]
    assert (said["eventId"], said["rule"], said["tags"], said["project"]) == (ids[1], "no-x", ["t"], "x")
    assert (await gate.send("GET", "/events/violations?rule=other")).json == {"violations": []}
    answer = await gate.send("GET", "/events/violations?kind=refused")
    assert (answer.status, "kind must be one of denied" in answer.body.decode()) == (400, True)
    metrics = (await gate.send("GET", "/metrics")).body.decode()
    assert 'sbgw_policy_violations_total{kind="denied",rule="no-x"} 1' in metrics


async def test_sessions_and_their_workflow(gate: Spine) -> None:
    """Sums by session; of one, its requests with the tools that ran before each."""
    call = {"id": "c1", "type": "function", "function": {"name": "Bash", "arguments": "{}"}}
    history = [
        {"role": "user", "content": "canary-text"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "canary-result"},
    ]
    tools = [{"type": "function", "function": {"name": "Bash", "parameters": {"type": "object", "properties": {}}}}]
    await ask(gate, "a", "b")
    await ask(gate, "a", asked={"model": "m", "messages": history, "tools": tools})
    listed = (await gate.send("GET", "/sessions")).json["sessions"]
    assert [(one["id"], one["requests"], one["project"]) for one in listed] == [("s-a", 2, "a"), ("s-b", 1, "b")]
    assert [one["id"] for one in (await gate.send("GET", "/sessions?project=b&limit=9")).json["sessions"]] == ["s-b"]
    answer = await gate.send("GET", "/sessions/s-a")
    first, second = answer.json["requests"]
    assert ((first["turn"], first.get("results")), (second["turn"], second["results"])) == (
        (0, None),
        (1, [{"tool": "Bash"}]),
    )
    assert b"canary" not in answer.body
    assert (await gate.send("GET", "/sessions/nobody")).status == 404


@pytest.mark.parametrize("path", ["/events/recent", "/events/stream", "/events/violations", "/sessions", "/sessions/x"])
async def test_records_need_the_key(gate: Spine, path: str) -> None:
    """Nobody reads records without it, and no web page does."""
    assert (await gate.send("GET", path, headers={"x-sbgw-key": "wrong"})).status == 401
    assert (await gate.send("GET", path, headers={"x-sbgw-key": KEY, "origin": "http://evil.example"})).status == 403
