"""Recorded requests under another policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.messages import Usage
from engine.pipeline import compile_pipeline
from engine.policy.availability import availability_of
from engine.policy.decide import decide
from engine.policy.facts import complete, schema
from engine.policy.load import load_text
from engine.policy.model import Policy
from engine.policy.replay import Record, Replay, Side, moved
from engine.store.event import decision_json
from tests.policy.policies import ROWS, policy, request
from tests.policy.test_difference import FACTS, POLICIES, STATES

START = datetime(2026, 11, 23, 9, tzinfo=UTC)
KEPT = policy().prompt_cache("alpha/al-big").seconds
"""How long alpha's row says that it keeps prompts."""
RATES = {"alpha/al-big": (3e-6, 0.3e-6), "alpha/al-small": (1e-6, 0.1e-6), "beta/be-big": (2e-6, 2e-6)}
"""USD per token, and per token read from a cache. An answer's token costs five times a prompt's."""


def price(ref: str, usage: Usage, at: datetime) -> float | None:
    rate = RATES.get(ref)
    if rate is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    read = usage.cached_tokens or 0
    return (usage.input_tokens - read) * rate[0] + read * rate[1] + usage.output_tokens * rate[0] * 5


def side(of: Policy) -> Side:
    return Side(of, compile_pipeline(of).walk, price)


def record(by: Policy, number: int = 0, *, tokens: int | None = 1000, cached: int = 0, **fields: Any) -> Record:
    """A request as `by` would have recorded it, `number` seconds after START; its first candidate answered."""
    at = START + timedelta(seconds=number)
    fields = {"now__date": at.date().isoformat()} | fields
    states = fields.pop("states", {})
    facts = {k: v for k, v in request(**fields).items() if k in SECTIONS}
    facts["signals"] = dict.fromkeys(by.signals, False) | facts.get("signals", {})
    decision = decide(by, facts, availability_of(states))
    served = decision.chosen.ref if decision.chosen and decision.denial is None else ""
    usage = Usage(tokens, 100, cached) if tokens is not None and served else None
    cost = price(served, usage, at) if usage is not None else None
    took = 2000.0 if served == "alpha/al-big" else 500.0
    return Record(
        f"{number:024x}", at, by.label, facts, decision_json(decision), states, served, frozenset(), usage, cost,
        took if served else None,
    )  # fmt: skip


SECTIONS = {"request", "session", "client", "estimate", "budget", "now", "settings", "vars", "signals"}


def replay(old: Policy | None, new: Policy, records: list[Record], **options: Any) -> Replay:
    before = side(old) if old is not None else None
    made = Replay(side(new), lambda _: before, lambda r: availability_of(r.states), **options)
    for one in records:
        made.add(one)
    return made


BASE = policy()
CHEAP = policy("routes: {fallback_safe: [alpha/al-small, requested]}\n")
BUDGET = "gate: {deny: [{id: spent, when: budget.day_usd >= 0.01, status: 429}]}\n"


@given(requests=st.lists(st.tuples(FACTS, STATES), max_size=12), name=st.sampled_from(sorted(POLICIES)))
@settings(deadline=None, max_examples=40)
def test_a_policy_against_itself_changes_nothing(requests: list[Any], name: str) -> None:
    """Whatever was asked and whoever was there: no change, no drift, the same money."""
    by, asked = POLICIES[name], []
    for number, (facts, states) in enumerate(requests):
        whole = complete(facts, schema())
        decision = decide(by, whole, availability_of(states))
        served = decision.chosen.ref if decision.chosen and decision.denial is None else ""
        at = START + timedelta(seconds=number)
        asked.append(
            Record(
                str(number), at, by.label, whole, decision_json(decision), states, served, cost_usd=0.1 if served else None
            )
        )  # fmt: skip
    found = replay(by, by, asked)
    assert (found.same, found.drift, found.tallies, found.unknown) == (len(asked), 0, {}, {})
    assert found.books.old_usd == found.books.new_usd
    assert (found.books.new_estimated_usd, found.books.cold_usd) == (0.0, 0.0)


KINDS: list[tuple[str, dict[str, Any], str, tuple[str, str]]] = [
    ("model", {}, "routes: {fallback_safe: [alpha/al-small]}\n", ("alpha/al-big", "alpha/al-small")),
    ("denied", {}, "gate: {deny: [{id: no, when: request.turns == 0}]}\n", ("alpha/al-big", "no")),
    ("unserved", {}, "gate: {require: [{id: never, require: model.context > 999999}]}\n", ("alpha/al-big", "no_candidate")),
    ("class", {}, "classify: [{id: all, class: fast_code, when: request.turns == 0}]\n", ("fallback_safe", "fast_code")),
    ("fallback", {}, "routes: {fallback_safe: [requested]}\n", ("beta/be-big", "nothing")),
    ("protocol", {"protocol": "openai-chat"}, "providers: {alpha: {protocols: {openai-chat: null}}}\n",
     ("alpha/al-big as it is", "alpha/al-big by anthropic-messages")),
    ("losses", {"protocol": "openai-responses", "requires": ["seed", "output_format"]},
     "models: {alpha/al-big: {structured: false}}\n", ("seed", "output_format, seed")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "text", "move"), KINDS, ids=[k[0] for k in KINDS])
