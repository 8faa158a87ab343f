"""`sbgw dry-run`: what it finds, how it reads, how it ends."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import orjson
import pytest
from click.testing import Result

from engine.cli.dry_run_report import as_document, as_text
from engine.cli.layout import cells
from tests.cli.test_graph import held
from tests.policy.policies import policy
from tests.policy.test_replay import record, replay

Run = Callable[..., Result]

OLD = policy("gate: {deny: [{id: spent, when: budget.day_usd >= 5.0, status: 429}]}\n")
NEW = policy(
    """
signals: {legal: '(?i)law'}
classify:
  - {id: shaky, class: fast_code, when: 10 / request.turns < 1}
  - {id: side-work, class: cheap_edit, when: request.tools == 0}
  - {id: idle, class: fast_code, when: signals.legal}
routes:
  cheap_edit: [alpha/al-small, requested]
  fallback_safe: [requested, beta/be-blind]
gate:
  deny: [{id: too-many-tools, when: request.tools > 30, status: 413}]
"""
)


def found() -> Any:
    """A replay with everything in it that a report shows."""
    records = [record(OLD, n, turns=n + 1, session__id="s", cached=400) for n in range(4)]
    records += [record(OLD, 10 + n, turns=2, tools=5, model="be-big", client__name="aider") for n in range(2)]
    records += [record(OLD, 20, turns=2, tools=40), record(OLD, 21, turns=0), record(OLD, 22, turns=3, tokens=None)]
    records += [record(OLD, 23, turns=3, budget__day_usd=7.0)]
    broken = record(OLD, 24)
    broken.facts["request"]["tools"] = "many"
    stale = record(OLD, 26, turns=2, tools=1)
    stale.decision["candidates"].reverse()
    return replay(OLD, NEW, [*records, broken, stale])


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local time zone is UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("utc")
def test_reads_as_recorded() -> None:
    """The whole report is the golden text."""
    held("dry-run.txt", click.unstyle("\n".join(as_text(found(), OLD.label, None, width=100))) + "\n")


def test_document_reads_as_recorded() -> None:
    """So is its JSON."""
    document = as_document(found(), OLD.label, None)
    held("dry-run.json", orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())


@pytest.mark.parametrize("width", [60, 80, 140])
def test_fits_the_terminal(width: int) -> None:
    """No line is wider than asked."""
    made = found()
    every = [change for tally in made.tallies.values() for change in tally.examples.values()]
    lines = [*as_text(made, OLD.label, None, width=width), *as_text(made, OLD.label, every, width=width)]
    assert [line for line in map(click.unstyle, lines) if cells(line) > width] == []


def test_against_itself(run: Run) -> None:
    """The policy that recorded changes nothing; exit 0 also with --detailed-exitcode."""
    result = run("dry-run", "offline", "--detailed-exitcode")
    assert (result.exit_code, "Dry run: no change" in result.output) == (0, True)
    assert "= same    " in result.output
    assert "can't be decided: there are no facts" in result.output


def test_changes(run: Run) -> None:
    """Another policy shows kinds, shares, an example and both deciding lines."""
    result = run("dry-run", "thrifty", "--keys", "all")
    assert result.exit_code == 0
    shown = " ".join(result.output.split())
    assert "6 recorded requests" in shown
    assert "~ model" in shown
    assert "simulated/large → anthropic/claude-opus-5-5" in shown
    assert re.search(r"before [^ ]*policies/offline\.yaml:\d+ simulated/", shown)
    assert re.search(r"after [^ ]*policies/thrifty\.yaml:\d+ ", shown)
    assert "is an estimate: the recorded tokens at the other model's price" in shown
    assert shown.endswith("Nothing was sent anywhere.")


@pytest.mark.parametrize(("words", "code"), [([], 0), (["--detailed-exitcode"], 2)])
def test_exit_codes_of_changes(run: Run, words: list[str], code: int) -> None:
    """Changes are fine unless they are asked to count."""
    assert run("dry-run", "strict", *words).exit_code == code


def test_keys(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As recorded nobody but the simulated provider had a key; all is all; now is this environment."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")

    def models(keys: str) -> set[str]:
        document = orjson.loads(run("dry-run", "strict", "--keys", keys, "--all", "--json").output)
        return {change["new"]["model"] for change in document["changes"]}

    assert models("recorded") == {None}
    assert models("now") == {"anthropic/claude-opus-5-5"}
    assert models("all") == {"anthropic/claude-opus-5-5"}


def test_json(run: Run) -> None:
    """One document with its format's version; --all lists every change in the order of time."""
    document = orjson.loads(run("dry-run", "strict", "--all", "--json").output)
    assert document["format_version"] == 1
    assert (document["decided"], document["changed"], len(document["changes"])) == (6, 6, 6)
    stamps = [change["timestamp"] for change in document["changes"]]
    assert stamps == sorted(stamps)
    assert all(len(change["deciding"]) == 2 for change in document["changes"])


