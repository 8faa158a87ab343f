"""What the default policy promises about money, on simulated sessions: see `bench_savings` for fifty of them and the table."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from functools import lru_cache
from statistics import median

import pytest

from tests.savings.sessions import KINDS, Session, sessions
from tests.savings.simulation import POLICIES, Result, errors, simulate

COUNT, MOST = 18, 45
"""Two sessions of most kinds, of 30 to 45 turns."""


@lru_cache(maxsize=8)
def under(name: str, *, out: bool = False) -> list[Result]:
    """The sessions under a policy; with `out`, each vendor is overloaded for a minute in the middle of every session."""
    gone = dict.fromkeys(range(COUNT), (150.0, 260.0)) if out else None
    return asyncio.run(simulate(name, sessions(COUNT, most=MOST), outage=gone))


def total(results: list[Result]) -> float:
    return sum(result.usd for result in results)


@pytest.mark.parametrize("name", ["default", "thrifty"])
def test_no_session_costs_more(name: str) -> None:
    """No session costs two percent more than with everything on the model asked for and nothing added."""
    rises = {
        (n, after.kind): after.usd / before.usd - 1
        for n, (after, before) in enumerate(zip(under(name), under("requested"), strict=True))
        if after.usd > before.usd * 1.02
    }
    assert rises == {}


def test_the_default_saves_and_the_main_work_stays() -> None:
    """At least 30 % less in all, and every request of the main work served by the model asked for."""
    assert total(under("default")) < 0.7 * total(under("requested"))
    asked = {kind.name: kind.model for kind in KINDS}
    moved = Counter(
        (result.kind, told.served)
        for result in under("default")
        for told in result.requests
        if not told.side and told.served.partition("/")[2] != asked[result.kind]
    )
    assert moved == {}


def test_what_is_expected_to_be_warm_is_read() -> None:
    """The median error of the expected cached tokens against those reported is under 5 %, with the first requests in it."""
    found = errors(under("default"))
    assert len(found) > 400
    assert median(found) < 0.05
    assert sum(found) / len(found) < 0.05


def test_nothing_breaks_a_prefix() -> None:
    """What the gateway adds or moves never shows as a break: our own hints keep prompts as they were."""
    assert {told.broken for result in under("default") for told in result.requests} == {""}


def test_staying_costs_less_than_going_back_at_once() -> None:
    """When a vendor is away for some minutes, sessions that finish their tool loop where they went cost less in all."""
    assert total(under("default", out=True)) < total(under("not sticky", out=True))


CLAUDE = [kind for kind in KINDS if kind.name.startswith("Claude Code")]


def test_many_calls_at_once_do_not_cost_the_prompt() -> None:
    """Sessions of Claude Code, which sets breakpoints of its own, in which some turns call twelve tools: five percent less."""
    some = [Session(kind, 70 + n, 40, wide=True) for n, kind in enumerate(CLAUDE)]
    before, after = (asyncio.run(simulate(name, some)) for name in ("requested", "default"))
    assert total(after) < 0.95 * total(before)
    assert any("bridge" in told.hints for result in after for told in result.requests)
    assert all(a.usd < b.usd * 1.02 for a, b in zip(after, before, strict=True))


def test_staying_costs_less_than_following_every_class() -> None:
    """Where classes alternate within a session, a route that stays until a move has paid costs less than one that does not."""
    some = [Session(CLAUDE[0], 80 + n, 50) for n in range(2)]
    loose, sticky = (asyncio.run(simulate(name, some)) for name in ("by class", "by class, sticky"))
    moves = [
        sum(a.served != b.served for a, b in itertools.pairwise(t for t in result.requests if not t.side))
        for result in (*loose, *sticky)
    ]
    assert min(moves[:2]) > 6, "classes alternate"
    assert sum(moves[2:]) < sum(moves[:2])
    assert total(sticky) < 0.97 * total(loose)


def test_sub_agents_are_known_as_such() -> None:
    """Their own class can be sent to the vendor's small model; the main work stays, and the session costs less."""
    some = [Session(CLAUDE[0], 90, 40, agents=True)]
    before, after = (asyncio.run(simulate(name, some)) for name in ("default", "small agents"))
    assert {t.served for t in after[0].requests if t.agent} == {"anthropic/claude-haiku-5-5"}
    assert {t.served for t in after[0].requests if not t.agent and not t.side} == {"anthropic/claude-opus-5-5"}
    assert total(after) < 0.95 * total(before)


def test_the_longer_time_is_asked_for_by_those_who_pause() -> None:
    """A long session with pauses asks for it once it has cost enough; a wrong guess stays under two percent."""
    long = [Session(KINDS[0], seed, 120) for seed in (11, 15)]
    before, after = (asyncio.run(simulate(name, long)) for name in ("requested", "default"))
    assert any("long" in told.hints for result in after for told in result.requests)
    assert all(a.usd < b.usd * 1.02 for a, b in zip(after, before, strict=True))


def test_the_policies_are_what_they_say() -> None:
    """The baseline adds nothing and leaves nothing."""
    assert set(POLICIES) == {"requested", "not sticky", "no hints", "by class", "by class, sticky", "small agents"}
    for result in under("requested"):
        assert all(not told.hints for told in result.requests)
