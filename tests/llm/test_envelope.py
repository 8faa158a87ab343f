"""Envelopes open for their gateway, session, text, provider and model, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.envelope import LARGEST, Envelopes, Maker
from engine.llm.messages import LLMResponse, Text, Thinking
from engine.llm.returning import Seals
from engine.llm.sealing import seal_response
from engine.protocols.registry import PROTOCOLS
from engine.store.key import sealing_key

KEY = b"k" * 32
MAKER = Maker("acme", "big-1", "s-1")
STATE = Thinking("I think.", "c2ln.a:b", redacted=False, summary=True, id="rs_1", origin="openai-responses")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(
    text=st.text(max_size=20), opaque=st.text(min_size=1, max_size=40), redacted=st.booleans(), summary=st.booleans()
)
@settings(max_examples=40, deadline=None)
def test_state_comes_back_through_every_client(
    protocol: str, text: str, opaque: str, redacted: bool, summary: bool
) -> None:
    """What a provider of another protocol sealed goes through an answer and a history unchanged."""
    opaque = opaque.encode("utf-8", "replace").decode()
    text = text.encode("utf-8", "replace").decode()
    seals, wire = Seals(KEY), PROTOCOLS[protocol]
    thinking = Thinking(text, opaque, redacted=redacted, summary=summary, id="rs_1", origin="elsewhere")
    answer = seal_response(LLMResponse("a", "m", (thinking, Text("x")), "end_turn"), seals.envelopes, MAKER)
    body = wire.encode_response(answer, model="m")
    user = {"role": "user", "content": "hi"}
    match protocol:
        case "anthropic-messages":
            asked = {"messages": [user, {"role": "assistant", "content": body["content"]}, user], "max_tokens": 9}
        case "openai-responses":
            asked = {"input": [user, *body["output"], user]}
        case _:
            asked = {"messages": [user, body["choices"][0]["message"], user]}
    request = wire.decode_request({"model": "m", **asked})
    back = next(b for m in request.messages for b in m.content if isinstance(b, Thinking))
    assert seals.returning(MAKER)(back) == thinking
    survey = wire.survey({"model": "m", **asked})
    assert seals.made_by(survey.sealed) == [MAKER.ref]


@pytest.mark.parametrize(
    "other",
    [replace(MAKER, provider="bolt"), replace(MAKER, model="big-2"), replace(MAKER, session="s-2"), replace(MAKER, session="")],
    ids=str,
)  # fmt: skip
def test_nobody_else_gets_it(other: Maker) -> None:
    """Another provider, model or session: the state is left out, and counted."""
    seals = Seals(KEY)
    back = seals.returning(other)
    assert back(seals.envelopes.seal(STATE, MAKER)) is None
    assert back.left_out == 1


def test_what_was_changed_does_not_open() -> None:
    """A changed letter anywhere, another gateway's key, other text beside it, a forged or empty mark."""
    seals = Seals(KEY)
    sealed = seals.envelopes.seal(STATE, MAKER)
    for at in range(6, len(sealed.opaque)):
        bent = sealed.opaque[:at] + ("A" if sealed.opaque[at] != "A" else "B") + sealed.opaque[at + 1 :]
        assert seals.envelopes.open(bent) is None
    assert Envelopes(b"o" * 32).open(sealed.opaque) is None
    for odd in ("sbgw", "sbgw1.", "sbgw1...", "sbgw1.a.b.c", "sbgw2.a.b.c", "sbgw1.ä.ö.ü"):
        assert seals.envelopes.open(odd) is None
        assert seals.returning(MAKER)(replace(sealed, opaque=odd)) is None
    assert seals.returning(MAKER)(replace(sealed, text="I thought.")) is None


def test_state_that_is_too_large_stays_behind() -> None:
    """The envelope is small, and says on its way back that something was left out."""
    seals = Seals(KEY)
    sealed = seals.envelopes.seal(replace(STATE, opaque="x" * (LARGEST + 1)), MAKER)
    assert len(sealed.opaque) < 1000
    back = seals.returning(MAKER)
    assert (back(sealed), back.left_out) == (None, 1)


def test_two_vendors_of_one_protocol() -> None:
    """Bare state goes to its maker, or where nobody knows better; what a vendor refused does not go there again."""
    seals = Seals(KEY)
    bare = Thinking("t", "sig", origin="anthropic-messages")
    assert seals.returning(MAKER)(bare) is bare
    seals.makers.note(["sig"], "bolt")
    assert seals.returning(MAKER)(bare) is None
    assert seals.returning(replace(MAKER, provider="bolt"))(bare) is bare
    assert seals.made_by(["sig", "other"]) == ["bolt/"]
    seals.makers.note_refused(["other"], "acme")
    unknown = replace(bare, opaque="other")
    assert seals.returning(MAKER)(unknown) is None
    assert seals.returning(replace(MAKER, provider="bolt"))(unknown) is unknown


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """A restart, and another gateway on the same folder, open what was sealed before; nobody else may read the key."""
    key = sealing_key(tmp_path)
    assert sealing_key(tmp_path) == key
    assert len(key) == 32
    assert [(p.name, p.stat().st_mode & 0o777) for p in tmp_path.iterdir()] == [("seal.key", 0o600)]
    (tmp_path / "seal.key").write_bytes(b"short")
    assert len(sealing_key(tmp_path)) == 32
