"""From results to a model's row: what was shown, no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from engine.llm.catalogue import Model, Provider
from engine.llm.messages import JsonObject
from engine.probe.exam import EXAM
from engine.probe.examiner import Result
from engine.probe.kits import KITS

_ENOUGH = 0.75
"""Share of the answers that must be right for `experimental`, with every required question among them."""


@dataclass(slots=True, frozen=True)
class Verdict:
    """`safe` is `True`, `"experimental"` or `False`, as a row says it."""

    agent: str
    results: Sequence[Result]

    @property
    def score(self) -> float:
        """Share of the answers that were right, in hundredths, rounded down so that 1.0 means all."""
        return int(100 * sum(result.passed for result in self.results) / len(self.results)) / 100

    @property
    def failed(self) -> list[str]:
        """Ids of the questions that were answered wrongly at least once."""
        return list(dict.fromkeys(result.question.id for result in self.results if not result.passed))

    @property
    def safe(self) -> bool | str:
        """True: everything right, every time. Experimental: what an agent can't do without, and most of the rest."""
        if not self.failed:
            return True
        needed = {result.question.id for result in self.results if result.question.required}
        return "experimental" if needed.isdisjoint(self.failed) and self.score >= _ENOUGH else False

    def row(self, model: Model, provider: Provider, *, own: bool, today: str, long: int) -> JsonObject:
        """The fields that the exam has something to say about; `long` tokens stood in its long question.

        `own`: the model has a row of its own, whose other fields stay. If not, a new row takes the place of what described it
        until now, so that is written out; and a window that was shown counts where none is known.
        """
        failed = self.failed
        row: JsonObject = {} if own else _described(model, provider)
        row |= {"tools": "single" not in failed, "streaming": "streaming" not in failed}
        row[KITS[self.agent].field] = self.safe
        if not model.known and "long-context" not in failed:
            row["context"] = max(long, model.context)
        probe: JsonObject = {"score": self.score, "date": today, "exam": EXAM}
        row["probe"] = {self.agent: probe | ({"failed": failed} if failed else {})}
        if not own:
            row |= {"source": model.source or "sbgw probe", "as_of": model.as_of or today}
        return row


_PLAIN = ("vision", "documents", "reasoning", "structured", "context", "max_output")


def _described(model: Model, provider: Provider) -> JsonObject:
    """What a family's row or none at all says of a model, as a row of its own."""
    blank = Model(model.provider, model.name)
    row: JsonObject = {name: value for name in _PLAIN if (value := getattr(model, name)) != getattr(blank, name)}
    quirks = {
        f.name: list(value) if isinstance(value, tuple) else value
        for f in fields(model.quirks)
        if (value := getattr(model.quirks, f.name)) != getattr(provider.quirks, f.name)
    }
    return row | ({"quirks": quirks} if quirks else {})
