"""How many tokens a provider counts for what the gateway measures in bytes: learned from the answers that told.

Rules kept here:

- Nothing is learned from an estimate. What stands in for a count that nobody told is what the same model counted lately for
  prompts and answers of the same protocol, weighted by their size: a long prompt says more about the next long one.
- Until something was told a quarter of the bytes is taken, and one odd answer moves that little.
"""

from __future__ import annotations

from collections import OrderedDict

from engine.llm.messages import Usage
from engine.providers.heard import Heard

_MOST = 1_000
"""Models and protocols remembered; the one longest unused goes first. Clients choose the names of models."""

_KEPT = 0.9
"""What an earlier count still weighs when a new one comes."""

_PRIOR = 1_000.0
"""Tokens for which the first guess stands."""

_FIRST, _EVERY = 4, 16
"""Answers that are measured: the first ones, then every so manieth."""

_FURTHEST = 1.5
"""One count is believed to be off by this factor at most: further off are pictures, and vendors that count otherwise for once."""


class _Ratio:
    """Tokens told for one token estimated."""

    __slots__ = ("_estimated", "_told")

    def __init__(self) -> None:
        self._told = self._estimated = _PRIOR

    def note(self, told: int, estimated: int) -> None:
        """`estimated` 0: it was not measured."""
        if estimated <= 0 or told <= 0:
            return
        expected = estimated * self._told / self._estimated
        believed = min(max(told, expected / _FURTHEST), expected * _FURTHEST)
        self._told = self._told * _KEPT + believed
        self._estimated = self._estimated * _KEPT + estimated

    def of(self, estimated: int) -> int:
        return round(estimated * self._told / self._estimated)


class _Model:
    """What is known of one model and protocol."""

    __slots__ = ("answer", "prompt", "seen")

    def __init__(self) -> None:
        self.prompt, self.answer = _Ratio(), _Ratio()
        self.seen = 0


class Calibration:
    """By model (`provider/name`) and the client's protocol. Used from the event loop alone; a call takes a microsecond."""

    def __init__(self) -> None:
        self._models: OrderedDict[tuple[str, str], _Model] = OrderedDict()

    def note(self, ref: str, protocol: str, told: Usage, prompt: int, heard: Heard) -> None:
        """An answer whose tokens were `told`, those of its prompt having been estimated at `prompt`."""
        key = (ref, protocol)
        known = self._models.get(key)
        if known is None:
            if len(self._models) >= _MOST:
                self._models.popitem(last=False)
            known = self._models[key] = _Model()
        else:
            self._models.move_to_end(key)
        known.prompt.note(told.input_tokens or 0, prompt)
        if known.seen < _FIRST or not known.seen % _EVERY:  # measuring what was heard takes tens of microseconds
            known.answer.note((told.output_tokens or 0) - (told.reasoning_tokens or 0), heard.tokens)
        known.seen += 1

    def prompt(self, ref: str, protocol: str, estimated: int) -> int:
        """Tokens that the model is expected to count for a prompt of so many estimated ones."""
        known = self._models.get((ref, protocol))
        return estimated if known is None else known.prompt.of(estimated)

    def answer(self, ref: str, protocol: str, heard: int) -> int:
        """The same for an answer, or a part of one."""
        known = self._models.get((ref, protocol))
        return heard if known is None else known.answer.of(heard)
