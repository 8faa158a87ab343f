"""Tool call ids on their way to a wire and back."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.protocols.tool_ids import IdMap, Rule, fit, original, synthetic

WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
NINE = re.compile(r"[A-Za-z0-9]{9}")
IDS = st.text(max_size=90) | st.sampled_from(
    ["toolu_1", "functions.weather:0", "call_b64_YTow", "call_b64_!", "abcdefghi"]
)


@given(IDS, IDS)
@settings(deadline=None, max_examples=200)
def test_ids_fit_and_stay_apart(one: str, other: str) -> None:
    """Every id fits its rule, equal ids stay equal, different ones different, fitting ones unchanged."""
    assert WORD.fullmatch(fit(one, "word"))
    assert NINE.fullmatch(fit(one, "alnum9"))
    rules: tuple[Rule, ...] = ("any", "word", "alnum9")
    for rule in rules:
        assert fit(one, rule) == fit(fit(one, rule), rule)
        assert (
            (one == other) == (fit(one, rule) == fit(other, rule)) or original(one) == other or original(other) == one
        )


@given(st.text(min_size=1, max_size=9) | IDS)
@settings(deadline=None, max_examples=200)
def test_short_ids_come_back(call_id: str) -> None:
    """What was wrapped can be unwrapped without memory, up to forty bytes; nothing else is touched."""
    if call_id and len(call_id.encode()) <= 40:
        assert original(fit(call_id, "word")) in (call_id, original(call_id))
    assert WORD.fullmatch(fit(original(fit(call_id, "word")), "word"))


def test_known_forms() -> None:
    """The wrapped form is pinned: it stands in clients' histories."""
    assert fit("functions.weather:0", "word") == "call_b64_ZnVuY3Rpb25zLndlYXRoZXI6MA"
    assert original("call_b64_ZnVuY3Rpb25zLndlYXRoZXI6MA") == "functions.weather:0"
    assert synthetic("answer", 0) != synthetic("answer", 1)
    assert synthetic("answer", 0) == synthetic("answer", 0)


def test_a_repeated_id_gets_a_new_one_and_its_own_result() -> None:
    """Calls are unique on the wire, and results follow their calls in order."""
    ids = IdMap("word")
    first, answer = ids.call("a"), ids.result("a")
    second, again = ids.call("a"), ids.call("a")
    assert (first, answer) == ("a", "a")
    assert len({first, second, again}) == 3
    assert ids.result("stray:1") == fit("stray:1", "word")


@given(st.lists(st.sampled_from(["a", "b", "x:1", ""]), max_size=8))
@settings(deadline=None, max_examples=100)
def test_calls_made_together_are_answered_in_order(call_ids: list[str]) -> None:
    """Any number of calls with equal ids, then their results in the same order, pair up."""
    ids = IdMap("word")
    calls = [ids.call(call_id) for call_id in call_ids]
    assert calls == [ids.result(call_id) for call_id in call_ids]
    assert len(set(calls)) == len(calls)


def test_an_id_that_comes_again_in_a_later_turn_finds_its_own_result() -> None:
    """A model that counts its calls from zero in every turn: each result goes to the call of its own turn."""
    ids = IdMap("word")
    first = ids.call("functions.read:0")
    assert ids.result("functions.read:0") == first
    second = ids.call("functions.read:0")
    assert first != second
    assert ids.result("functions.read:0") == second