def test_kinds_of_change(kind: Any, fields: dict[str, Any], text: str, move: tuple[str, str]) -> None:
    """Each kind is counted once, with what it goes from and to, and an example."""
    new = changed(text)
    found = replay(BASE, new, [record(BASE, **fields)])
    assert {k: t.count for k, t in found.tallies.items()} == {kind: 1}
    assert list(found.tallies[kind].moves) == [move]
    example = found.tallies[kind].example
    assert example is not None
    assert moved(kind, example.old.outcome, example.new.outcome) == move


def changed(text: str) -> Policy:
    """The small catalogue with rows changed too."""
    from tests.policy.policies import ROUTE

    rows = ROWS
    if text.startswith("providers"):
        rows, text = rows.replace(', openai-chat: "http://127.0.0.1:1/v1"', ""), ""
    if text.startswith("models"):
        rows, text = rows.replace("reasoning: true, structured: true, context: 200000,\n    claude_code_safe: true, codex_safe", "reasoning: true, context: 200000,\n    claude_code_safe: true, codex_safe"), ""  # fmt: skip
    return load_text(rows + ("" if "routes:" in text else ROUTE) + text, file="new.yaml")


def test_refused_then_and_served_now() -> None:
    """What was refused and is not any more is allowed; its cost stays unknown, since nobody counted its tokens."""
    strict = policy("gate: {deny: [{id: no, when: request.turns == 0}]}\n")
    found = replay(strict, BASE, [record(strict)])
    assert (list(found.tallies), dict(found.books.unpriced), found.books.new_usd) == (["allowed"], {"tokens": 1}, 0.0)


def test_costs_are_exact_or_marked() -> None:
    """Where the same model answers, the recorded figure counts; another one is priced with the recorded tokens."""
    records = [record(BASE, n, request__turns=n) for n in range(3)]
    some = policy("routes: {fallback_safe: [{use: alpha/al-small, when: request.turns == 1}, requested]}\n")
    books = replay(BASE, some, records).books
    dear, cheap = 1500 * 3e-6, 1500 * 1e-6
    assert books.old_usd == pytest.approx(3 * dear)
    assert books.new_usd == pytest.approx(2 * dear + cheap)
    assert books.new_estimated_usd == pytest.approx(cheap)
    assert books.old_estimated_usd == 0.0


def test_an_unknown_price_is_in_neither_sum() -> None:
    """A model without a price makes its request count for neither side, and is named."""
    records = [record(BASE, 0), record(BASE, 1, turns=1)]
    some = policy("routes: {fallback_safe: [{use: beta/be-blind, when: request.turns == 1}, requested]}\n")
    books = replay(BASE, some, records).books
    assert (books.priced, dict(books.unpriced)) == (1, {"beta/be-blind": 1})
    assert books.old_usd == books.new_usd == pytest.approx(1500 * 3e-6)


def test_budgets_follow_each_policy() -> None:
    """Recorded spending is what the old policy caused; a cheaper policy reaches its limit later, each day anew."""
    dear, spent = policy(BUDGET), 0.0
    records = []
    for number in range(6):
        made = record(dear, number, budget__day_usd=spent)
        records.append(made)
        spent += made.cost_usd or 0.0
    assert sum(bool(r.served) for r in records) == 3
    # What was refused then has no tokens; it is given some, as if it had been asked.
    records = [replace(r, usage=r.usage or Usage(1000, 100, 0)) for r in records]
    cheap = policy(BUDGET + "routes: {fallback_safe: [alpha/al-small, requested]}\n")
    found = replay(dear, cheap, records)
    assert (found.tallies["allowed"].count, found.drift) == (3, 0)
    next_day = record(cheap, 24 * 3600, budget__day_usd=0.0)
    assert found.new.walk(found.books.new.facts(next_day.facts, cheap.prompt_cache), {})[0].denial is None


def test_budgets_grow_under_a_dearer_policy() -> None:
    """A dearer policy spends the day's money on fewer requests, and the rest is refused."""
    cheap = policy(BUDGET + "routes: {fallback_safe: [alpha/al-small, requested]}\n")
    records, spent = [], 0.0
    for number in range(6):
        made = record(cheap, number, budget__day_usd=spent)
        records.append(made)
        spent += made.cost_usd or 0.0
    found = replay(cheap, policy(BUDGET), records)
    assert {kind: tally.count for kind, tally in found.tallies.items()} == {"model": 3, "denied": 3}


