"""What no policy can take away, over policies and requests that nobody thought of."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.llm.losses import LOSSES, severity
from engine.policy.decide import ProviderState, decide
from engine.policy.load import load_text
from engine.policy.model import Policy
from tests.policy.policies import request

PROTOCOLS = ["anthropic-messages", "openai-responses", "openai-chat"]
PROVIDERS = ["north", "south", "west"]
MODELS = ["one", "two", "fam-three"]
SAFE = [True, False, "experimental"]
CLASSES = ["cheap_edit", "fast_code", "fallback_safe"]
CLIENTS = {"claude-code": "claude_code_safe", "codex": "codex_safe"}

CONDITIONS = [
    True, "request.tools > 0", "request.stream", "request.model_known", "request.tools > 0 && request.stream",
    'client.name == "codex"', "1 / request.turns > 0", "settings.experimental",
]  # fmt: skip
DEMANDS = [*CONDITIONS, "model.tools || true", "model.context > 0", "provider.healthy", "size(losses) >= 0"]
MODES = ["enforce", "shadow", "off"]

rows = st.fixed_dictionaries(
    {},
    optional={
        "tools": st.booleans(), "vision": st.booleans(), "documents": st.booleans(), "reasoning": st.booleans(),
        "structured": st.booleans(), "claude_code_safe": st.sampled_from(SAFE), "codex_safe": st.sampled_from(SAFE),
        "classes": st.lists(st.sampled_from(CLASSES), max_size=2), "context": st.sampled_from([1, 8192, 10**6]),
    },
)  # fmt: skip
providers = st.fixed_dictionaries(
    {
        "protocols": st.lists(st.sampled_from(PROTOCOLS), min_size=1, unique=True).map(
            lambda names: dict.fromkeys(names, "http://127.0.0.1:9")
        )
    },
    optional={
        "wildcard": st.booleans(),
        "enabled": st.booleans(),
        "simulated": st.booleans(),
        "match": st.just(["fam-"]),
    },
)
uses = st.sampled_from(
    [*PROVIDERS, "requested", "pinned", *(f"{p}/{m}" for p in PROVIDERS for m in (*MODELS, "fam-new"))]
)
entries = st.one_of(uses, st.fixed_dictionaries({"use": uses, "when": st.sampled_from(CONDITIONS)}))
routes = st.lists(entries, min_size=1, max_size=5)


def _rules(strategy: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(strategy, max_size=3).map(lambda found: [{"id": f"r{n}", **rule} for n, rule in enumerate(found)])


modes = {"mode": st.sampled_from(MODES)}
policies = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "providers": st.fixed_dictionaries(dict.fromkeys(PROVIDERS, providers)),
        "models": st.fixed_dictionaries({f"{p}/{m}": rows for p in PROVIDERS for m in MODELS}).flatmap(
            lambda made: rows.map(lambda family: {**made, **{f"{p}/fam-*": family for p in PROVIDERS}})
        ),
        "routes": st.fixed_dictionaries(
            {"fallback_safe": routes}, optional={"cheap_edit": routes, "fast_code": routes}
        ),
        "classify": _rules(
            st.fixed_dictionaries(
                {"class": st.sampled_from(CLASSES), "when": st.sampled_from(CONDITIONS)},
                optional={**modes, "on_error": st.sampled_from(["next", "deny", "class"])},
            )
        ),
        "overrides": _rules(
            st.fixed_dictionaries({"when": st.sampled_from(CONDITIONS), "use": routes}, optional=modes)
        ),
        "gate": st.fixed_dictionaries(
            {
                "require": _rules(
                    st.fixed_dictionaries(
                        {"require": st.sampled_from(DEMANDS)},
                        optional={**modes, "on_error": st.sampled_from(["next", "deny"])},
                    )
                ),
                "allow_losses": st.lists(st.sampled_from(sorted(LOSSES)), max_size=6, unique=True),
            }
        ),
        "settings": st.fixed_dictionaries({"experimental": st.booleans()}),
    }
)
requests = st.fixed_dictionaries(
    {
        "protocol": st.sampled_from(PROTOCOLS),
        "model": st.sampled_from([*MODELS, "fam-new", "auto", "", *(f"{p}/{m}" for p in PROVIDERS for m in MODELS)]),
        "pinned_model": st.sampled_from(["", "one", "north/two", "south/unheard-of"]),
        "tools": st.integers(0, 3),
        "tool_calls": st.integers(0, 1),
        "stream": st.booleans(),
        "effort": st.sampled_from(["", "high"]),
        "turns": st.integers(0, 2),
        "requires": st.lists(st.sampled_from(sorted(LOSSES)), max_size=5, unique=True).map(sorted),
        "client__name": st.sampled_from([*CLIENTS, "opencode", "unknown"]),
    }
)
states = st.dictionaries(
    st.sampled_from(PROVIDERS), st.builds(ProviderState, key=st.booleans(), healthy=st.booleans()), max_size=3
)


def _check(policy: Policy, asked: dict[str, Any], availability: dict[str, ProviderState]) -> None:
    decision = decide(policy, request(**asked), availability)
    experimental = policy.settings.experimental
    for candidate in decision.chain:
        model = policy.model(candidate.ref)
        provider = policy.providers[candidate.provider]
        assert provider.enabled
        assert availability.get(provider.name, ProviderState()).key
        hard = {code for code in candidate.losses if severity(code) == "hard"}
        assert hard <= set(policy.resolved.value["gate"]["allow_losses"])
        if asked["tools"]:
            assert model.tools
            field = CLIENTS.get(asked["client__name"])
            if field:
                assert getattr(model, field) in ({"yes", "experimental"} if experimental else {"yes"})
        if provider.simulated:
            assert candidate.ref in _named_openly(policy)
    assert decision.denial is not None or decision.chosen is not None


def _named_openly(policy: Policy) -> set[str]:
    """Models that a line of the policy names, by themselves or through their provider."""
    lines = [e for r in policy.routes.values() for e in r.entries]
    lines += [e for o in policy.overrides if o.route for e in o.route.entries]
    named = {entry.use for entry in lines}
    return named | {ref for ref in policy.models if ref.split("/")[0] in named} | {
        f"{name}/{model}" for name in named & set(PROVIDERS) for model in (*MODELS, "fam-new", "unheard-of")
    }  # fmt: skip


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_no_policy_can_send_an_agent_to_a_model_that_would_break_it(data: st.DataObject) -> None:
    """Tools reach only rows that call tools and are safe for the client, unless experimental is on and the row says so."""
    policy = load_text(orjson.dumps(data.draw(policies)).decode())
    for asked in data.draw(st.lists(requests, min_size=8, max_size=8)):
        _check(policy, asked, data.draw(states))
