"""Budgets as a policy says them: the rules that follow, whom they are about, the calendar, replays."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from engine.policy.budgets import Pot, complete, start_of
from engine.policy.decide import decide
from engine.policy.decision import Decision
from engine.policy.load import check_text
from engine.policy.replay import Record
from tests.policy.policies import ROUTE, ROWS, asked, policy, refs, request
from tests.policy.test_replay import record, replay

DAY = policy("budgets: {day: {usd: 1, per: day}}\n")
TWO = policy(
    "budgets:\n  big: {usd: 1, by: project, on_exceed: {class: cheap_edit}}\n  all: {usd: 5, per: month}\n"
    "routes: {fallback_safe: [requested, beta], cheap_edit: [alpha/al-small]}\n"
)


def spent(**figures: float) -> dict[str, dict[str, float]]:
    return {f"budget__{name}": {"spent_usd": usd} for name, usd in figures.items()}


def reason(decision: Decision) -> tuple[str, str, int] | None:
    denial = decision.denial
    return (denial.rule, denial.reason, denial.status) if denial is not None else None


def test_a_request_that_fits_is_served() -> None:
    """Nothing spent, or enough left for the estimate."""
    assert reason(asked(DAY)) is None
    assert reason(asked(DAY, **spent(day=0.87), estimate__output_tokens=8000)) is None


def test_a_request_that_does_not_fit_is_refused() -> None:
    """8,000 tokens out are estimated at 12 cents; 11 are left. The message says how much, and of what."""
    decision = asked(DAY, **spent(day=0.89), estimate__output_tokens=8000)
    assert reason(decision) == ("budget.day", "BUDGET", 402)
    assert decision.denial is not None
    said = (
        "The budget 'day' is used up: 0.89 of today's 1 dollars are spent or under way, too much for this request on "
    )
    anew = "alpha/al-big. It begins anew tomorrow; `sbgw budgets` shows how it stands."
    assert decision.denial.message == said + anew


def test_a_model_without_a_price_is_served_until_nothing_is_left() -> None:
    """What it costs is not known, so nothing can be reserved; once the budget is used up it is refused like others."""
    by = policy("budgets: {day: {usd: 1, per: day}}\nroutes: {fallback_safe: [beta/be-big]}\n")
    assert reason(asked(by, **spent(day=0.999))) is None
    assert reason(asked(by, **spent(day=1))) == ("budget.day", "BUDGET", 402)


def test_a_model_on_this_machine_needs_no_money() -> None:
    """A local model, and one whose price is 0, serve although nothing is left; dearer candidates behind them drop out."""
    by = policy("budgets: {day: {usd: 1, per: day}}\nroutes: {fallback_safe: [gamma/shared, requested]}\n")
    decision = asked(by, **spent(day=2))
    assert (refs(decision), reason(decision)) == (["gamma/shared"], None)
    last = decision.candidates[-1]
    assert (last.ref, last.dropped, last.rule) == ("alpha/al-big", "BUDGET", "budget.day")


def test_a_way_down_is_taken_when_nothing_is_left() -> None:
    """Another class serves, for the budget's reason; another project still has its own pot."""
    down = asked(TWO, client__project="shop", **spent(big=1.0))
    assert (down.route_class, down.class_rule, down.class_reason) == ("cheap_edit", "budget.big", "BUDGET")
    assert refs(down) == ["alpha/al-small"]
    assert asked(TWO, client__project="shop", **spent(big=0.99)).route_class == "fallback_safe"
    assert asked(TWO, client__project="", **spent(big=9.0)).route_class == "fallback_safe"


def test_a_way_down_has_an_end_too() -> None:
    """The other budget limits what is spent on the way down."""
    assert reason(asked(TWO, client__project="shop", **spent(big=1.0, all=5.0))) == ("budget.all", "BUDGET", 402)


def test_use_leads_to_other_models() -> None:
    """`use` takes candidates instead of a class."""
    by = policy("budgets: {all: {usd: 1, on_exceed: {use: [gamma/shared]}}}\n" + ROUTE)
    assert refs(asked(by, **spent(all=1))) == ["gamma/shared"]
    assert refs(asked(by, **spent(all=0.5)))[0] == "alpha/al-big"


def test_shadow_budgets_are_recorded_not_obeyed() -> None:
    """What it would have refused stands among the hits."""
    by = policy("budgets: {day: {usd: 1, per: day, mode: shadow}}\n")
    decision = asked(by, **spent(day=3))
    assert reason(decision) is None
    assert [(h.id, h.outcome, h.shadow) for h in decision.hits if h.section == "deny"] == [("budget.day", "true", True)]


def test_own_words_and_status() -> None:
    """Message and status of the policy."""
    by = policy(
        "budgets: {day: {usd: 1, per: day, status: 429, message: 'Stop: ${budget.day.left_usd} left, ${vars.word}.'}}\n"
        "vars: {word: '\"sorry\"'}\n"
    )
    denial = asked(by, **spent(day=3)).denial
    assert denial is not None
    assert (denial.status, denial.message) == (429, "Stop: 0 left, sorry.")


def test_rules_read_budgets() -> None:
    """Their figures are facts like others, with the policy's own amount."""
    by = policy(
        "budgets: {day: {usd: 4, per: day}}\n"
        "gate: {deny: [{id: reserve, when: 'budget.day.left_usd < 1.0 && budget.day.limit_usd == 4.0'}]}\n"
    )
    assert reason(asked(by, **spent(day=3.5))) == ("reserve", "GATE_DENY", 403)
    assert reason(asked(by, **spent(day=2.5))) is None


