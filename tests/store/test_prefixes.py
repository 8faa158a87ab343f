"""What is warm: by the vendors' rules, corrected by what they report."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from engine.llm.catalogue import PromptCache, Rate
from engine.llm.messages import Usage
from engine.llm.prefix import Segments
from engine.protocols.registry import PROTOCOLS
from engine.store.prefixes import MAX_SESSIONS, Look, Prefixes, warm_facts

MARKS = PromptCache(kind="marks", long_seconds=3600, minimum=512)
AUTOMATIC = PromptCache(kind="automatic", step=128)
NOTHING = PromptCache()
FULL = PromptCache(kind="marks", long_seconds=3600, minimum=512, most_marks=2)
"""Two breakpoints at most, which the client has set."""
RULES = {"a/marks": MARKS, "a/full": FULL, "b/auto": AUTOMATIC, "c/none": NOTHING}
RATE = Rate(4.0, 20.0, 0.2, 5.0, 8.0)


def prompt(turns: int, *, tools: int = 3, system: str = "Be brief.", first: str = "Fix it.", marks: bool = True) -> Any:
    """A Messages request after `turns` answers, marked as an agent marks it: after the system text and at the end."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": first}]}]
    for turn in range(turns):
        messages.append({"role": "assistant", "content": [{"type": "text", "text": f"answer {turn} " + "a" * 400}]})
        messages.append({"role": "user", "content": [{"type": "text", "text": f"result {turn} " + "r" * 400}]})
    body: dict[str, Any] = {
        "model": "m",
        "messages": messages,
        "system": [{"type": "text", "text": system * 500}],
        "tools": [{"name": f"tool{n}", "description": "d" * 800, "input_schema": {}} for n in range(tools)],
    }
    if marks:
        for block in (body["system"][-1], messages[-1]["content"][-1]):
            block["cache_control"] = {"type": "ephemeral"}
    return body


def segments(body: Any) -> Segments:
    return PROTOCOLS["anthropic-messages"].segments(body)


def tokens(body: Any) -> int:
    return len(orjson.dumps(segments(body).values)) // 4


class Talk:
    """A session with one model, which does what its rules say."""

    def __init__(self, ref: str, session: str = "s", prefixes: Prefixes | None = None) -> None:
        self.prefixes = prefixes or Prefixes()
        self.ref, self.session = ref, session

    def look(self, body: Any, at: float, *, marking: bool = False) -> Look:
        return self.prefixes.look(self.session, segments(body), RULES.__getitem__, at, marking=marking)

    def ask(self, body: Any, at: float, *, read: int | None = None, written: int | None = None, **how: Any) -> Look:
        """One request; unless told, the vendor reads what was expected and keeps all of it."""
        found = self.look(body, at)
        whole = tokens(body)
        read = found.warm.get(self.ref, 0) if read is None else read
        written = whole - read if written is None else written
        usage = Usage(whole, 10, read, written if RULES[self.ref].kind == "marks" else None)
        self.prefixes.note(found, self.ref, RULES[self.ref], usage, **how)
        return found


@pytest.mark.parametrize("ref", ["a/marks", "b/auto"])
def test_a_growing_conversation_is_warm_as_far_as_it_went(ref: str) -> None:
    """Nothing at first; then all of the request before."""
    talk = Talk(ref)
    assert talk.ask(prompt(0), 0).warm == {}
    for turn in range(1, 30):
        expected = tokens(prompt(turn - 1))
        assert talk.ask(prompt(turn), turn * 60).warm == {ref: expected - expected % RULES[ref].step}


@pytest.mark.parametrize("ref", ["a/marks", "b/auto"])
def test_it_cools_down_and_every_use_keeps_it_warm(ref: str) -> None:
    """Warm until the row's seconds after the last use, not after the first; nothing a moment later."""
    talk = Talk(ref)
    for turn in range(3):
        talk.ask(prompt(turn), turn * 299)
    assert talk.look(prompt(3), 2 * 299 + 299).warm
    assert talk.look(prompt(3), 2 * 299 + 300).warm == {}