def test_from_an_export(run: Run) -> None:
    """An export says the same as the ledger, on another machine too, where the recorded decision stands for the policy."""
    run("events", "export", "--out", "week.jsonl")
    here = run("dry-run", "thrifty", "--from", "week.jsonl").output
    assert here == run("dry-run", "thrifty").output
    elsewhere = run("dry-run", "offline", "--from", "week.jsonl", "--state-dir", "elsewhere")
    assert elsewhere.exit_code == 0
    assert "compared with the recorded decision" in elsewhere.output
    assert "Dry run: no change" in elsewhere.output
    assert run("dry-run", "offline", "--from", "-", typed=Path("week.jsonl").read_bytes()).exit_code == 0


def test_against_another(run: Run) -> None:
    """--against asks two policies of one's choice."""
    result = run("dry-run", "thrifty", "--against", "thrifty")
    assert "thrifty@" in result.output
    assert "Dry run: no change" in result.output


def test_where(run: Run) -> None:
    """A condition over the facts of the request chooses records."""
    document = orjson.loads(run("dry-run", "strict", "--where", "request.tools > 0", "--json").output)
    assert (document["decided"], document["skipped"]) == (4, 2)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["offline", "--where", "request.tols > 0"], 2, "tols"),
        (["offline", "--where", "model.tools"], 2, "model"),
        (["offline", "--from", "missing.jsonl"], 3, "cannot read missing.jsonl"),
        (["offline", "--from", "broken.jsonl"], 3, "line 1 is not JSON"),
        (["missing"], 1, "there is no policy 'missing'"),
        (["offline", "--state-dir", "empty"], 1, "there are no records"),
        (["offline", "--since", "never"], 2, "is no time"),
    ],
)
def test_what_can_not_run(run: Run, words: list[str], code: int, said: str) -> None:
    """Every way to ask in vain has its exit code and a sentence."""
    Path("broken.jsonl").write_text("{\n", "utf-8")
    result = run("dry-run", *words)
    assert (result.exit_code, said in result.output) == (code, True)


def test_rules_that_fail_are_problems(run: Run) -> None:
    """A rule of the new policy without a value makes the exit code 1 and is named with its line."""
    Path("mine.yaml").write_text(
        "version: 1\nextends: [offline]\nclassify: [{id: shaky, class: fast_code, when: 10 / request.tools > 1, before: title}]\n",
        "utf-8",
    )
    result = run("dry-run", "mine.yaml")
    assert result.exit_code == 1
    assert "classify shaky has no value: division by zero · mine.yaml:3" in " ".join(result.output.split())


def test_since_a_time_without_requests(run: Run) -> None:
    """Nothing to decide is said, and is no failure."""
    result = run("dry-run", "offline", "--since", "2099-01-01")
    assert (result.exit_code, "nothing to decide" in result.output) == (0, True)


@pytest.fixture
def old_ledger(state: Path, tmp_path: Path) -> Path:
    """A ledger from before requests recorded what decisions depend on."""
    import sqlite3

    folder = tmp_path / "old"
    folder.mkdir()
    shutil.copy(state / "ledger.sqlite", folder)
    with sqlite3.connect(folder / "ledger.sqlite") as connection:
        connection.execute("ALTER TABLE events DROP COLUMN detail")
    connection.close()
    return folder


def test_an_older_ledger_is_told(run: Run, old_ledger: Path) -> None:
    """A file that the gateway has not brought up to date yet is no crash."""
    result = run("dry-run", "offline", "--state-dir", str(old_ledger))
    assert (result.exit_code, "start the gateway once" in result.output) == (3, True)


def test_the_progress_bar_needs_someone_to_look(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal nothing but the report is written."""
    monkeypatch.setattr("engine.cli.dry_run._LONG", 1)
    assert run("dry-run", "offline").stderr == ""


def test_days_are_local() -> None:
    """The period is told in local days."""
    made = replay(OLD, OLD, [record(OLD, 0), record(OLD, 3 * 24 * 3600)])
    first = datetime(2026, 11, 23, 9, tzinfo=UTC).astimezone().date()
    head = click.unstyle(next(iter(as_text(made, OLD.label, None, width=140))))
    assert f"{first} to {first + timedelta(days=3)}" in head
