"""`sbgw sessions`, `sbgw top`, and the filters, formats and lines of `sbgw events`."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import signal
import sqlite3
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from engine.cli import cli
from engine.cli.event_files import CSV_COLUMNS, WRITERS
from engine.cli.events import finished
from engine.cli.layout import Columns, kept
from engine.cli.screen import table
from engine.cli.top import frame, look, picture
from engine.store.event import timestamp_of
from engine.store.ledger import Ledger, read_only
from tests.store.builders import event, full

if sys.platform != "win32":
    import fcntl
    import pty
    import termios

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


def interrupted(monkeypatch: pytest.MonkeyPatch, sleeps: str) -> list[float]:
    """Ctrl-C in the third pause; how long each of them was."""
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(sleeps, sleep)
    return looks


def test_the_live_view_ends_with_ctrl_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks again each second until it is interrupted, and then ends well."""
    terminal = Console(width=160, force_terminal=True, file=io.StringIO())
    monkeypatch.setattr("engine.cli.top._console", lambda: terminal)
    looks = interrupted(monkeypatch, "engine.cli.keyboard.time.sleep")
    result = run("top", "--minutes", "60")
    assert (result.exit_code, looks, "7 requests" in terminal.file.getvalue()) == (0, [1.0] * 3, True)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(("key", "size"), [(b"q", (24, 80)), (b"\x03", (40, 120)), (b"\x1b", (8, 40))])
def test_a_key_ends_the_live_view_and_leaves_the_terminal_as_it_was(
    state: Path, key: bytes, size: tuple[int, int]
) -> None:
    """On a real terminal, as large as it may be: what is shown fits, and a key ends it at once."""
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a suite in the background is deaf to it
        environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        program = "from engine.cli import main; main()"
        command = [sys.executable, "-c", program, "top", "--minutes", "1440", "--state-dir", str(state)]
        os.execve(sys.executable, command, environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    before = termios.tcgetattr(terminal)
    shown = b""
    late = threading.Timer(120.0, os.kill, (pid, signal.SIGKILL))  # so that a view which does not end fails
    late.start()
    with suppress(OSError):  # the end of a pseudo-terminal is an error on Linux
        while b"under way" not in shown and (more := os.read(terminal, 65536)):
            shown += more
        os.write(terminal, key)
        while more := os.read(terminal, 65536):
            shown += more
    late.cancel()
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert (os.waitstatus_to_exitcode(status), shown.count(b"\x1b[?1049h"), shown.count(b"\x1b[?1049l")) == (0, 1, 1)
    assert termios.ICANON & before[3]
    assert b"Traceback" not in shown


@pytest.mark.parametrize(("width", "height"), [(160, 50), (120, 40), (80, 24), (60, 20), (40, 12)])
def test_a_picture_fits_its_screen(width: int, height: int) -> None:
    """No line is longer and there are no more lines than the screen has; figures are whole, and the newest request is there."""
    made = [
        event(
            number, client="claude-code", project=f"project-{number % 12}", route_class="cheap_edit",
            selected_provider="a-provider", selected_model=f"a-model-with-a-long-name-{number % 9}", input_tokens=1_234_567,
            output_tokens=9, latency_ms=1234.0, cost_estimate_usd=0.001, status="fallback_success",
        )
        for number in range(300, 0, -1)
    ]  # fmt: skip
    console = Console(width=width, file=io.StringIO())
    console.print(picture(frame(made, 5.0), width, height))
    lines = console.file.getvalue().splitlines()
    assert (max(map(len, lines)) <= width, len(lines) <= height, len(lines) >= min(height, 30) - 1) == (
        True,
        True,
        True,
    )
    assert ("of 12)" in console.file.getvalue(), "1,234" in lines[-1]) == (True, True)


def test_an_unknown_cost_is_no_zero_in_the_live_view() -> None:
    """Nor is a sum with an unknown part shown as if it were whole."""
    known, unknown = event(1, cost_estimate_usd=0.5, selected_model="m"), event(2, selected_model="n")
    hit = event(3, selected_model="o", cache_hit=True)
    found = frame([hit, unknown, known], 5.0)
    assert {name: line.cost for name, line in found.groups["model"].items()} == {
        "/m": "$0.5000", "/n": "?", "/o": "$0.0000",
    }  # fmt: skip
    assert (found.whole.cost, found.as_json()["total"]["unpriced"]) == ("$0.5000+?", 1)


def test_a_look_reads_what_is_under_way_and_how_long(tmp_path: Path) -> None:
    """A request under way is as old as it is, though its row says nothing of that yet."""

    async def fill() -> None:
        ledger = Ledger(tmp_path / "ledger.sqlite")
        ledger.start()
        began = datetime.now(UTC) - timedelta(seconds=30)
        await ledger.complete(event(1, timestamp=timestamp_of(began), selected_model="m", latency_ms=5.0))
        await ledger.complete(event(2, timestamp=timestamp_of(began), status="open"))
        await asyncio.to_thread(ledger.close)

    asyncio.run(fill())
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    connection.execute("UPDATE events SET status = 'open' WHERE id = ?", (event(2).id,))
    connection.commit()
    connection.close()
    with read_only(tmp_path / "ledger.sqlite") as ledger:
        found = look(ledger, 5.0)
    [waiting] = found.under_way
    assert (found.whole.requests, waiting.latency_ms >= 30_000) == (1, True)


def test_a_narrow_terminal_gets_fewer_columns() -> None:
    """Spare columns go in their order and no more than need be; what is fixed keeps its width."""
    widths = [14, 16, 40, 9, 9]
    assert kept(widths, 100, fixed=(0, 1, 3), spare=(4, 2), between=3) == [0, 1, 2, 3, 4]
    assert kept(widths, 70, fixed=(0, 1, 3), spare=(4, 2), between=3) == [0, 1, 2, 3]
    assert kept(widths, 10, fixed=(0, 1, 3), spare=(4, 2), between=3) == [0, 1, 3]


def test_a_table_cuts_no_figure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a narrow terminal ids and costs are whole, and what is left out is named."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    row = ["11-27 08:14:16", "01a21c11c4d713b8", "a class with a name", "$0.000374"]
    table(["time", "event", "class", "cost"], [row], right=(3,), whole=(0, 1), spare=(2,))
    shown = capsys.readouterr().out
    assert [word for word in (row[0], row[1], row[3], "no room for: class") if word not in shown] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("events", "--json"), b""),
        (("sessions", "--json"), {"format_version": 1, "more": 0, "sessions": []}),
        (("top", "--json"), frame((), 5.0).as_json()),
    ],
)
def test_no_records_yet_are_json_too(words: tuple[str, ...], said: object, tmp_path: Path) -> None:
    """A script gets what it can read before the first request as well."""
    result = CliRunner().invoke(cli, [*words, "--state-dir", str(tmp_path)])
    assert (result.exit_code, orjson.loads(result.stdout) if said else result.stdout_bytes) == (0, said)


