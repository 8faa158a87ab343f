"""What `extends` means: which file wins, what becomes of rules, and that every value knows where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.policy.load import check_policy, load_policy
from engine.policy.model import Policy
from engine.policy.problems import PolicyInvalid
from tests.policy.policies import ROWS

BASE = """
version: 1
name: base
routes: {fallback_safe: [requested], fast_code: [openai, anthropic]}
vars: {a: "1", b: vars.a + 1}
signals: {x: x, y: y}
settings: {port: 1000, telemetry: {enabled: false, store_prompts: true}}
fallback: {attempts: 2, on: [timeout, quota]}
classify:
  - {id: one, class: fast_code, when: request.tools > 1, note: the first}
  - {id: two, class: fast_code, when: request.tools > 2}
  - {id: three, class: fast_code, when: request.tools > 3}
gate: {require: [{id: r, require: model.tools}], allow_losses: [image]}
"""


def files(folder: Path, **texts: str) -> Path:
    """Write `name=text` as name.yaml into `folder`; the last one's path."""
    path = folder
    for name, text in texts.items():
        path = folder / f"{name}.yaml"
        path.write_text(text if "version:" in text else f"version: 1\n{text}", "utf-8")
    return path


def load(folder: Path, **texts: str) -> Policy:
    return load_policy(str(files(folder, base=BASE, **texts)))


def rules(policy: Policy) -> list[str]:
    return [rule.id for rule in policy.classify]


def errors(path: Path) -> list[tuple[str, int, str]]:
    return [(p.rule, p.span.line, p.message) for p in check_policy(str(path)) if p.level == "error"]


def test_maps_merge_scalars_replace_null_deletes(tmp_path: Path) -> None:
    """Maps merge key by key at every depth, scalars and plain lists are replaced, null takes away."""
    child = """
extends: [./base.yaml]
signals: {x: null, z: z}
vars: {c: vars.b}
settings: {port: 2000, telemetry: {store_prompts: false}}
fallback: {on: [timeout]}
gate: {allow_losses: [document]}
routes: {fast_code: null}
"""
    policy = load(tmp_path, child=child)
    assert set(policy.signals) == {"y", "z"}
    assert [name for name, _ in policy.vars] == ["a", "b", "c"]
    assert policy.settings.port == 2000
    assert (policy.settings.telemetry_enabled, policy.settings.store_prompts) == (False, False)
    assert (policy.fallback.attempts, policy.fallback.on) == (2, {"timeout"})
    assert policy.resolved.value["gate"]["allow_losses"] == ["document"]
    assert set(policy.routes) == {"fallback_safe"}
    assert policy.name == "child"


def test_a_route_is_replaced_whole(tmp_path: Path) -> None:
    """Candidates of different files are never mixed."""
    policy = load(tmp_path, child="extends: ./base.yaml\nroutes: {fast_code: [groq]}")
    assert [entry.use for entry in policy.routes["fast_code"].entries] == ["groq"]
    assert [entry.use for entry in policy.routes["fallback_safe"].entries] == ["requested"]


def test_rules_merge_by_id(tmp_path: Path) -> None:
    """The same id replaces the whole rule in its place; new ids go to the end, before or after another."""
    child = """
extends: [./base.yaml]
classify:
  - {id: two, class: fallback_safe, when: request.stream}
  - {id: last, class: fast_code, when: request.turns > 1}
  - {id: first, class: fast_code, when: request.turns > 2, before: one}
  - {id: after-one, class: fast_code, when: request.turns > 3, after: one}
  - {id: after-that, class: fast_code, when: request.turns > 4, after: after-one}
  - remove: [three]
"""
    policy = load(tmp_path, child=child)
    assert rules(policy) == ["first", "one", "after-one", "after-that", "two", "last"]
    assert policy.classify[4].route_class == "fallback_safe"
    assert [rule.id for rule in policy.require] == ["r"]


def test_a_rule_is_never_merged_with_its_namesake(tmp_path: Path) -> None:
    """No field of the replaced rule survives."""
    policy = load(tmp_path, child="extends: ./base.yaml\nclassify: [{id: one, class: fast_code, when: request.stream}]")
    assert "note" not in policy.resolved.value["classify"][0]