def test_sessions_know_the_model_that_would_have_served() -> None:
    """`session.model` and `session.cost_usd` are those of the policy that is asked, not of the one that served."""
    text = "classify: [{id: stays, class: fast_code, when: 'session.model == \"alpha/al-small\"'}]\n"
    cheap = policy(text + "routes: {fallback_safe: [alpha/al-small], fast_code: [alpha/al-small]}\n")
    records = [record(BASE, 0, session__id="s"), record(BASE, 1, session__id="s", session__model="alpha/al-big", session__cost_usd=0.1)]  # fmt: skip
    found = replay(BASE, cheap, records)
    assert found.touched == {"model": 2, "class": 1}
    own = found.books.new.facts(records[1].facts, cheap.prompt_cache)["session"]
    assert (own["model"], own["cost_usd"]) == ("alpha/al-small", pytest.approx(0.1 - 2 * 0.003))


def test_a_prefix_that_is_not_in_the_other_cache_costs() -> None:
    """The first request on another model reads its prompt anew; the next one finds it there, unless too late."""
    records = [
        record(BASE, 0, session__id="s", cached=900),
        record(BASE, 10, session__id="s", cached=900),
        record(BASE, 20 + KEPT, session__id="s", cached=900),
    ]
    books = replay(BASE, CHEAP, records).books
    cold, warm = 1500 * 1e-6, (100 + 500) * 1e-6 + 900 * 0.1e-6
    assert books.new_usd == pytest.approx(2 * cold + warm)
    assert books.cold_usd == pytest.approx(2 * (cold - warm))


def test_coming_back_to_a_cold_cache_costs_too() -> None:
    """A policy that changes models within a session pays for the prefix on both."""
    some = policy("routes: {fallback_safe: [{use: alpha/al-small, when: request.turns == 1}, requested]}\n")
    gap = KEPT - 10
    records = [record(BASE, n * gap, session__id="s", cached=900, turns=n) for n in range(3)]
    books = replay(BASE, some, records).books
    assert books.old_estimated_usd == 0.0
    assert books.cold_usd == pytest.approx(900 * (1e-6 - 0.1e-6) + 900 * (3e-6 - 0.3e-6))


@pytest.mark.parametrize(
    ("row", "warm"),
    [
        ("kind: automatic, seconds: 3600, minimum: 100", True),
        ("kind: automatic, seconds: 60, minimum: 100", False),
        ("kind: automatic, seconds: 3600, minimum: 5000", False),
        ("kind: none", False),
    ],
)
def test_how_long_a_prompt_stays_warm_is_the_rows_word(row: str, warm: bool) -> None:
    """After ten minutes, by a promise of an hour or a minute, for longer prompts only, and by none at all."""
    rows = ROWS.replace("kind: automatic, seconds: 600, minimum: 100", row)
    some = load_text(rows + "routes: {fallback_safe: [alpha/al-small, requested]}\n", file="new.yaml")
    records = [record(BASE, at, session__id="s", cached=900) for at in (0, 600)]
    found = replay(BASE, some, records)
    cold, read = 1500 * 1e-6, (100 + 500) * 1e-6 + 900 * 0.1e-6
    assert found.books.new_usd == pytest.approx(cold + (read if warm else cold))


STICKY = """routes:
  fallback_safe:
    use: [requested, alpha/al-small]
    order: >-
      (request.turns == 1 ? model.ref == "alpha/al-small" : session.warm_model == model.ref) ? 0.0 : 1.0
"""


@pytest.mark.parametrize(("gap", "stays"), [(20, True), (KEPT + 1, False)])
def test_what_is_warm_follows_a_sides_own_decisions(gap: int, stays: bool) -> None:
    """A policy that went to another model finds its prompt warm there, for as long as it would be; recorded was the first one."""
    warm = {"session__warm": {"alpha/al-big": 900}, "session__warm_model": "alpha/al-big", "session__warm_tokens": 900}
    asked = [0, 20, 20 + gap]
    records = [
        record(
            BASE, at, session__id="s", cached=900, turns=n, now__unix=int(START.timestamp()) + at, estimate__input_tokens=900 + 100 * n,
            **(warm if n else {}),
        )
        for n, at in enumerate(asked)
    ]  # fmt: skip
    found = replay(BASE, policy(STICKY), records)
    assert found.tallies["model"].count == (2 if stays else 1)


