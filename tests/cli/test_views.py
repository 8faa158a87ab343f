"""`sbgw sessions`, `sbgw top`, and the filters, formats and lines of `sbgw events`."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from click.testing import Result
from rich.console import Console

from engine.cli.event_files import CSV_COLUMNS, WRITERS
from engine.cli.events import finished
from engine.cli.layout import Columns
from engine.cli.top import frame, picture
from engine.store.ledger import Ledger
from tests.store.builders import event, full

Run = Callable[..., Result]
HOSTILE = "evil\x1b]52;c;aGk=\x07\x1b[2J\u202eadmin"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A ledger whose names try to drive a terminal, as one written by an older gateway might hold."""
    folder = tmp_path / "hostile"

    async def fill() -> None:
        ledger = Ledger(folder / "ledger.sqlite")
        ledger.start()
        violation = {"kind": "denied", "rule": HOSTILE, "reason": "GATE_DENY", "detail": HOSTILE, "tags": [HOSTILE]}
        made = replace(
            full(), client=HOSTILE, session_id=HOSTILE, project=HOSTILE, selected_model=HOSTILE, requested_model=HOSTILE,
            selected_provider=HOSTILE, error_class=HOSTILE, agent=HOSTILE, route_class=HOSTILE, policy=HOSTILE,
            violations=(violation,), workflow={"turn": 1, "results": [{"tool": HOSTILE, "ok": False}]},
        )  # fmt: skip
        await ledger.complete(made)
        await asyncio.to_thread(ledger.close)

    asyncio.run(fill())
    return folder


def test_no_name_drives_the_terminal_from_top() -> None:
    """The same for the live view."""
    console = Console(width=200, file=io.StringIO())
    made = event(
        1, client=HOSTILE, selected_provider=HOSTILE, selected_model=HOSTILE, error_class=HOSTILE, route_class=HOSTILE
    )
    console.print(picture(frame([made], 5.0)))
    shown = console.file.getvalue()
    assert ("evil" in shown, [c for c in shown if (c < " " and c != "\n") or c in "\x7f\u202e"]) == (True, [])


def test_followed_lines_are_safe_too() -> None:
    """The same for lines that come later."""
    line = Columns(["client"]).line([HOSTILE])
    assert ("\x1b" in line, "evil" in line) == (False, True)


def test_sessions(run: Run) -> None:
    """A line a session; one of them by its id; JSON of both."""
    assert "session-1" in run("sessions").output
    [one] = orjson.loads(run("sessions", "--json").output)["sessions"]
    assert (one["id"], one["requests"], one["client"]) == ("session-1", 6, "claude-code")
    told = orjson.loads(run("sessions", "session-1", "--json").output)
    assert (told["session"], len(told["requests"]), told["requests"][0]["turn"]) == ("session-1", 6, 0)
    assert run("sessions", "session-1").output.count("main") == 6
    assert run("sessions", "nobody").exit_code == 1


def test_top_once(run: Run) -> None:
    """One frame: rates and groups, as text and as JSON."""
    shown = run("top", "--once", "--minutes", "60").output
    assert "7 requests (0.1/min)" in shown
    told = orjson.loads(run("top", "--json", "--minutes", "60").output)
    assert (told["total"]["requests"], told["total"]["failed"], told["underWay"]) == (7, 1, 0)
    assert sum(line["requests"] for line in told["client"].values()) == 7


def test_a_frame() -> None:
    """Open requests are under way and counted nowhere else; sums and quantiles are those of the finished ones."""
    made = [
        event(3, status="open"),
        event(2, latency_ms=30.0, cost_estimate_usd=0.5, wasted_usd=0.25, selected_provider="p", selected_model="m"),
        event(1, latency_ms=10.0, status="error", input_tokens=5),
    ]
    found = frame(made, 5.0)
    assert (len(found.under_way), found.whole.requests, found.whole.failed, found.whole.cost_usd) == (1, 2, 1, 0.75)
    assert (found.whole.quantile(0.5), found.whole.quantile(0.95)) == (30.0, 30.0)
    assert {name: line.requests for name, line in found.groups["model"].items()} == {"p/m": 1, "none": 1}