def test_a_rule_may_be_moved(tmp_path: Path) -> None:
    """The same id with before or after goes to its new place."""
    policy = load(
        tmp_path,
        child="extends: ./base.yaml\nclassify: [{id: three, class: fast_code, when: request.stream, before: one}]",
    )
    assert rules(policy) == ["three", "one", "two"]


def test_parents_with_a_common_ancestor_keep_their_changes(tmp_path: Path) -> None:
    """Each file is laid on once, after those it extends: the second parent does not bring the ancestor's values back."""
    policy = load(
        tmp_path,
        left="extends: ./base.yaml\nsettings: {port: 3000}\nclassify: [{id: one, class: fast_code, when: request.stream}]",
        right="extends: ./base.yaml\nsettings: {keepalive_seconds: 5}",
        child="extends: [./left.yaml, ./right.yaml]",
    )
    assert (policy.settings.port, policy.settings.keepalive_seconds) == (3000, 5.0)
    assert policy.classify[0].when is not None
    assert policy.classify[0].when.source == "request.stream"
    assert [Path(file).name for file in policy.sources] == ["base.yaml", "left.yaml", "right.yaml", "child.yaml"]


def test_two_parents_that_disagree_need_the_child(tmp_path: Path) -> None:
    """Different rules under one id are refused unless the child says which, or removes it."""
    parents = {
        "left": "extends: ./base.yaml\nclassify: [{id: new, class: fast_code, when: request.stream}]",
        "right": "extends: ./base.yaml\nclassify: [{id: new, class: fast_code, when: request.thinking}]",
    }
    path = files(tmp_path, base=BASE, **parents, child="extends: [./left.yaml, ./right.yaml]")
    assert [(rule, line) for rule, line, _ in errors(path)] == [("extends-conflict", 3)]
    for own in ("{id: new, class: fast_code, when: request.tools > 9}", "{remove: [new]}"):
        settled = f"extends: [./left.yaml, ./right.yaml]\nclassify: [{own}]"
        assert errors(files(tmp_path, child=settled)) == []
    same = "extends: ./base.yaml\nclassify: [{id: new, class: fast_code, when: request.stream}]"
    assert errors(files(tmp_path, right=same, child="extends: [./left.yaml, ./right.yaml]")) == []


def test_a_policy_may_extend_itself_neither_directly_nor_around(tmp_path: Path) -> None:
    """Cycles are told with the way round."""
    path = files(tmp_path, a="extends: ./b.yaml", b="extends: ./c.yaml", c="extends: ./a.yaml")
    ((rule, line, message),) = errors(path)
    assert (rule, line) == ("extends-cycle", 2)
    assert message.count("→") == 3
    assert errors(files(tmp_path, own="extends: ./own.yaml"))[0][0] == "extends-cycle"


def test_chains_end_somewhere(tmp_path: Path) -> None:
    """Five parents in a row are fine, six are not."""
    names = {"p0": BASE, **{f"p{n}": f"extends: ./p{n - 1}.yaml" for n in range(1, 7)}}
    files(tmp_path, **names)
    assert errors(tmp_path / "p5.yaml") == []
    assert [rule for rule, _, _ in errors(tmp_path / "p6.yaml")] == ["extends-depth"]


def test_shipped_policies_are_extended_by_name(tmp_path: Path) -> None:
    """A bare name is a shipped policy even if a file of that name lies beside; a path is the file."""
    files(tmp_path, default=BASE)
    shipped = load_policy(str(files(tmp_path, a="extends: [default]")))
    assert Path(shipped.sources[0]).parent != tmp_path
    own = load_policy(str(files(tmp_path, a="extends: [default.yaml]")))
    assert rules(own) == ["one", "two", "three"]


