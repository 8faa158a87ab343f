"""The short configuration file: what it maps onto, what it may not say, and where its mistakes are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy.gateway_config import GatewayConfig, find_config, parse_config, read_config
from engine.policy.problems import PolicyInvalid, Problem

MISSION = {
    "port": 8787,
    "auth": {"mode": "local-key", "keys": ["local-dev-key"]},
    "routing": {
        "default": "auto",
        "experimentalModels": False,
        "routes": {
            "cheap_edit": ["cloudflare", "groq", "cerebras"],
            "fast_code": ["groq", "cerebras", "cloudflare"],
            "deep_reasoning": ["anthropic", "openai", "cerebras"],
            "tool_heavy": ["anthropic", "openai"],
            "long_context": ["anthropic", "openai"],
            "fallback_safe": ["anthropic", "openai"],
        },
    },
    "cache": {
        "enabled": True,
        "storage": "sqlite",
        "path": ".stackbilt/gateway/cache.sqlite",
        "responseCache": False,
        "prefixCache": True,
    },
    "telemetry": {
        "enabled": True,
        "storePrompts": False,
        "redactSecrets": True,
        "path": ".stackbilt/gateway/events.sqlite",
    },
}


def parse(value: Any, *, trusted: bool = True) -> GatewayConfig:
    return parse_config(json.dumps(value, indent=2).encode(), "gateway.config.json", trusted=trusted)


def problems(data: bytes | dict[str, Any], *, trusted: bool = True) -> tuple[Problem, ...]:
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    with pytest.raises(PolicyInvalid) as caught:
        parse_config(text, "gateway.config.json", trusted=trusted)
    return caught.value.problems


def test_the_documented_example() -> None:
    """The product's own example maps onto routes, settings and caches, its keys beside the policy."""
    found = parse(MISSION)
    assert found.policy == "default"
    assert found.keys == ("local-dev-key",)
    assert found.fragment == {
        "version": 1,
        "settings": {
            "port": 8787,
            "auth": {"mode": "local-key"},
            "experimental": False,
            "telemetry": {"enabled": True, "store_prompts": False, "redact_secrets": True},
        },
        "routes": {
            "cheap_edit": ["cloudflare", "groq", "cerebras", "anthropic", "openai"],
            "fast_code": ["groq", "cerebras", "cloudflare", "anthropic", "openai"],
            "deep_reasoning": ["anthropic", "openai", "cerebras"],
            "tool_heavy": ["anthropic", "openai"],
            "long_context": ["anthropic", "openai"],
            "fallback_safe": ["anthropic", "openai"],
        },
        "cache": {"response": False, "prefix": True},
    }
    assert [note.split()[0] for note in found.notes] == ["cache.storage", "cache.path", "telemetry.path"]


def test_keys_are_not_in_the_policy_part() -> None:
    """A gateway key never becomes a part of the policy, which is recorded."""
    assert "local-dev-key" not in json.dumps(parse(MISSION).fragment)


def test_a_route_without_a_safe_one_ends_with_the_requested_model() -> None:
    """A list of cheap providers alone would leave an agent without an answer."""
    found = parse({"routing": {"routes": {"fast_code": ["groq"]}}})
    assert found.fragment == {"version": 1, "routes": {"fast_code": ["groq", "requested"]}}


def test_a_default_provider_takes_what_no_rule_knows() -> None:
    """`routing.default` stands at the front of the safe route, unless that is written."""
    assert parse({"routing": {"default": "openai"}}).fragment == {
        "version": 1,
        "routes": {"fallback_safe": ["openai", "requested"]},
    }
    written = parse({"routing": {"default": "openai", "routes": {"fallback_safe": ["groq"]}}})
    assert written.fragment == {"version": 1, "routes": {"fallback_safe": ["groq"]}}
    assert parse({"routing": {"default": "auto"}}).fragment == {"version": 1}


def test_caches_can_be_switched_off_together() -> None:
    """`cache.enabled: false` is stronger than what is said of each cache."""
    off = {"response": False, "prefix": False}
    assert parse({"cache": {"enabled": False}}).fragment == {"version": 1, "cache": off}
    for order in (["enabled", "prefixCache"], ["prefixCache", "enabled"]):
        said = {"enabled": False, "prefixCache": True}
        assert parse({"cache": {key: said[key] for key in order}}).fragment["cache"]["prefix"] is False


def test_an_empty_file_says_nothing() -> None:
    """An empty object leaves the policy as it is."""
    found = parse({})
    assert (found.fragment, found.keys, found.policy, found.notes) == ({"version": 1}, (), "default", ())


@pytest.mark.parametrize(
    "said",
    [
        {"auth": {"mode": "none"}},
        {"auth": {"keys": ["x"]}},
        {"host": "0.0.0.0"},
        {"policy": "evil.yaml"},
        {"telemetry": {"storePrompts": True}},
        {"telemetry": {"redactSecrets": False}},
    ],
)
def test_the_working_directory_may_not_weaken_the_gateway(said: dict[str, Any]) -> None:
    """Such a key is refused in a file that merely lies there, and taken with --config."""
    (problem,) = problems(said, trusted=False)
    assert problem.rule == "config-untrusted"
    assert "--config gateway.config.json" in problem.hint
    assert parse(said, trusted=True)


@pytest.mark.parametrize(
    "said",
    [
        {"port": 9000, "routing": {"experimentalModels": True, "routes": {"cheap_edit": ["groq"]}}},
        {"auth": {"mode": "local-key"}, "telemetry": {"storePrompts": False, "redactSecrets": True, "enabled": False}},
        {"policy": "strict"},
    ],
)
def test_the_working_directory_may_choose(said: dict[str, Any]) -> None:
    """Choosing among what is there needs no --config."""
    assert parse(said, trusted=False)