def test_the_longer_time_lasts_longer() -> None:
    """What stands before the conversation and was written for an hour is warm for an hour after its last use."""
    talk = Talk("a/marks")
    talk.ask(prompt(0), 0, hints=("long",))
    assert talk.look(prompt(1), 299).warm["a/marks"] == tokens(prompt(0))
    head = talk.look(prompt(1), 3599).warm["a/marks"]
    assert 0 < head < tokens(prompt(0))
    talk.ask(prompt(1), 3599)
    assert talk.look(prompt(2), 2 * 3599).warm["a/marks"] == pytest.approx(head, abs=2)
    assert talk.look(prompt(2), 3599 + 3600).warm == {}


def test_a_short_prompt_is_kept_by_nobody() -> None:
    """Under the row's minimum an automatic cache keeps nothing."""
    talk = Talk("b/auto")
    small = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    talk.ask(small, 0)
    assert talk.look(small, 1).warm == {}


def test_nothing_is_expected_of_a_provider_without_rules() -> None:
    """Until it reports tokens from a cache; then it is believed."""
    talk = Talk("c/none")
    talk.ask(prompt(0), 0, read=0)
    assert talk.ask(prompt(1), 1, read=1000).warm == {}
    assert talk.look(prompt(2), 2).warm == {"c/none": tokens(prompt(1))}


def test_what_is_reported_counts() -> None:
    """Fewer tokens written than the prompt has: that many are warm."""
    talk = Talk("a/marks")
    talk.ask(prompt(0), 0, read=0, written=1234)
    assert talk.look(prompt(1), 1).warm == {"a/marks": 1234}
    talk.ask(prompt(1), 1, read=0, written=0)
    assert talk.look(prompt(2), 2).warm == {}, "what was not read is not there"


def test_a_provider_that_forgets_is_believed_less() -> None:
    """After some answers without a cached token, less and less is expected; one good answer brings it back."""
    talk = Talk("b/auto")
    talk.ask(prompt(0), 0)
    seen = [
        talk.ask(prompt(turn), turn, read=0).warm.get("b/auto", 0) / tokens(prompt(turn - 1)) for turn in range(1, 8)
    ]
    assert seen[0] > seen[2] > seen[4]
    assert seen[-1] < 0.3
    for turn in range(8, 14):
        talk.ask(prompt(turn), turn, read=tokens(prompt(turn - 1)))
    assert talk.look(prompt(14), 14).warm["b/auto"] > 0.8 * tokens(prompt(13))


def test_breakpoints_find_only_what_ended_near_them() -> None:
    """A request without breakpoints reads nothing; one far behind the last prefix reads the tools and system alone."""
    talk = Talk("a/marks")
    talk.ask(prompt(0), 0)
    assert talk.look(prompt(1, marks=False), 1).warm == {}
    assert talk.look(prompt(1, marks=False), 1, marking=True).warm
    full = Talk("a/full")
    full.ask(prompt(0), 0)
    far = full.look(prompt(40), 1).warm["a/full"]
    assert 0 < far < tokens(prompt(0))


@pytest.mark.parametrize(("calls", "found"), [(4, True), (9, True), (10, False), (30, False)])
def test_vendors_look_back_over_blocks(calls: int, found: bool) -> None:
    """Parallel calls are many blocks in two messages: 9 calls and their results, and the text before them, are 19 and the mark's own."""
    talk, full = Talk("a/marks"), Talk("a/full")
    for one in (talk, full):
        one.ask(before := prompt(1), 0)
    body = prompt(2)
    said, came = body["messages"][-2:]
    said["content"] += [{"type": "tool_use", "id": f"c{n}", "name": "tool0", "input": {}} for n in range(calls)]
    came["content"] = [{"type": "tool_result", "tool_use_id": f"c{n}", "content": "r"} for n in range(calls)]
    came["content"][-1]["cache_control"] = {"type": "ephemeral"}
    warm = full.look(body, 1).warm["a/full"]
    assert (warm == tokens(before)) is found
    assert warm > 512, "tools and system have a mark of their own"
    look = talk.look(body, 1)
    assert look.warm["a/marks"] == tokens(before), "one breakpoint more finds it, where there is room for one"
    assert bool(look.bridges) is not found
    talk.ask(body, 1, hints=("bridge",) if look.bridges else ())
    assert talk.look(prompt(3), 2).broken is None


