"""The schemas as editors and programs read them: common ground of two drafts, described throughout, whole when printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from engine.policy import facts
from engine.policy.load import check_text, load_policy
from engine.policy.schemas import NAMES, bundled
from engine.policy.shipped import find_shipped, shipped_folder, shipped_policies

NEWER_THAN_DRAFT_7 = frozenset(
    {"oneOf", "anyOf", "unevaluatedProperties", "unevaluatedItems", "prefixItems", "$dynamicRef", "$defs", "$anchor", "dependentRequired",
     "dependentSchemas", "minContains", "maxContains"}
)  # fmt: skip
"""Words that draft 7 does not know, and the two that make messages useless."""


def schema(name: str) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(find_shipped("schemas", f"{name}.schema.json").read_bytes())
    return content


def walk(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every mapping of a schema with the way to it."""
    if isinstance(node, dict):
        yield path, node
        for key, below in node.items():
            yield from walk(below, (*path, key))
    elif isinstance(node, list):
        for index, below in enumerate(node):
            yield from walk(below, (*path, str(index)))


def follow(ref: str, own: str) -> tuple[dict[str, Any], str]:
    """What a reference leads to, and the schema it stands in."""
    file, _, pointer = ref.partition("#/")
    home = file.removesuffix(".schema.json") or own
    node: Any = schema(home)
    for word in pointer.split("/"):
        node = node[word]
    return node, home


def described(node: dict[str, Any], own: str) -> bool:
    """Whether an editor has something to show: a description, where need be behind a reference."""
    if "$ref" in node:
        target, home = follow(node["$ref"], own)
        return described(target, home)
    return bool(node.get("description")) or any(described(part, own) for part in node.get("allOf", ()))


def test_every_schema_can_be_printed() -> None:
    """The closed list of names is the folder's content."""
    files = {path.name.removesuffix(".schema.json") for path in shipped_folder("schemas").glob("*.schema.json")}
    assert files == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_in_the_common_part_of_both_drafts(name: str) -> None:
    """Valid in draft 7 and 2020-12, with nothing beside a $ref: editors and the gateway read the same."""
    content = schema(name)
    assert content["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(content)
    Draft202012Validator.check_schema(content)
    for path, node in walk(content):
        assert not NEWER_THAN_DRAFT_7 & node.keys(), path
        if isinstance(node.get("$ref"), str):
            assert len(node) == 1, path


@pytest.mark.parametrize("name", NAMES)
def test_every_property_is_described(name: str) -> None:
    """An editor shows what each key means; what is referred to says it for itself."""
    for path, node in walk(schema(name)):
        if path and path[-1] in {"properties", "definitions"}:
            assert [key for key, below in node.items() if not described(below, name)] == [], path


def test_hover_texts_begin_with_the_description() -> None:
    """`markdownDescription` says the same as `description`, and then shows an example."""
    seen = 0
    for name in NAMES:
        for path, node in walk(schema(name)):
            text = node.get("markdownDescription")
            if isinstance(text, str):
                seen += 1
                assert text.startswith(node["description"]), path
                assert "```yaml\n" in text, path
    assert seen >= 20


def _examples() -> list[tuple[str, str]]:
    return [
        (".".join(path), block)
        for path, node in walk(schema("policy"))
        if isinstance(node.get("markdownDescription"), str)
        for block in re.findall(r"```yaml\n(.*?)```", node["markdownDescription"], re.DOTALL)
    ]


@pytest.mark.parametrize(("place", "text"), _examples(), ids=[place for place, _ in _examples()])
def test_every_example_of_a_hover_text_is_right(place: str, text: str) -> None:
    """Pasted into a policy that extends the default, it passes the check without an error."""
    head = "" if "version:" in text else "version: 1\n"
    head += "" if "extends:" in text else "extends: [default]\n"
    problems = [p for p in check_text(head + text, file="p.yaml") if p.level == "error"]
    assert problems == [], place


def test_the_sections_of_a_policy_all_have_an_example() -> None:
    """Whoever stands on a section's key sees how it is written."""
    bare = {"name", "version", "description"}
    for name, below in schema("policy")["properties"].items():
        if name not in bare:
            target = follow(below["$ref"], "policy")[0] if "$ref" in below else below
            assert "markdownDescription" in target, name


@pytest.mark.parametrize("name", NAMES)
def test_a_printed_schema_stands_alone(name: str) -> None:
    """Every reference leads to a place inside it."""
    whole = bundled(name)
    Draft7Validator.check_schema(whole)
    for path, node in walk(whole):
        ref = node.get("$ref")
        if isinstance(ref, str):
            assert ref.startswith("#/"), path
            target: Any = whole
            for word in ref.removeprefix("#/").split("/"):
                target = target[word]
            assert isinstance(target, dict)


@pytest.mark.parametrize("name", shipped_policies())
def test_a_printed_schema_says_of_policies_what_the_parts_say(name: str) -> None:
    """In both drafts: shipped policies fit, and a wrong key deep inside a row taken from another file does not."""
    value = load_policy(name).resolved.value
    for kind in (Draft7Validator, Draft202012Validator):
        validator = kind(bundled("policy"))
        assert list(validator.iter_errors({"version": 1, **value})) == []
        wrong = {"version": 1, **value, "models": {"a/b": {"quirks": {"nonsense": 1}}}}
        assert [list(e.absolute_path) for e in validator.iter_errors(wrong)] == [["models", "a/b", "quirks"]]


def test_a_name_that_is_none_is_refused() -> None:
    """Names lead to no other file."""
    with pytest.raises(KeyError):
        bundled("../pyproject")


def test_facts_have_types_and_defaults() -> None:
    """Each fact has a type, a default of that type and a description: that is what makes documents complete."""
    for section in facts.schema()["properties"].values():
        for name, below in section.get("properties", {}).items():
            assert {"type", "default", "description"} <= below.keys(), name
