"""`sbgw cache` on recorded requests: rates by model and session, and breaks with their price."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from engine.cli.cache import _show
from engine.store.event import AttemptEvent, Event, timestamp_of
from engine.store.ledger import Ledger
from engine.store.warmth import Warmth

NOW = datetime.now(UTC)


def event(number: int, **more: Any) -> Event:
    """An answer of alpha/big that read what was expected, but for `read`; 1,000 tokens more each time."""
    prompt, expected = 10_000 + 1000 * number, 9_000 + 1000 * number if number else 0
    read = more.pop("read", expected)
    session = {
        "id": "s",
        "warm": {"alpha/big": expected} if expected else {},
        "prefix_break": "",
        **more.pop("session", {}),
    }
    fields: dict[str, Any] = {
        "id": f"{number:024x}", "timestamp": timestamp_of(NOW - timedelta(minutes=60 - number)), "client": "claude-code",
        "protocol": "anthropic-messages", "session_id": "s", "selected_provider": "alpha", "selected_model": "big",
        "status": "success", "input_tokens": prompt, "output_tokens": 5, "cached_input_tokens": read, "cache_write_tokens": 1000,
        "facts": {"session": session}, "attempts": (AttemptEvent("alpha", "big", "anthropic-messages", hints=("marks",)),),
    }  # fmt: skip
    return Event(**{**fields, **more})


BREAK = {"prefix_break": "tools[3]", "prefix_break_tokens": 12_000, "prefix_break_usd": 0.0576}
EVENTS = [
    event(0),
    event(1),
    event(2),
    event(3, read=0, session=BREAK),
    event(4, session_id="t", selected_model="small", cached_input_tokens=None),
    event(5, status="error", cached_input_tokens=None),
]


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A state folder with these events."""
    state = tmp_path / "told"
    state.mkdir()

    async def record() -> None:
        ledger = Ledger(state / "ledger.sqlite", log=lambda *_, **__: None)
        ledger.start()
        for one in EVENTS:
            await ledger.complete(one)
        await asyncio.to_thread(ledger.close)

    asyncio.run(record())
    return state


def test_sums_are_of_what_was_told() -> None:
    """Rates over the requests whose provider told; errors of the others and requests without an answer are in none."""
    report = Warmth.of(EVENTS)
    sums = report.models["alpha/big"]
    assert (sums.requests, sums.prompt, sums.expected, sums.read, sums.written) == (4, 46_000, 33_000, 21_000, 4000)
    assert (sums.expected_rate, sums.hit_rate) == (33 / 46, 21 / 46)
    assert (sums.errors, sums.error) == ([0.0, 0.0, 1.0], 0.0)
    assert sums.hints == {"marks": 4}
    small = report.models["alpha/small"]
    assert (small.requests, small.untold, small.hit_rate, small.error) == (0, 1, None, None)
    assert set(report.sessions) == {"s", "t"}
    assert [(b.segment, b.tokens, b.usd, b.model) for b in report.breaks] == [("tools[3]", 12_000, 0.0576, "alpha/big")]


def test_a_break_without_a_known_price_is_not_free(capsys: pytest.CaptureFixture[str]) -> None:
    """Its cost is `?`, as everywhere, and no sum says 0."""
    report = Warmth.of(EVENTS)
    report.breaks[:] = [replace(broken, usd=0.0) for broken in report.breaks]
    _show(report, 10)
    shown = capsys.readouterr().out
    assert "1 prompt broke, at prices that are not known" in shown
    assert shown.rstrip().endswith("?")


def test_it_is_shown(run: Callable[..., Result], recorded: Path) -> None:
    """A table by model, one by session, and the breaks with their price; the same as JSON."""
    shown = run("cache", "--state-dir", str(recorded))
    assert shown.exit_code == 0
    assert all(
        text in shown.output
        for text in ("alpha/big", "71.7%", "45.7%", "1 prompt broke, which cost $0.0576", "tools[3]", "$0.0576")
    )
    assert "1 requests are in no rate" in shown.output
    told = json.loads(run("cache", "--json", "--state-dir", str(recorded)).output)
    assert told["all"]["requests"] == 4
    assert told["models"][0]["hitRate"] == pytest.approx(21 / 46)
    assert told["breaks"][0]["segment"] == "tools[3]"
    one = json.loads(run("cache", "--json", "--session", "t", "--state-dir", str(recorded)).output)
    assert [session["name"] for session in one["sessions"]] == ["t"]


def test_nothing_yet(run: Callable[..., Result], tmp_path: Path) -> None:
    """Without records it says so."""
    assert "no answered requests" in run("cache", "--state-dir", str(tmp_path / "empty")).output
    assert json.loads(run("cache", "--json", "--state-dir", str(tmp_path / "empty")).output)["models"] == []