MOVES: list[tuple[str, Any, str]] = [
    ("a tool inserted", {"tools": 4}, "tools[3]"),
    ("a time of day in the system text", {"system": "It is 10:32."}, "system[0]"),
    ("a first message rewritten", {"first": "Fix it, please."}, "message[0]"),
]


@pytest.mark.parametrize(("what", "changed", "segment"), MOVES, ids=[m[0] for m in MOVES])
@pytest.mark.parametrize("ref", ["a/marks", "b/auto"])
def test_a_break_names_the_first_segment_that_differs(ref: str, what: str, changed: Any, segment: str) -> None:
    """And the tokens that are not read because of it, with their price."""
    talk = Talk(ref)
    for turn in range(4):
        assert talk.ask(prompt(turn), turn).broken is None
    found = talk.look(prompt(4, **changed), 4)
    assert found.broken is not None
    assert (found.broken.segment, found.broken.model) == (segment, ref)
    assert found.broken.tokens + found.warm.get(ref, 0) == pytest.approx(tokens(prompt(3)), rel=0.05)
    facts = warm_facts(found, {ref: RATE})
    assert facts["prefix_break_usd"] == pytest.approx(found.broken.tokens * 4.8e-6)


def test_what_is_no_break() -> None:
    """Another conversation of the session, a step back, a summary in place of the conversation, a side call, a cold prefix."""
    talk = Talk("a/marks")
    for turn in range(4):
        talk.ask(prompt(turn), turn)
    summary = prompt(0, first="What happened so far: " + "s" * 900)
    side = prompt(0, first="Title?", tools=0)
    back = prompt(2)
    back["messages"].append({"role": "assistant", "content": "another answer"})
    back["messages"].append({"role": "user", "content": "another way"})
    for body in (prompt(0, first="Something else."), back, summary, side):
        assert talk.look(body, 5).broken is None
    assert talk.look(prompt(4, tools=4), 5000).broken is None, "cold anyway"