@pytest.mark.parametrize("command", ["events", "sessions"])
def test_one_of_no_records_is_not_there(command: str, tmp_path: Path) -> None:
    """Asked for a thing that is not there, the exit code says so."""
    assert CliRunner().invoke(cli, [command, "0193a1b2c3d4", "--state-dir", str(tmp_path)]).exit_code == 1


def test_requests_of_a_session_are_limited(run: Run) -> None:
    """The newest that many; all of them when nobody says."""
    told = [
        orjson.loads(run("sessions", "session-1", "--json", *more).output)["requests"] for more in ((), ("-n", "2"))
    ]
    assert told[1] == told[0][-2:]
    assert len(told[0]) == 6


def test_a_pipe_gets_one_frame(run: Run) -> None:
    """Where nobody looks the live view is one picture."""
    assert run("top", "--minutes", "60").output.count("7 requests") == 1


def test_a_terminal_that_can_not_move_gets_one_frame(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a picture can't be drawn over (`TERM=dumb`), it is shown once; nothing was shown at all."""
    terminal = Console(width=160, force_terminal=True, file=io.StringIO(), _environ={"TERM": "dumb"})
    monkeypatch.setattr("engine.cli.top._console", lambda: terminal)
    assert run("top", "--minutes", "60").exit_code == 0
    assert terminal.file.getvalue().count("7 requests") == 1


def test_following_ends_with_ctrl_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was listed is not shown again while nothing new finishes."""
    looks = interrupted(monkeypatch, "engine.cli.events.time.sleep")
    result = run("events", "--follow", "--json")
    assert (result.exit_code, len(result.output.splitlines()), len(looks)) == (0, 7, 3)


def test_following_begins_with_as_many_as_were_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older ones are not shown afterwards either."""
    interrupted(monkeypatch, "engine.cli.events.time.sleep")
    told = run("events", "--follow", "--json", "-n", "2").output.splitlines()
    assert told == run("events", "--json", "-n", "2").stdout.splitlines()[::-1]