@pytest.mark.parametrize("key", ["providers", "models", "baseUrl", "url"])
def test_no_file_of_this_format_names_addresses(key: str) -> None:
    """Where prompts are sent is said in a policy only."""
    (problem,) = problems({key: {}})
    assert problem.rule == "config-key"
    assert "policy" in problem.hint


def test_unknown_keys_get_a_suggestion() -> None:
    """A misspelt key is named with its place and its likely meaning, all of them at once."""
    found = problems(
        b'{\n  "prot": 1,\n  "routing": {"experimentalModel": true},\n  "telemetry": {"stroePrompts": true}\n}'
    )
    assert [(p.span.line, p.span.column, p.rule) for p in found] == [
        (2, 3, "config-key"), (3, 15, "config-key"), (4, 17, "config-key")
    ]  # fmt: skip
    assert "did you mean 'port'?" in found[0].message
    assert "did you mean 'experimentalModels'?" in found[1].message
    assert found[0].excerpt == '  "prot": 1,'


def test_unknown_classes_get_a_suggestion() -> None:
    """A route for a class that does not exist is a mistake, not a new class."""
    (problem,) = problems({"routing": {"routes": {"cheap_edits": ["groq"]}}})
    assert (problem.rule, "cheap_edit'" in problem.message) == ("config-class", True)


@pytest.mark.parametrize(
    "said",
    [
        {"port": "8787"},
        {"port": True},
        {"auth": "none"},
        {"auth": {"keys": "x"}},
        {"auth": {"keys": [1]}},
        {"routing": {"experimentalModels": "yes"}},
        {"routing": {"routes": ["groq"]}},
        {"routing": {"routes": {"cheap_edit": "groq"}}},
        {"routing": {"routes": {"cheap_edit": []}}},
        {"routing": {"routes": {"cheap_edit": [1]}}},
        {"telemetry": {"enabled": None}},
    ],
)
def test_wrong_types(said: dict[str, Any]) -> None:
    """A value of the wrong kind is told, with the key's name."""
    (problem,) = problems(said)
    assert problem.rule == "config-type"


def test_wrong_mode() -> None:
    """A mode that does not exist is told with those that do."""
    (problem,) = problems({"auth": {"mode": "off"}})
    assert (problem.rule, "local-key or none" in problem.message) == ("config-value", True)


@pytest.mark.parametrize(
    ("data", "line"),
    [(b"", 1), (b"{", 1), (b'{\n "port": 1,\n}', 2), (b"{'port': 1}", 1), (b"{port: 1}", 1), (b'{"a": 1 // no\n}', 1)],
)
def test_only_strict_json(data: bytes, line: int) -> None:
    """YAML, comments and trailing commas are no JSON; the place is told."""
    (problem,) = problems(data)
    assert (problem.rule, problem.span.line) == ("config-json", line)


@pytest.mark.parametrize("data", [b"[]", b"1", b'"x"', b"null"])
def test_only_an_object(data: bytes) -> None:
    """The file is one object."""
    assert problems(data)


def test_no_key_twice() -> None:
    """A key that stands twice is a mistake: readers differ in which one they take."""
    (problem,) = problems(b'{"port": 1, "port": 2}')
    assert problem.span.column == 13


def test_tabs_and_escapes_are_read() -> None:
    """JSON may be indented with tabs and hold escaped slashes."""
    found = parse_config(b'{\n\t"routing": {\n\t\t"default": "groq\\/x"\n\t}\n}', "f", trusted=True)
    assert found.fragment["routes"]["fallback_safe"][0] == "groq/x"


def test_values_know_their_place() -> None:
    """What is laid over the policy points at the file, for the problems that are found later."""
    found = parse_config(b'{\n "routing": {"routes": {"cheap_edit": ["nobody"]}}}', "f.json", trusted=True)
    node = found.root.follow(["routes", "cheap_edit", 0])
    assert (node.span.file, node.span.line, node.span.column) == ("f.json", 2, 40)


def test_the_file_is_found(tmp_path: Path) -> None:
    """Two names are looked for, in an order that is always the same."""
    assert find_config(tmp_path) is None
    (tmp_path / "stackbilt.gateway.json").write_text("{}")
    assert find_config(tmp_path) == tmp_path / "stackbilt.gateway.json"
    (tmp_path / "gateway.config.json").write_text("{}")
    assert find_config(tmp_path) == tmp_path / "gateway.config.json"
    assert read_config(tmp_path / "gateway.config.json", trusted=False).fragment == {"version": 1}


def test_a_file_that_is_gone() -> None:
    """A file that can't be read is a problem, not a crash."""
    with pytest.raises(PolicyInvalid) as caught:
        read_config(Path("/nowhere/gateway.config.json"), trusted=True)
    assert caught.value.problems[0].rule == "config-file"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(["port", "auth", "mode", "keys", "routing", "default", "routes", "cheap_edit", "cache"])
            | st.text(max_size=5),
            below,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def refused(data: bytes, *, trusted: bool) -> bool:
    try:
        json.dumps(parse_config(data, "f", trusted=trusted).fragment)
    except PolicyInvalid as error:
        return bool(error.problems)
    return False


@settings(deadline=None, max_examples=150)
@given(JSON, st.booleans())
def test_any_json_is_read_or_refused(value: Any, trusted: bool) -> None:
    """Whatever stands in the file, the answer is a configuration or problems; only an object can be one."""
    assert refused(json.dumps(value).encode(), trusted=trusted) or isinstance(value, dict)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=40))
def test_any_bytes_are_refused(data: bytes) -> None:
    """Bytes that are no JSON give a problem."""
    assert refused(data, trusted=False) or data.strip().startswith(b"{")
