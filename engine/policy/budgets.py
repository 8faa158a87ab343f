"""Budgets: how much may be spent on whom in which time, and the rules that follow from it.

Rules kept here:

- A budget is a pot for each value of what it goes `by`, in each period; a request that names no project (or session, ...) is
  in no project's pot. What a request costs goes into all its pots, whatever the budget does when one is empty.
- A decision reads `budget.ID.spent_usd` of the facts, which holds what others have reserved; limit and rest are the policy's
  own words about it. So decisions stay pure, and a replay can ask what another limit would have done.
- What a budget does is written down as rules in the policy's own language and shown as such. `deny`: asked about each
  candidate, like every deny rule about candidates, by its estimate. A way down: an override from the moment on that the pot
  is empty; what is spent there is counted, and not limited by the same budget.
- Models on this machine, and models whose price is 0, need no money.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from engine.policy.decision import Facts
from engine.policy.expression import Expression
from engine.policy.problems import Span

Period = Literal["day", "month", ""]
"""Empty: for good."""

BY: Mapping[str, tuple[str, str]] = {
    "project": ("client", "project"),
    "session": ("session", "id"),
    "client": ("client", "name"),
    "key": ("client", "key"),
}
"""What budgets may go by → the fact that tells it."""

THRESHOLDS = (0.5, 0.8, 1.0)
"""Shares of a budget whose passing is told, unless it names its own."""

_DIGITS = 6


class Pot(NamedTuple):
    """What a request draws from."""

    budget: str
    of: tuple[str, ...]
    """Values of what the budget goes by."""
    period: str
    """`2026-11-26`, `2026-11`, or empty."""


@dataclass(slots=True, frozen=True, eq=False)
class Budget:
    id: str
    usd: float
    by: tuple[str, ...]
    per: Period
    when: Expression | None
    """Which requests it is about; None: all."""
    thresholds: tuple[float, ...]
    """Shares of `usd`, rising."""
    span: Span
    shadow: bool = False
    """Counted, not obeyed."""

    @property
    def rule(self) -> str:
        """Id of the rule that obeys it; no rule of a policy's own can have one with a dot."""
        return f"budget.{self.id}"

    def pot(self, facts: Facts) -> Pot | None:
        """The pot that a request with these facts draws from; None when the budget is not about it."""
        of = tuple(str(facts[section][name]) for section, name in (BY[word] for word in self.by))
        if not all(of) or (self.when is not None and not self.when.holds(facts)):
            return None
        return Pot(self.id, of, self.period(facts["now"]["date"]))

    def period(self, date: str) -> str:
        """The period of a pot on that date (`2026-11-26`)."""
        return date if self.per == "day" else date[:7] if self.per == "month" else ""


def about(by: Iterable[str], when: str) -> str:
    """The condition, as an expression, under which a budget is about a request."""
    named = [f'{section}.{name} != ""' for section, name in (BY[word] for word in by)]
    return " && ".join([*named, *([f"({when})"] if when else [])])


def refuses(budget: str, condition: str) -> str:
    """When a candidate is refused, as an expression: nothing is left, or less than it is estimated to cost."""
    own = f"budget.{budget}"
    free = "(model.local || model.input_usd + model.output_usd == 0.0)"
    spent = f"{own}.exceeded && !{free} || {own}.left_usd < estimate.cost_usd"
    return f"{condition} && ({spent})" if condition else spent


def leads_down(budget: str, condition: str) -> str:
    """When another class or route is taken, as an expression: nothing is left."""
    return f"{condition} && budget.{budget}.exceeded" if condition else f"budget.{budget}.exceeded"


def refusal(budget: str, by: Iterable[str], per: Period) -> str:
    """What a client reads, as a template."""
    whose = "".join(f" for the {word} ${{{'.'.join(BY[word])}}}" for word in by)
    period = {"day": "today's", "month": "this month's", "": "the"}[per]
    anew = {"day": "It begins anew tomorrow", "month": "It begins anew next month", "": "It lasts for good"}[per]
    return (
        f"The budget '{budget}' is used up: ${{budget.{budget}.spent_usd}} of {period} ${{budget.{budget}.limit_usd}} dollars"
        f"{whose} are spent or under way, too much for this request on ${{model.ref}}. {anew}; "
        "`sbgw budgets` shows how it stands."
    )


def complete(budgets: Iterable[Budget], given: Mapping[str, Any]) -> dict[str, Any]:
    """`budget` of the facts with every budget of a policy: what is spent is taken from `given` (0 if it is not told)."""
    own = dict(given)
    for budget in budgets:
        have = given.get(budget.id)
        spent = float(have.get("spent_usd", 0.0)) if isinstance(have, Mapping) else 0.0
        left = round(budget.usd - spent, _DIGITS)
        own[budget.id] = {
            "limit_usd": budget.usd,
            "spent_usd": round(spent, _DIGITS),
            "left_usd": max(left, 0.0),
            "exceeded": left <= 0,
        }
    return own


def start_of(period: Period, moment: datetime) -> datetime:
    """The beginning of the day or month of `moment` (with a zone), by the clocks of its place.

    A moment with a bare offset, as this machine's local time has it, takes the machine's own rules: the offset may have been
    another one when the month began.
    """
    first = datetime(moment.year, moment.month, 1 if period == "month" else moment.day)  # noqa: DTZ001 (the zone follows)
    if not isinstance(moment.tzinfo, ZoneInfo) and moment.astimezone().utcoffset() == moment.utcoffset():
        return first.astimezone()
    return first.replace(tzinfo=moment.tzinfo)


def end_of(period: Period, moment: datetime) -> datetime | None:
    """When the day or month of `moment` ends, by the clocks of its place; None for one that does not."""
    if not period:
        return None
    # Noon, and four days beyond the 28th: days of 23 or 25 hours and short months change nothing.
    inside = (
        moment.replace(day=28, hour=12) + timedelta(days=4)
        if period == "month"
        else moment.replace(hour=12) + timedelta(days=1)
    )
    return start_of(period, inside if isinstance(moment.tzinfo, ZoneInfo) else inside.replace(tzinfo=None).astimezone())