def test_delays_come_from_recorded_answers() -> None:
    """A model that answered elsewhere lends its median; one that never did is left out by name."""
    records = [record(BASE, 0), record(BASE, 1, model="al-small"), record(BASE, 2)]
    delay = replay(BASE, CHEAP, records).books.delay()
    assert (delay.old_ms, delay.new_ms, delay.estimated, dict(delay.left)) == (2000.0, 500.0, 2, {})
    never = replay(BASE, policy("routes: {fallback_safe: [beta/be-big]}\n"), records).books.delay()
    assert (never.old_ms, dict(never.left)) == (None, {"beta/be-big": 3})


def test_who_failed_then_fails_again() -> None:
    """A model that was seen to fail on a request is passed over, as it was."""
    failed = replace(record(BASE, 0), served="beta/be-big", failed=frozenset({"alpha/al-big"}), cost_usd=0.5)
    found = replay(BASE, CHEAP, [failed])
    assert found.books.old_usd == 0.5
    alone = policy("routes: {fallback_safe: [requested]}\n")
    nobody = replace(record(BASE, 0), served="", failed=frozenset({"alpha/al-big"}), cost_usd=None)
    assert replay(BASE, alone, [nobody]).books.new_usd == 0.0


def test_who_was_outrun_then_is_outrun_again() -> None:
    """By a policy that asks the faster one as well; another one waits for the slow one, which had not failed."""
    hedged = policy("routes: {fallback_safe: {use: [requested, alpha, beta], hedge: {after_ms: 500}}}\n")
    patient = policy("routes: {fallback_safe: [requested, alpha, beta]}\n")
    lost = replace(record(hedged, 0), served="beta/be-big", outrun=frozenset({"alpha/al-big"}), cost_usd=0.5)
    assert lost.decision["hedgeMs"] == 500
    assert replay(hedged, hedged, [lost]).books.new_usd == 0.5
    waited = replay(hedged, patient, [lost]).books
    assert lost.usage is not None
    assert (waited.old_usd, waited.new_usd) == (0.5, price("alpha/al-big", lost.usage, lost.at))


def test_drift_stands_apart() -> None:
    """Where the old policy decides otherwise today, that is drift, with an example, and no change of the new one."""
    made = record(BASE, 0)
    stale = replace(made, decision=record(CHEAP, 0).decision)
    found = replay(BASE, BASE, [stale])
    assert (found.drift, found.same, found.tallies) == (1, 1, {})
    assert found.drift_example is not None
    assert found.drift_example.kinds == ("model",)


def test_without_the_old_policy_the_record_stands_for_it() -> None:
    """A policy that is not kept any more is replaced by what it decided, and counted."""
    made = record(CHEAP, 0)
    found = replay(None, BASE, [made])
    assert (dict(found.unkept), found.touched) == ({CHEAP.label: 1}, {"model": 1})


def test_undecidable_records_are_counted() -> None:
    """Broken facts are unknown, missing ones are defaults and named; neither is passed over in silence."""
    new = policy("signals: {legal: law}\n")
    good = record(BASE, 0)
    broken = replace(good, facts={"request": good.facts["request"] | {"tools": "many"}})
    found = replay(BASE, new, [good, broken, replace(good, facts={})])
    assert dict(found.unknown) == {"request.tools is no int": 1, "there are no facts": 1}
    assert (found.completed, dict(found.filled), found.decided) == (1, {"signals.legal": 1}, 1)


def test_rules_without_a_value_are_counted() -> None:
    """A rule of the new policy that fails is named with its reason."""
    new = policy("classify: [{id: shaky, class: fast_code, when: 10 / request.turns > 1}]\n")
    found = replay(BASE, new, [record(BASE, 0), record(BASE, 1, turns=5)])
    assert (found.failing, dict(found.errors)) == (1, {("classify", "shaky", "division by zero"): 1})


def test_rules_that_never_decide_are_listed() -> None:
    """Of every kind of rule, those without any effect; a shadow rule has one when it would have had one."""
    new = policy(
        """
classify:
  - {id: used, class: fast_code, when: request.turns == 0}
  - {id: idle, class: fast_code, when: request.turns > 99}
  - {id: watching, class: fast_code, when: request.turns == 0, mode: shadow}
gate:
  require: [{id: drops, require: model.context < 300000}, {id: passes, require: model.context > 0}]
  deny: [{id: refuses, when: request.turns > 99}]
"""
    )
    found = replay(BASE, new, [record(BASE, 0)])
    assert [(section, rule.id) for section, rule in found.never()] == [
        ("classify", "idle"), ("require", "passes"), ("deny", "refuses")
    ]  # fmt: skip


def test_a_filter_leaves_out() -> None:
    """What the condition does not hold for is skipped and counted, and spends nothing."""

    def busy(facts: Mapping[str, Any]) -> bool:
        return bool(facts["request"]["turns"])

    found = replay(BASE, CHEAP, [record(BASE, 0), record(BASE, 1, turns=2)], where=busy)
    assert (found.decided, found.skipped, found.books.priced) == (1, 1, 1)
