"""Sums of the ledger: by every group, with unknown costs apart; savings against the model asked for, and what ate them up."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cli import cli
from engine.store.costs import Saved, all_sessions, saved, spent, total
from engine.store.event import Event
from engine.store.ledger import Ledger
from engine.store.reader import Reader
from tests.store.builders import START, event

LONG_AGO = START - timedelta(days=400)


async def stored(path: Path, events: list[Event]) -> Reader:
    ledger = Ledger(path / "ledger.sqlite")
    ledger.start()
    for one in events:
        ledger.complete(one)
    ledger.close()
    return Reader(path / "ledger.sqlite")


def made() -> list[Event]:
    served = {"selected_provider": "p", "selected_model": "m", "input_tokens": 100, "output_tokens": 10}
    return [
        event(0, project="shop", session_id="s1", route_class="fast_code", cost_estimate_usd=1.0, requested_usd=1.0, **served),
        event(1, project="shop", session_id="s1", cost_estimate_usd=2.0, cost_reported_usd=0.5, requested_usd=2.0, **served),
        event(2, project="blog", client="codex", wasted_usd=0.25, cost_estimate_usd=3.0, requested_usd=2.0,
              status="fallback_success", **served | {"selected_model": "dear"}),
        event(3, project="blog", **served),
        event(4, status="error", error_class="budget_exceeded", requested_usd=4.0),
        event(5, cache_hit=True, requested_usd=8.0, project="shop", cost_estimate_usd=0.0),
        event(86400, project="shop", cost_estimate_usd=0.125, requested_usd=0.0625, **served),
    ]  # fmt: skip


@pytest.fixture
async def reader(tmp_path: Path) -> Any:
    opened = await stored(tmp_path, made())
    yield opened
    opened.close()


def test_groups(reader: Reader) -> None:
    """The dearest first; wasted attempts count; a cost that nobody knows is counted apart."""
    found = reader.ask(lambda c: spent(c, "project", LONG_AGO))
    assert [(g.name, g.requests, g.unknown, g.failed, g.cost_usd) for g in found] == [
        ("blog", 2, 1, 0, 3.25), ("shop", 4, 0, 0, 1.625), ("", 1, 0, 1, 0.0)
    ]  # fmt: skip
    whole = total(found)
    assert (whole.requests, whole.unknown, whole.cost_usd, whole.input_tokens) == (7, 1, 4.875, 500)


@pytest.mark.parametrize(
    ("by", "first"),
    [("client", ("codex", 3.25)), ("model", ("p/dear", 3.25)), ("class", ("", 3.875)), ("session", ("s1", 1.5)),
     ("day", ("2026-11-23", 4.75))],
)  # fmt: skip
def test_every_group(reader: Reader, by: Any, first: tuple[str, float]) -> None:
    """Sums by each of the names that the command knows."""
    found = reader.ask(lambda c: spent(c, by, LONG_AGO.replace(tzinfo=ZoneInfo("UTC"))))
    assert (found[0].name, found[0].cost_usd) == first


def test_the_dearest_sessions(reader: Reader) -> None:
    """A list of sessions may be cut short; the total is of all."""
    found = reader.ask(lambda c: spent(c, "session", LONG_AGO, 1))
    count, whole = reader.ask(lambda c: all_sessions(c, LONG_AGO))
    assert ([g.name for g in found], count, whole.cost_usd, whole.requests) == (["s1"], 1, 1.5, 2)
    assert reader.ask(lambda c: all_sessions(c, START + timedelta(days=9)))[1].requests == 0
    assert [g.name for g in reader.ask(lambda c: saved(c, LONG_AGO, "session", 1))] == ["s1"]


def test_since(reader: Reader) -> None:
    """Only what came since then."""
    assert total(reader.ask(lambda c: spent(c, "model", START + timedelta(hours=2)))).requests == 1


async def test_days_are_local(tmp_path: Path) -> None:
    """An event of 23:50 UTC belongs to the next day further east, in zones of quarter hours too."""
    late = event(0, timestamp="2026-11-23T18:20:00.000Z", cost_estimate_usd=1.0, requested_usd=3.0,
                 selected_provider="p", selected_model="m")  # fmt: skip
    early = event(1, timestamp="2026-11-23T18:05:00.000Z", cost_estimate_usd=2.0, requested_usd=2.0,
                  selected_provider="p", selected_model="m")  # fmt: skip
    with await stored(tmp_path, [late, early]) as reader:
        since = datetime(2026, 11, 1, tzinfo=ZoneInfo("Asia/Kathmandu"))
        days = reader.ask(lambda c: spent(c, "day", since))
        compared = reader.ask(lambda c: saved(c, since, "day"))
    assert [(d.name, d.cost_usd) for d in days] == [("2026-11-23", 2.0), ("2026-11-24", 1.0)]
    assert [(d.name, d.saved_usd) for d in compared] == [("2026-11-23", 0.0), ("2026-11-24", 2.0)]


def test_savings(reader: Reader) -> None:
    """What the model asked for would have cost, what was saved by which way, and what was spent beyond it."""
    (found,) = reader.ask(lambda c: saved(c, LONG_AGO))
    assert found == Saved(
        "", requests=6, unknown=1, requested_usd=17.0625, actual_usd=4.875, downgrades=1, downgraded_usd=1.5, cached=1,
        cached_usd=8.0, refused=1, refused_usd=4.0, fallbacks=1, fallback_usd=1.0, dearer=1, dearer_usd=0.0625,
        wasted=1, wasted_usd=0.25,
    )  # fmt: skip
    assert found.saved_usd == 12.1875


COSTS = st.none() | st.integers(0, 64).map(lambda n: n / 16)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            COSTS, COSTS, COSTS, st.booleans(), st.sampled_from(["success", "fallback_success", "error", "cancelled"])
        ),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_the_parts_add_up(rows: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever happened: what was asked for, less what was saved, plus what was spent beyond it, is what was spent; and the
    metrics count the same."""
    import asyncio

    events = [
        event(n, cost_estimate_usd=0.0 if hit else cost, requested_usd=asked, wasted_usd=wasted, status=status,
              cache_hit=hit, selected_provider="p", selected_model="m")
        for n, (cost, asked, wasted, hit, status) in enumerate(rows)
    ]  # fmt: skip
    reader = asyncio.run(stored(tmp_path_factory.mktemp("ledger"), events))
    (found,) = reader.ask(lambda c: saved(c, LONG_AGO))
    reader.close()
    less = found.downgraded_usd + found.cached_usd + found.refused_usd
    more = found.fallback_usd + found.dearer_usd + found.wasted_usd
    assert found.actual_usd == pytest.approx(found.requested_usd - less + more)
    kinds = [one.saving for one in events]
    assert found.downgraded_usd == pytest.approx(sum(k[1] for k in kinds if k and k[0] == "downgrade"))
    assert found.dearer_usd + found.fallback_usd == pytest.approx(-sum(k[1] for k in kinds if k and k[0] == "dearer"))
    assert found.cached_usd == pytest.approx(sum(k[1] for k in kinds if k and k[0] == "cache"))


