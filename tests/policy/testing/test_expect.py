"""Each kind of expectation: when it is met, and what is said when it is not."""

from __future__ import annotations

import pytest

from tests.policy.testing.builders import differs

QUIET = "{estimate: {input_tokens: 10}}"
DEEP = "{request: {effort: max}}"
STREAMED = "{request: {effort: max, stream: true}}"
SPENT = "{budget: {day_usd: 5}}"
LONG = "{estimate: {input_tokens: 40000}}"


@pytest.mark.parametrize(
    ("given", "expect"),
    [
        ("{}", "{class: fallback_safe, rule: null, override: null, model: alpha/big, provider: alpha}"),
        (QUIET, "{class: cheap_edit, rule: small-work}"),
        (DEEP, "{class: deep_reasoning, rule: deep}"),
        ("{request: {pinned_class: deep_reasoning}}", "{override: pinned, rule: pinned, class: deep_reasoning}"),
        ("{request: {pinned_class: nothing}}", "{override: null, rule: null}"),
        ("{}", "{protocol: anthropic-messages, preserve: true, losses: []}"),
        ("{keys: [beta], request: {requires: [cache_control, top_k]}}", "{preserve: false, losses: [top_k, cache_control]}"),
        ("{}", "{candidates: [alpha/big, beta/little]}"),
        ("{}", "{candidates: [alpha, beta]}"),
        ("{}", "{dropped: {}}"),
        (LONG, "{dropped: {beta: fits}}"),
        (LONG, "{dropped: {beta/little: INCOMPATIBLE}}"),
        ("{keys: [alpha]}", "{dropped: {beta: NO_KEY}}"),
        ("{}", "{denied: false}"),
        (SPENT, "{denied: true}"),
        (SPENT, "{denied: spent}"),
        (SPENT, "{denied: GATE_DENY}"),
        (SPENT, "{denied: 429}"),
        (SPENT, "{denied: {rule: spent, status: 429, reason: GATE_DENY, message: Spent 5 dollars.}}"),
        (SPENT, "{model: null, provider: null, candidates: []}"),
        ("{keys: []}", "{denied: {rule: null, reason: NO_KEY, status: 403}}"),
        ("{}", "{vars: {quiet: true, limit: 1000}}"),
        ("{text: URGENT, please}".replace(",", ""), "{signals: {urgent: true}, shadow: {tried-out: true}}"),
        ("{}", "{signals: {urgent: false}, shadow: {tried-out: false, would-fit: true}}"),
        (LONG, "{shadow: {would-fit: false}}"),
        ("{request: {pinned_class: cheap_edit}}", "{shadow: {}}"),
    ],
)  # fmt: skip
def test_expectations_are_met(given: str, expect: str) -> None:
    """What the policy decides satisfies these."""
    assert differs(given, expect) == []


@pytest.mark.parametrize(
    ("given", "expect", "told"),
    [
        ("{}", "{class: cheap_edit}", ("class", "cheap_edit", "fallback_safe")),
        (QUIET, "{rule: null}", ("rule", "none", "small-work")),
        ("{}", "{override: pinned}", ("override", "pinned", "none")),
        ("{}", "{model: null}", ("model", "none", "alpha/big")),
        (SPENT, "{model: alpha/big}", ("model", "alpha/big", "none")),
        ("{}", "{preserve: false}", ("preserve", "false", "true")),
        ("{}", "{losses: [top_k]}", ("losses", "[top_k]", "[]")),
        ("{}", "{candidates: [beta, alpha]}", ("candidates", "[beta, alpha]", "[alpha, beta]")),
        ("{}", "{candidates: [alpha]}", ("candidates", "[alpha]", "[alpha, beta/little]")),
        (LONG, "{dropped: {}}", ("dropped", "none", "{beta/little: fits (INCOMPATIBLE)}")),
        (LONG, "{dropped: {beta: NO_KEY}}", ("dropped.beta", "NO_KEY", "fits (INCOMPATIBLE)")),
        ("{}", "{dropped: {beta: fits}}", ("dropped.beta", "fits", "not dropped")),
        (SPENT, "{dropped: {beta: fits}}", ("dropped.beta", "fits", "not a candidate")),
        ("{}", "{denied: true}", ("denied", "true", "not refused")),
        ("{}", "{denied: 429}", ("denied", "429", "not refused")),
        ("{}", "{denied: {rule: spent}}", ("denied", "{rule: spent}", "not refused")),
        (SPENT, "{denied: false}", ("denied", "not refused", "spent (429)")),
        (SPENT, "{denied: 403}", ("denied", "403", "spent (429)")),
        (SPENT, "{denied: NO_KEY}", ("denied", "NO_KEY", "spent (429)")),
        (SPENT, "{denied: {rule: null}}", ("denied.rule", "none", "spent")),
        ("{}", "{vars: {quiet: 1}}", ("vars.quiet", "1", "true")),
        ("{}", "{vars: {limit: 2000.5}}", ("vars.limit", "2000.5", "1000")),
        ("{text: later}", "{signals: {urgent: true}}", ("signals.urgent", "true", "false")),
        ("{}", "{shadow: {tried-out: true}}", ("shadow.tried-out", "true", "false")),
        (SPENT, "{shadow: {would-fit: true}}", ("shadow.would-fit", "true", "not asked")),
    ],
)
def test_what_differs_is_told(given: str, expect: str, told: tuple[str, str, str]) -> None:
    """Key, expected and actual, in words of the file."""
    assert differs(given, expect) == [told]