def test_pots() -> None:
    """A pot for each value of what the budget goes by, in each period; none for a request that names none."""
    by = policy(
        "budgets: {a: {usd: 1, by: [project, session], per: month}, b: {usd: 1, when: request.turns > 3}, c: {usd: 1, by: client, per: day}}\n"
    )
    facts = request(client__project="p", session__id="s", turns=4, client__name="codex", now__date="2026-11-26")
    assert [b.pot(facts) for b in by.budgets] == [
        Pot("a", ("p", "s"), "2026-11"), Pot("b", (), ""), Pot("c", ("codex",), "2026-11-26")
    ]  # fmt: skip
    other = request(client__project="p", turns=3, client__name="codex", now__date="2026-12-01")
    assert [b.pot(other) for b in by.budgets] == [None, None, Pot("c", ("codex",), "2026-12-01")]


def test_facts_are_completed_by_the_policy() -> None:
    """Whatever a record says of limits, the asked policy's own count; what is not told is not spent."""
    given = {
        "day_usd": 1.0,
        "month_usd": 2.0,
        "day": {"spent_usd": 0.25, "limit_usd": 77.0},
        "gone": {"spent_usd": 1.0},
    }
    found = complete(DAY.budgets, given)
    assert found["day"] == {"limit_usd": 1.0, "spent_usd": 0.25, "left_usd": 0.75, "exceeded": False}
    assert complete(DAY.budgets, {})["day"]["left_usd"] == 1.0


MISTAKES = {
    "budgets: {day: {per: day}}": "`usd` is missing",
    "budgets: {day_usd: {usd: 1}}": "which are facts already",
    "budgets: {day: {usd: 1, by: colour}}": "write project, session, client or key",
    "budgets: {day: {usd: 1, on_exceed: stop}}": "write deny",
    "budgets: {day: {usd: 1, on_exceed: {class: cheep_edit}}}": "did you mean 'cheap_edit'",
    "budgets: {day: {usd: 1, on_exceed: {use: [nobody]}}}": "there is no provider 'nobody'",
    "budgets: {day: {usd: 1, when: request.tuns > 1}}": "did you mean 'turns'",
    "budgets: {day: {usd: 1, when: vars.x}}\nvars: {x: 'true'}": "x",
    "budgets: {day: {usd: 1, when: budget.day.exceeded}}": "have: day_usd, month_usd",
    "budgets: {day: {usd: 1}}\nvars: {x: budget.dya.exceeded}": "did you mean",
    "settings: {timezone: Europe/Belin}": "no time zone 'Europe/Belin' is known",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_told(text: str) -> None:
    """With the place and what to write instead."""
    problems = [p for p in check_text(ROWS + ROUTE + text, file="p.yaml") if p.level == "error"]
    assert problems
    assert any(MISTAKES[text] in f"{p.message} {p.hint}" for p in problems), problems


# ── the calendar ──

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("moment", "day", "month"),
    [
        (datetime(2026, 10, 25, 12, tzinfo=BERLIN), "2026-10-24T22:00", "2026-09-30T22:00"),  # clocks went back at 3
        (datetime(2026, 10, 26, 0, 30, tzinfo=BERLIN), "2026-10-25T23:00", "2026-09-30T22:00"),
        (datetime(2026, 3, 31, 23, 59, tzinfo=BERLIN), "2026-03-30T22:00", "2026-02-28T23:00"),
        (datetime(2028, 2, 29, 5, tzinfo=UTC), "2028-02-29T00:00", "2028-02-01T00:00"),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=ZoneInfo("Pacific/Auckland")), "2026-12-30T11:00", "2026-11-30T11:00"),
    ],
)  # fmt: skip
def test_days_and_months_begin_by_the_clocks_of_the_place(moment: datetime, day: str, month: str) -> None:
    """Also where clocks were changed since."""
    found = [start_of(period, moment).astimezone(UTC).isoformat()[:16] for period in ("day", "month")]
    assert found == [day, month]


# ── replays ──

CHEAP = policy("budgets: {day: {usd: 0.02, per: day}}\n" + ROUTE)


def test_a_replay_spends_by_its_own_decisions() -> None:
    """Each answer costs 4.5 thousandths (estimated at most 3 tenths of a cent more): after four nothing fits any more."""
    free = policy(ROUTE)
    records = [record(free, n, estimate__input_tokens=1000, estimate__output_tokens=100) for n in range(8)]
    tomorrow = replace(record(free, 86400, estimate__input_tokens=1000, estimate__output_tokens=100))
    found = replay(free, CHEAP, [*records, tomorrow])
    assert {kind: tally.count for kind, tally in found.tallies.items()} == {"denied": 4}
    assert found.books.new_usd == pytest.approx(5 * 0.0045)


def test_a_replay_begins_with_what_was_recorded() -> None:
    """A pot that was nearly empty when the record begins is nearly empty in the replay."""
    made = record(CHEAP, 0, estimate__input_tokens=1000, estimate__output_tokens=100)
    later = Record(**{**{f: getattr(made, f) for f in made.__slots__}, "id": "1"})  # type: ignore[attr-defined]
    later.facts["budget"]["day"] = {"spent_usd": 0.019}
    assert decide(CHEAP, later.facts, {}).denial is not None
    found = replay(policy(ROUTE), CHEAP, [later])
    assert found.tallies["denied"].count == 1


def test_both_sides_of_a_replay_have_their_own_pots() -> None:
    """Against itself nothing changes, however little is left."""
    records = [record(CHEAP, n, estimate__input_tokens=1000, estimate__output_tokens=100) for n in range(6)]
    found = replay(CHEAP, CHEAP, records)
    assert (found.same, found.tallies) == (6, {})