# ── the command ──


def run(folder: Path, *words: str) -> Any:
    return CliRunner().invoke(cli, ["cost", "--state-dir", str(folder), *words])


async def test_the_command_shows_groups_and_says_what_is_unknown(tmp_path: Path) -> None:
    """A table with a total; `--json` holds the same figures."""
    (await stored(tmp_path, made())).close()
    shown = run(tmp_path, "--by", "project", "--since", "2025-01-01")
    assert shown.exit_code == 0, shown.output
    assert "$3.25 + 1 × ?" in shown.output
    assert "1 of 7 requests have no known cost" in shown.output
    document = orjson.loads(run(tmp_path, "--by", "project", "--since", "2025-01-01", "--json").output)
    assert [g["costUsd"] for g in document["groups"]] == [3.25, 1.625, 0.0]
    assert document["total"]["unknown"] == 1


async def test_the_command_shows_savings(tmp_path: Path) -> None:
    """Every part has a line, with its sign."""
    (await stored(tmp_path, made())).close()
    shown = run(tmp_path, "--savings", "--since", "2025-01-01").output
    for line in ("-$1.50", "-$8.00", "-$4.00", "+$1.00", "+$0.0625", "+$0.2500", "$4.88  (-71.4%)"):
        assert line in shown
    document = orjson.loads(run(tmp_path, "--savings", "--since", "2025-01-01", "--json").output)
    assert document["groups"][0]["savedUsd"] == 12.1875


