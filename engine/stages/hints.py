"""What is added to a request for the provider's prompt cache: named changes, recorded with the attempt.

Breakpoints, where the client set none and the prompt is likely to come again, or one more where it marks what stands before
the conversation and lets that grow unmarked, as long as the vendor takes one; one where the request before ended, if so many
calls came since then that the vendor would not look back so far; the longer time for those before the conversation, where its
pauses make that pay; the session's name, which brings its requests to one cache.
What the client set stays where it is. `cache: {prefix: off}` in the policy, or a row without `cache`, keeps all of it away.
"""

from __future__ import annotations

from dataclasses import field

from engine.exchange import Exchange, Services
from engine.llm.frozen import dataclass
from engine.llm.messages import JsonObject
from engine.llm.protocol import Target, WireProtocol
from engine.policy.estimates import hinted

_LONGEST_KEY = 64


@dataclass(slots=True, frozen=True)
class Hinted:
    """A provider's request with its hints."""

    body: JsonObject
    hints: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)


def with_hints(exchange: Exchange, services: Services, wire: WireProtocol, target: Target, body: JsonObject) -> Hinted:
    """`body` as it goes to `target`; the same object when there is nothing to add."""
    cache, survey = target.model.cache, exchange.survey
    if exchange.prefix is None or survey is None or not exchange.policy.cache.prefix:
        return Hinted(body)
    hints: list[str] = []
    headers: dict[str, str] = {}
    if cache.kind == "marks":
        given = survey.cache_marks
        if not given and cache.most_marks and hinted(survey.tools, survey.turns):
            body, before = wire.with_marks(body, most=cache.most_marks), body
            hints += ["marks"] if body is not before else []
        elif 0 < given < cache.most_marks and survey.turns and exchange.prefix.marked_head_only:
            body, before = wire.with_marks(body, most=1, newest=True), body
            hints += ["newest"] if body is not before else []
        far = exchange.prefix.bridges.get(target.model.ref, 0)
        if far and given + len(hints) < cache.most_marks and wire is exchange.wire:
            # Segments of the conversation are its messages, one for one, and the last ones.
            message = far - 1 - (len(exchange.prefix.kinds) - len(body["messages"]))
            body, before = wire.with_mark_at(body, message), body
            hints += ["bridge"] if body is not before else []
        rate = exchange.policy.rates.get(target.model.ref)
        spent = exchange.facts["session"]["cost_usd"]
        if (given or hints) and services.prefixes.long_pays(exchange.prefix, target.model.ref, cache, rate, spent):
            longer = wire.with_long_marks(body)
            if longer is not body:
                body = longer
                hints.append("long")
    name = target.session[:_LONGEST_KEY]
    if name and cache.key_field and cache.key_field not in body and name.isascii():
        body = {**body, cache.key_field: name}
        hints.append("key")
    if name and cache.key_header and cache.key_header not in exchange.headers and name.isascii():
        headers[cache.key_header] = name
        hints.append("affinity")
    return Hinted(body, tuple(hints), headers)