def test_every_value_knows_its_origin(tmp_path: Path) -> None:
    """The merged policy says for each path in which file and line it stands."""
    policy = load(
        tmp_path, child="extends: [./base.yaml]\nsettings: {port: 2000}\nclassify: [{id: two, class: x, when: true}]"
    )
    origins = policy.resolved.origins

    def place(*path: str | int) -> tuple[str, int]:
        span = origins[path]
        return Path(span.file).name, span.line

    assert place("settings", "port") == ("child.yaml", 3)
    assert place("settings", "telemetry", "enabled") == ("base.yaml", 7)
    assert place("classify", 0) == ("base.yaml", 10)
    assert place("classify", 1, "when") == ("child.yaml", 4)
    assert place("models", next(iter(policy.models)))[0] == "models.yaml"


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    """The same policy in other files has the same digest; another port, row or order of providers another one."""
    split = load(tmp_path, child="extends: [./base.yaml]\nsettings: {port: 2000}")
    whole = load_policy(str(files(tmp_path, whole="# said in one file\n" + BASE.replace("port: 1000", "port: 2000"))))
    assert split.digest == whole.digest
    assert split.label == f"child@{split.digest[:12]}"
    other = load_policy(str(files(tmp_path, whole=BASE)))
    assert other.digest != whole.digest
    one = "providers: {{a: {0}, b: {0}}}\nroutes: {{fallback_safe: [requested]}}".format(
        '{protocol: openai-chat, base_url: "http://127.0.0.1:1"}'
    )
    turned = one.replace("a:", "c:").replace("b:", "a:").replace("c:", "b:")
    digests = {load_policy(str(files(tmp_path, rows=text))).digest for text in (one, turned)}
    assert len(digests) == 2


def test_rows_are_overridden_field_by_field(tmp_path: Path) -> None:
    """A policy changes a field of a row and leaves the rest; null takes a row or an endpoint away."""
    files(tmp_path, rows=ROWS + "routes: {fallback_safe: [requested]}")
    child = """
extends: ./rows.yaml
providers:
  alpha: {base_url: "http://127.0.0.1:9"}
  beta: {quirks: {strict: true}, timeouts: {connect: 2}, protocols: {openai-chat: null}}
  gamma: {protocol: anthropic-messages, base_url: "http://127.0.0.1:8/"}
  toy: {protocols: {anthropic-messages: "http://127.0.0.1:7"}}
  "off": null
models:
  alpha/al-big: {vision: false, price: {output: 20}, quirks: {prefill: false}}
  off/there: null
"""
    path = files(tmp_path, child=child)
    assert [(rule, line) for rule, line, _ in errors(path)] == [("provider-address", 5)]
    text = path.read_text().replace('alpha: {base_url: "http://127.0.0.1:9"}', "alpha: {protocol: openai-chat}")
    policy = load_policy(str(files(tmp_path, child=text)))
    providers = policy.providers
    assert providers["alpha"].endpoints == {"openai-chat": "http://127.0.0.1:1/v1"}
    assert providers["alpha"].api_key_env == ("ALPHA_KEY", "ALPHA_TOKEN")
    assert providers["beta"].endpoints == {"openai-responses": "http://127.0.0.1:2/v1"}
    assert (providers["beta"].quirks.strict, providers["beta"].quirks.tools_with_reasoning) == (True, False)
    assert (providers["beta"].timeouts.connect, providers["beta"].timeouts.idle) == (2.0, 120.0)
    assert providers["gamma"].endpoints == {"anthropic-messages": "http://127.0.0.1:8"}
    assert set(providers["toy"].endpoints) == {"openai-chat", "anthropic-messages"}
    assert "off" not in providers
    model = policy.models["alpha/al-big"]
    assert (model.tools, model.vision, model.quirks.prefill) == (True, False, False)
    assert model.price == {"input": 3, "output": 20}


def test_one_address_serves_all_protocols_of_a_row(tmp_path: Path) -> None:
    """`base_url` alone moves a provider whose protocols share an address."""
    files(tmp_path, rows=ROWS + "routes: {fallback_safe: [requested]}")
    policy = load_policy(
        str(files(tmp_path, child='extends: ./rows.yaml\nproviders: {beta: {base_url: "http://127.0.0.1:9/v1"}}'))
    )
    assert policy.providers["beta"].endpoints == dict.fromkeys(
        ("openai-responses", "openai-chat"), "http://127.0.0.1:9/v1"
    )


def test_an_overlay_goes_on_top(tmp_path: Path) -> None:
    """Plain data is laid over the whole policy, which keeps its name; its mistakes are told."""
    path = str(files(tmp_path, base=BASE))
    policy = load_policy(path, overlay={"version": 1, "settings": {"port": 4}, "routes": {"fast_code": ["groq"]}})
    assert (policy.name, policy.settings.port) == ("base", 4)
    assert [entry.use for entry in policy.routes["fast_code"].entries] == ["groq"]
    with pytest.raises(PolicyInvalid, match="no provider 'grok'"):
        load_policy(path, overlay={"version": 1, "routes": {"fast_code": ["grok"]}})
