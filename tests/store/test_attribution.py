"""Sums by what only events say: they agree with the ledger's own where both know, and nothing is counted twice in the whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from click.testing import CliRunner

from engine.cli import cli
from engine.store.attribution import SOURCES, attributed
from engine.store.costs import By, spent, total
from engine.store.event import Event
from engine.store.reader import Reader
from engine.store.rows import Filter
from tests.store.builders import event
from tests.store.test_costs import LONG_AGO, made, stored


def marked() -> list[Event]:
    """The events of the sums' tests, told apart by what the sums do not know; one is under way."""
    first, second, third, *others = made()
    return [
        replace(first, agent="a1", key_name="team", policy="mine@1", repo_path="/r", tags=("x", "y")),
        replace(second, agent="a1", policy="mine@2", tags=("x",)),
        replace(third, policy="mine@1", repo_path="/r"),
        *others,
    ]


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Reader]:
    opened = await stored(tmp_path, marked())
    yield opened
    opened.close()


def asked(reader: Reader, by: str, **where: Any) -> tuple[list[tuple[str, int, float]], int]:
    groups, whole = reader.ask(lambda c: attributed(c, by, Filter(since=LONG_AGO, **where)))
    return [(group.name, group.requests, group.cost_usd) for group in groups], whole.requests


def test_groups(reader: Reader) -> None:
    """The dearest first; what names none is a group as well; one with two tags counts for both, and once in all."""
    assert asked(reader, "agent") == ([("", 5, 3.375), ("a1", 2, 1.5)], 7)
    assert asked(reader, "key") == ([("", 6, 3.875), ("team", 1, 1.0)], 7)
    assert asked(reader, "policy") == ([("mine@1", 2, 4.25), ("mine@2", 1, 0.5), ("", 4, 0.125)], 7)
    assert asked(reader, "repository") == ([("/r", 2, 4.25), ("", 5, 0.625)], 7)
    assert asked(reader, "tag") == ([("", 5, 3.375), ("x", 2, 1.5), ("y", 1, 1.0)], 7)
    assert asked(reader, "agent", project="blog") == ([("", 2, 3.25)], 2)


@pytest.mark.parametrize("by", get_args(By))
def test_they_agree_with_the_ledgers_sums(reader: Reader, by: By) -> None:
    """Every field of every group, where the ledger keeps sums of it, and the whole."""
    groups, whole = reader.ask(lambda c: attributed(c, by, Filter(since=LONG_AGO)))
    summed = reader.ask(lambda c: spent(c, by, LONG_AGO))
    assert [group for group in groups if by != "session" or group.name] == summed
    if by != "session":
        assert whole == total(summed)


async def test_the_command(tmp_path: Path) -> None:
    """By each of them, of some requests alone; savings are not known so."""
    (await stored(tmp_path, [*marked(), event(9, agent="a2", project="shop", status="error")])).close()

    def run(*words: str) -> Any:
        return CliRunner().invoke(cli, ["cost", *words, "--since", "2020-01-01", "--state-dir", str(tmp_path)])

    for by in SOURCES:
        assert orjson.loads(run("--by", by, "--json").stdout)["total"]["requests"] == 8
    groups = orjson.loads(run("--by", "agent", "--project", "shop", "--json").stdout)["groups"]
    assert [(group["name"], group["requests"], group["failed"]) for group in groups] == [
        ("a1", 2, 0),
        ("", 2, 0),
        ("a2", 1, 1),
    ]
    assert "total" in run("--by", "tag").stdout
    assert "requests of sessions that were" in run("--by", "session", "--client", "codex").stdout
    refused = run("--by", "agent", "--savings")
    assert (refused.exit_code, "savings are known" in refused.output) == (2, True)