def test_marks_spellings_and_accounting_change_nothing() -> None:
    """Breakpoints that move, a text as text or as a list, another session's accounting block: the same segments."""
    marked = prompt(2)
    plain = prompt(2, marks=False)
    plain["messages"][2]["content"] = plain["messages"][2]["content"][0]["text"]
    plain["system"].insert(0, {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330.abc;"})
    one, two = segments(marked), segments(plain)
    assert (one.kinds, one.values) == (two.kinds, two.values)
    assert (one.marks, two.marks) == ([3, len(one.kinds) - 1], [])


def test_clients_without_a_session_are_known_by_their_first_message() -> None:
    """Two conversations without a session id are kept apart, and both are found again."""
    talk = Talk("b/auto", session="")
    talk.ask(prompt(1, first="One."), 0)
    talk.ask(prompt(3, first="Two."), 1)
    assert talk.look(prompt(2, first="One."), 2).warm["b/auto"] == tokens(prompt(1, first="One.")) // 128 * 128
    assert talk.look(prompt(4, first="Two."), 2).warm["b/auto"] == tokens(prompt(3, first="Two.")) // 128 * 128


def test_another_session_finds_the_tools_and_the_system_text() -> None:
    """A new session reads what an older one left; where that turns out wrong, it is not expected a second time."""
    talk = Talk("b/auto")
    talk.ask(prompt(2), 0)
    other = Talk("b/auto", "other", talk.prefixes)
    share = other.look(prompt(0, first="New."), 1).warm["b/auto"]
    assert 0 < share < tokens(prompt(0, first="New."))
    other.ask(prompt(0, first="New."), 1, read=0)
    assert Talk("b/auto", "third", talk.prefixes).look(prompt(0, first="Newer."), 2).warm == {}


def test_the_longer_time_is_for_those_who_pause() -> None:
    """Not without a pause, nor while the prompt is warm, nor for more than a small share of what the session has cost."""
    talk = Talk("a/marks")
    for turn in range(5):
        found = talk.ask(prompt(turn), turn * 20)
        assert not talk.prefixes.long_pays(found, "a/marks", MARKS, RATE, 100.0)
    cold = talk.look(prompt(5), 80 + 900)
    assert not talk.prefixes.long_pays(cold, "a/marks", MARKS, None, 100.0), "nobody knows the prices"
    assert not talk.prefixes.long_pays(cold, "a/marks", MARKS, RATE, 0.01), "too dear for so small a session"
    assert not talk.prefixes.long_pays(cold, "a/marks", PromptCache(kind="marks"), RATE, 100.0), (
        "nothing longer to ask for"
    )
    assert talk.prefixes.long_pays(cold, "a/marks", MARKS, RATE, 100.0)
    talk.ask(prompt(5), 80 + 900, hints=("long",))
    later = talk.look(prompt(6), 80 + 900 + 1800)
    assert later.warm["a/marks"] < tokens(prompt(5)), "the conversation itself is cold again"
    assert talk.prefixes.long_pays(later, "a/marks", MARKS, RATE, 0.0), "what is kept for long goes on so, at no cost"


def test_what_is_remembered_is_bounded() -> None:
    """The session longest unused is forgotten."""
    talk = Talk("b/auto")
    for n in range(MAX_SESSIONS + 1):
        Talk("b/auto", f"s{n}", talk.prefixes).ask(prompt(1, first=f"{n}"), 0)
    assert Talk("b/auto", "s1", talk.prefixes).look(prompt(2, first="1"), 1).common > 4
    assert Talk("b/auto", "s0", talk.prefixes).look(prompt(2, first="0"), 1).common == 0


def test_a_conversation_that_went_back_with_another_model_is_looked_at_all_the_same() -> None:
    """What the first model keeps reaches further than the conversation now does."""
    rules = {"a/one": PromptCache(kind="automatic"), "b/two": PromptCache(kind="automatic")}
    prefixes = Prefixes()
    for turns, ref in ((9, "a/one"), (2, "b/two"), (3, "b/two")):
        look = prefixes.look("s", segments(prompt(turns)), rules.__getitem__, 1.0, marking=False)
        prefixes.note(look, ref, rules[ref], Usage(input_tokens=5_000, cached_tokens=0))
    assert "b/two" in look.warm


@pytest.mark.parametrize("ref", ["a/marks", "b/auto"])
def test_each_key_of_a_provider_has_a_cache_of_its_own(ref: str) -> None:
    """What one account's cache holds is warm for requests with its key, and for no other; a new conversation's head, too."""
    talk = Talk(ref)
    talk.ask(prompt(0), 0, key="KEY_1")
    for session, turns in (("s", 1), ("another", 0)):
        talk.session = session
        one, other = (
            talk.prefixes.look(
                session,
                segments(prompt(turns, first=session)),
                RULES.__getitem__,
                1,
                marking=False,
                asked=lambda _, k=key: k,
            )
            for key in ("KEY_1", "KEY_2")
        )
        assert one.warm[ref] == one.reading(ref, "KEY_1") > 0
        assert (other.warm, other.reading(ref, "KEY_1"), other.reading(ref, "KEY_2")) == ({}, one.warm[ref], 0)


def test_a_head_is_that_of_a_protocol() -> None:
    """Clients of two protocols say the same before the conversation; what a provider is sent of it differs all the same."""
    prefixes = Prefixes()
    looks = {
        protocol: prefixes.look(
            "", segments(prompt(0, first=protocol)), RULES.__getitem__, at, marking=False, protocol=protocol
        )
        for at, protocol in enumerate(("p", "q"))
    }
    prefixes.note(looks["p"], "b/auto", AUTOMATIC, Usage(5_000, 10, 0))
    for protocol, warm in (("p", True), ("q", False)):
        found = prefixes.look(
            "", segments(prompt(0, first="new")), RULES.__getitem__, 9, marking=False, protocol=protocol
        )
        assert bool(found.warm) is warm


def test_a_head_that_was_missed_once_is_warm_again_when_it_is_read() -> None:
    """A miss says that each conversation has a head of its own there; a later hit says that it was chance."""
    talk = Talk("b/auto", session="")
    for number, read in enumerate((0, 0, 4_992)):
        talk.ask(prompt(0, first=f"question {number}"), number, read=read)
        assert bool(talk.look(prompt(0, first="another"), number).warm) is (number != 1)
