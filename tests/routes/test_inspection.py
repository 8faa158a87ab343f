"""Looking in: health, metrics, events, and a decision that is not carried out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.store import upgrades
from tests.emulator import Emulator, Fault
from tests.emulator.models import Model
from tests.spine import PROTOCOLS, Behind, Spine, body, policy, spine
from tests.store.builders import event
from tests.store.test_upgrades import older

ROWS = {"m": Model()}


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Spine, Emulator]]:
    """A gateway with one provider that works and one that never does."""
    async with Emulator(models=ROWS) as emu:
        behind = (
            Behind("first", emu.url, ("openai-chat",)),
            Behind("second", lambda _: "http://127.0.0.1:1", ("anthropic-messages",)),
        )
        deny = {
            "deny": [
                {"id": "small-only", "when": "request.max_output_tokens > 1000", "status": 403, "message": "too long"}
            ]
        }
        async with spine(policy(*behind, gate=deny), env={"FIRST_KEY": emu.key, "SECOND_KEY": "canary-second"}) as gate:
            yield gate, emu


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("named", [False, True], ids=["by-its-looks", "by-name"])
async def test_the_decision_for_a_request(pair: tuple[Spine, Emulator], protocol: str, *, named: bool) -> None:
    """Class, model, every candidate, facts; nobody is asked and nothing recorded."""
    gate, emu = pair
    headers = {"anthropic-version": "2023-06-01"} if protocol == "anthropic-messages" and not named else {}
    query = f"?protocol={protocol}" if named else ""
    answer = await gate.send("POST", "/v1/route" + query, orjson.dumps(body(protocol, text="canary-prompt")), headers)
    told = answer.json
    assert (told["protocol"], told["model"], told["class"]) == (protocol, "first/m", "fallback_safe")
    assert [c["ref"] for c in told["decision"]["candidates"]] == ["first/m", "second/m"]
    assert told["facts"]["request"]["protocol"] == protocol
    assert "canary-prompt" not in answer.body.decode()
    assert (emu.requests, gate.events()) == ([], [])


async def test_a_denied_request_is_told_as_such(pair: tuple[Spine, Emulator]) -> None:
    """200: the question is answered; the decision holds the rule."""
    gate, _ = pair
    answer = await gate.send(
        "POST", "/v1/route?protocol=openai-chat", orjson.dumps(body("openai-chat", max_tokens=2000))
    )
    assert (answer.status, answer.json["model"]) == (200, None)
    assert answer.json["decision"]["denial"]["rule"] == "small-only"


async def test_an_unknown_protocol_is_refused(pair: tuple[Spine, Emulator]) -> None:
    """With the list of those there are."""
    answer = await pair[0].send("POST", "/v1/route?protocol=smoke", orjson.dumps(body("openai-chat")))
    assert answer.status == 400
    assert "openai-responses" in answer.json["error"]["message"]


async def test_metrics_as_prometheus_text(pair: tuple[Spine, Emulator]) -> None:
    """Every sample is a line of name, labels and number."""
    gate, _ = pair
    await gate.ask("openai-chat")
    answer = await gate.send("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [line for line in answer.body.decode().splitlines() if line and not line.startswith("#")]
    assert any(line.startswith("sbgw_requests_total{") for line in samples)
    for line in samples:
        assert float(line.rsplit(" ", 1)[1]) >= 0
    assert "sbgw_policy_last_reload_ok 1" in samples


@pytest.mark.parametrize(
    ("path", "headers"), [("/metrics?format=json", {}), ("/metrics", {"accept": "application/json"})]
)
async def test_metrics_as_json(pair: tuple[Spine, Emulator], path: str, headers: dict[str, str]) -> None:
    """With the providers' states and the policy."""
    gate, emu = pair
    emu.fail_next(Fault("429", retry_after=60, times=3))
    await gate.ask("openai-chat")
    told = (await gate.send("GET", path, headers=headers)).json
    states: dict[str, Any] = {row["provider"]: row for row in told["providers"]}
    assert (states["first"]["models"][0]["healthy"], states["second"]["key"]) == (False, True)
    assert told["policy"]["lastReloadOk"] is True
    assert "canary-second" not in repr(told)


async def test_recent_events_newest_first(pair: tuple[Spine, Emulator]) -> None:
    """As many as asked for, and one by its id or its beginning."""
    gate, _ = pair
    ids = [(await gate.ask("openai-chat")).headers["x-sbgw-event"] for _ in range(4)]
    told = (await gate.send("GET", "/events/recent?limit=3")).json["events"]
    assert [event["id"] for event in told] == ids[:0:-1]
    one = (await gate.send("GET", f"/events/{ids[2]}")).json
    assert one["id"] == ids[2]
    assert (await gate.send("GET", f"/events/{ids[2][:20]}")).json["id"] == ids[2]


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1001", "", "٣", "1e2"])
async def test_a_limit_that_is_none_is_refused(pair: tuple[Spine, Emulator], limit: str) -> None:
    """400, not a default."""
    assert (await pair[0].send("GET", f"/events/recent?limit={limit}")).status == 400


@pytest.mark.parametrize("event_id", ["nothing", "%27%20OR%201=1", "0" * 24, "%00"])
async def test_an_unknown_event_is_404(pair: tuple[Spine, Emulator], event_id: str) -> None:
    """Whatever stands for an id."""
    assert (await pair[0].send("GET", f"/events/{event_id}")).status == 404


async def test_health_is_open_and_says_little(pair: tuple[Spine, Emulator]) -> None:
    """Status, version, policy, uptime; no provider, no key."""
    gate, _ = pair
    told = (await gate.send("GET", "/health", headers={"x-sbgw-key": ""})).json
    assert (told["status"], told["policyReload"], told["ledger"]) == ("ok", "ok", "ok")
    assert told["policy"].startswith("spine@")
    assert "first" not in repr(told)


async def test_health_tells_how_far_an_older_ledger_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway serves before the ledger's older events are in all sums, and says which are not whole yet."""
    monkeypatch.setattr(upgrades, "FEW", 0)
    made = [event(number, cost_estimate_usd=0.5) for number in range(20)]
    older(8, made, str(tmp_path / "ledger.sqlite")).close()
    async with Emulator() as emu, spine(policy(Behind("first", emu.url, ["openai-chat"])), state=tmp_path) as gate:
        told = (await gate.send("GET", "/health", headers={"x-sbgw-key": ""})).json
    assert told["status"] == "ok"
    assert told["ledgerUpgrade"] == {"done": 0.0, "incomplete": ["estimates", "savings", "spending"]}