def test_nothing_yet(tmp_path: Path) -> None:
    """No ledger, or nothing in the time asked for."""
    assert "no requests yet" in run(tmp_path).output
    assert orjson.loads(run(tmp_path, "--json").output)["groups"] == []


async def test_nothing_since(tmp_path: Path) -> None:
    """An empty span says so."""
    (await stored(tmp_path, made())).close()
    assert "no request since" in run(tmp_path, "--since", "2030-01-01").output


async def test_what_nobody_told_is_marked(tmp_path: Path) -> None:
    """In every way of grouping, of the sums and of the events alike; a document tells it, a table its share."""
    guessed = {"selected_provider": "p", "selected_model": "m", "cost_basis": "sizes"}
    (
        await stored(
            tmp_path,
            [
                event(0, project="shop", session_id="s1", cost_estimate_usd=1.5, cost_basis="usage"),
                event(1, project="shop", session_id="s1", cost_estimate_usd=0.25, estimated_usd=0.25, **guessed),
                event(2, project="shop", session_id="s2", wasted_usd=0.25, estimated_usd=0.25, cost_basis="usage"),
            ],
        )
    ).close()
    for by in ("project", "session", "client", "model", "class", "day", "agent", "tag"):
        told = orjson.loads(run(tmp_path, "--by", by, "--since", "2025-01-01", "--json").output)
        assert told["total"]["estimatedUsd"] == 0.5
        assert by == "tag" or sum(group["estimatedUsd"] for group in told["groups"]) == 0.5
    assert "$0.5000 of it (25.0%) is estimated" in run(tmp_path, "--since", "2025-01-01").output


async def test_a_document_says_that_it_is_cut(tmp_path: Path) -> None:
    """How many more sessions there are than are listed, of what was spent and of what was saved."""
    made = [event(n, session_id=f"s{n}", cost_estimate_usd=1.0, requested_usd=1.0) for n in range(7)]
    (await stored(tmp_path, made)).close()
    for words in ((), ("--savings",), ("--client", "claude-code")):
        for limit, more in (("3", 4), ("0", 0), ("50", 0)):
            if "--savings" in words and "--client" in words:
                continue
            told = orjson.loads(
                run(tmp_path, "--by", "session", "--since", "2025-01-01", "--limit", limit, "--json", *words).output
            )
            assert (told["more"], len(told["groups"])) == (more, 7 - more)


async def test_an_older_ledger_says_that_it_is_not_whole_yet(tmp_path: Path) -> None:
    """Until the comparison of older requests is added up, its sums are said to miss them; the others are whole."""
    (await stored(tmp_path, made())).close()
    connection = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    connection.execute("INSERT INTO upgrades (name, newest, undone) VALUES ('savings', 8, 2)")
    connection.close()
    words = ("--since", "2025-01-01")
    assert "still being added up (75% done" in run(tmp_path, "--savings", *words).output
    assert orjson.loads(run(tmp_path, "--savings", "--json", *words).output)["upgraded"] == 0.75
    assert "added up" not in run(tmp_path, *words).output
