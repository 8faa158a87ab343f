"""The measurement itself works: bodies are as real agents' and every answer is good. No time is asserted."""

from __future__ import annotations

import json
import sys

import pytest

from tests.bench import bench_gateway, bench_turns, bodies
from tests.bench.growing import Session


def test_the_agents_body_is_as_large_as_said() -> None:
    """120 kB, 25 tools, 41 messages in turn, every call with its result, the same bytes each time."""
    raw = bodies.agent("m", stream=True)
    body = json.loads(raw)
    assert (abs(len(raw) - bodies.AGENT_BYTES) < 2_000, raw) == (True, bodies.agent("m", stream=True))
    assert (len(body["tools"]), len(body["messages"])) == (25, 41)
    assert [m["role"] for m in body["messages"]] == ["user", "assistant"] * 20 + ["user"]
    blocks = [block for message in body["messages"] for block in message["content"]]
    called = [block["id"] for block in blocks if block["type"] == "tool_use"]
    answered = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    assert (called, len(set(called))) == (answered, len(called))


@pytest.mark.bench
@pytest.mark.skipif(sys.platform != "linux", reason="CPU time of another process is read from /proc")
def test_a_short_measurement_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Every case is answered well by the bare proxy and by the gateway."""
    assert bench_gateway.main(["--rounds", "1", "--scale", "0.05", "--json"]) == 0
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert {target for targets in cases.values() for target in targets} == {"bare", "sbgw"}


def test_a_session_grows_by_its_turns_alone() -> None:
    """Each request of the measured session begins with the messages of the one before, their breakpoints aside."""
    for protocol, field in bench_turns.CONVERSATION.items():
        session = Session(protocol, "m", 3)
        before, after = (
            json.loads(session.request(turn).replace(b',"cache_control":{"type":"ephemeral"}', b"")) for turn in (2, 3)
        )
        assert after[field][: len(before[field])] == before[field]
        assert len(after[field]) > len(before[field])
        assert {k: v for k, v in after.items() if k != field} == {k: v for k, v in before.items() if k != field}
