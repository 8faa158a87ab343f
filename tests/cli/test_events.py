"""`sbgw events` and its export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from click.testing import Result

from engine.store.event import Event
from engine.store.export import ExportInvalid, export_json, read_export
from engine.store.ledger import read_only
from engine.store.reader import Reader
from engine.store.records import record_of, record_of_row
from tests.store.builders import event, full

Run = Callable[..., Result]


def test_lists_without_a_command(run: Run) -> None:
    """`sbgw events` still lists, with its options."""
    shown = run("events", "-n", "2").output
    assert len([line for line in shown.splitlines() if "claude-code" in line or "error" in line]) == 2


def test_shows_one(run: Run) -> None:
    """An id shows the whole event."""
    name = orjson.loads(run("events", "--json").output.splitlines()[0])["id"]
    assert orjson.loads(run("events", name).output)["id"] == name


def test_help_names_both(run: Run) -> None:
    """Help shows the options of the listing and the commands beside it."""
    shown = run("events", "--help").output
    assert "--limit" in shown
    assert "export" in shown


def test_an_export_comes_back(run: Run, state: Path) -> None:
    """Lines, oldest first, with their format's version, are the events of the ledger."""
    lines = run("events", "export").stdout_bytes.splitlines()
    with read_only(state / "ledger.sqlite") as ledger:
        recorded = list(ledger.events())
    assert list(read_export(lines)) == recorded
    assert {orjson.loads(line)["format_version"] for line in lines} == {1}


def test_an_export_to_a_file(run: Run) -> None:
    """--out writes a file for its owner alone, --limit takes the newest."""
    result = run("events", "export", "--out", "week.jsonl", "--limit", "3")
    path = Path("week.jsonl")
    assert (len(path.read_bytes().splitlines()), path.stat().st_mode & 0o077) == (3, 0)
    assert result.stderr == "3 requests\n"


@pytest.mark.parametrize(("since", "lines"), [("1h", 7), ("2099-01-01", 0)])
def test_since(run: Run, since: str, lines: int) -> None:
    """A span counts back from now; a date is a date."""
    assert len(run("events", "export", "--since", since).stdout.splitlines()) == lines


def test_a_wrong_time(run: Run) -> None:
    """What is no time is a mistake of the command line."""
    result = run("events", "export", "--since", "yesterday")
    assert (result.exit_code, "write 90m, 12h, 7d" in result.output) == (2, True)


@pytest.mark.parametrize("made", [event(), full()], ids=["least", "full"])
def test_events_round_trip(made: Event) -> None:
    """Any event comes back from its line."""
    line = orjson.dumps(export_json(made))
    assert list(read_export([line, b"\n"])) == [made]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 2 is not JSON"),
        (b"[]", "line 2 is no event"),
        (b'{"format_version": 2}', "line 2 has a format"),
        (b'{"secret": "hush"}', "line 2 is no event: an event without id, timestamp"),
        (b'{"id": "x", "timestamp": "y", "client": "z", "protocol": "p", "attempts": 3}', "another type"),
    ],
)
def test_wrong_lines_are_named_and_not_quoted(line: bytes, said: str) -> None:
    """What is no exported event is told by its number."""
    good = orjson.dumps(export_json(event()))
    with pytest.raises(ExportInvalid, match=said) as raised:
        list(read_export([good, line]))
    assert "hush" not in str(raised.value)


def test_records_are_the_same_from_rows_and_events(state: Path) -> None:
    """A dry run reads columns; what it gets is what the whole event says."""
    with Reader(state / "ledger.sqlite") as reader:
        assert list(reader.records(batch=2)) == [record_of(made) for made in reader.events()]
        assert reader.count() == 7
    assert record_of_row.__doc__