def test_filters(run: Run) -> None:
    """A filter that nothing fits lists nothing; one that all fit lists all."""
    everything = len(run("events", "--json").output.splitlines())
    fits = run("events", "--json", "--client", "claude-code", "--session", "session-1").output
    assert (everything, len(fits.splitlines())) == (7, 6)
    for words in (("--project", "none"), ("--agent", "none"), ("--until", "2000-01-01"), ("--class", "none")):
        assert run("events", "--json", *words).output == ""


def test_following_shows_each_finished_request_once() -> None:
    """Requests that finish out of order are shown when they do; what is open waits."""
    shown = {event(0).id}
    first = list(finished([event(2), event(1, status="open"), event(0)], shown))
    second = list(finished([event(3), event(2), event(1), event(0)], shown))
    assert [[one.id for one in found] for found in (first, second)] == [
        [event(2).id], [event(1).id, event(3).id],
    ]  # fmt: skip


def test_csv(run: Run) -> None:
    """A header and a row a request; a column for every flat field that tells who, what and how much."""
    rows = list(csv.reader(io.StringIO(run("events", "export", "--format", "csv").stdout)))
    assert (tuple(rows[0]), len(rows)) == (CSV_COLUMNS, 8)
    assert {len(row) for row in rows} == {len(CSV_COLUMNS)}
    full_row = dict(zip(CSV_COLUMNS, next(csv.reader(io.StringIO(WRITERS["csv"](full()).decode()))), strict=True))
    assert [name for name, value in full_row.items() if value == ""] == []
    assert (full_row["fallbackChain"], full_row["cacheHit"], full_row["costReportedUsd"]) == (
        "a/b groq/llama",
        "true",
        "0.5",
    )


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\tx"])
def test_no_cell_is_a_formula(name: str) -> None:
    """A name from a client is text for every spreadsheet; numbers stay numbers."""
    line = WRITERS["csv"](event(project=name, cost_estimate_usd=0.5)).decode()
    row = dict(zip(CSV_COLUMNS, next(csv.reader(io.StringIO(line))), strict=True))
    assert (row["project"], row["costEstimateUsd"]) == (f"'{name}", "0.5")


def test_governance_lines(run: Run) -> None:
    """A record a request, each with the format's name and version."""
    records = [orjson.loads(line) for line in run("events", "export", "--format", "governance").stdout.splitlines()]
    assert {(record["format"], record["version"]) for record in records} == {("sbgw.governance", 1)}
    assert sum(record["kind"] == "request" for record in records) == 7


def test_violations_list(run: Run) -> None:
    """An empty list is a heading, not an error."""
    assert "rule" in run("events", "violations").output
    assert run("events", "violations", "--json", "--kind", "would_deny").output == ""


def test_the_live_view_ends_with_ctrl_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks again each second until it is interrupted, and then ends well."""
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    terminal = Console(width=160, force_terminal=True, file=io.StringIO())
    monkeypatch.setattr("engine.cli.top._console", lambda: terminal)
    monkeypatch.setattr("engine.cli.top.time.sleep", sleep)
    result = run("top", "--minutes", "60")
    assert (result.exit_code, looks, "7 requests" in terminal.file.getvalue()) == (0, [1.0] * 3, True)


def test_a_pipe_gets_one_frame(run: Run) -> None:
    """Where nobody looks the live view is one picture."""
    assert run("top", "--minutes", "60").output.count("7 requests") == 1


def test_following_ends_with_ctrl_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was listed is not shown again while nothing new finishes."""
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("engine.cli.events.time.sleep", sleep)
    result = run("events", "--follow", "--json")
    assert (result.exit_code, len(result.output.splitlines()), len(looks)) == (0, 7, 3)
