"""Reads a file of tests: its shape, its policy, and whether every name in it is one that exists.

All problems are found before anything runs, since a test with a wrong name would pass or fail for the wrong reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from engine.policy.document import load_document
from engine.policy.load import load_policy
from engine.policy.model import Policy
from engine.policy.nodes import Node, Source
from engine.policy.problems import PolicyInvalid, Problem
from engine.policy.shape import check_shape, without
from engine.policy.shipped import shipped_folder
from engine.policy.testing.given import DERIVED, clock, merged
from engine.policy.testing.names import check_names
from engine.policy.testing.suite import Scenario, Suite

SUFFIX = re.compile(r"\.test\.ya?ml$")

MAX_BYTES = 1024 * 1024
"""Tests are longer than policies."""


def load_suite(path: Path) -> tuple[Suite | None, list[Problem]]:
    """The tests in `path`, or everything that is wrong with them, sorted by place.

    A policy that can't be used gives its own problems. Raises OSError when the file can't be read.
    """
    return read_suite(path.read_bytes(), path)


def read_suite(data: bytes, path: Path) -> tuple[Suite | None, list[Problem]]:
    """The tests in `data`, as if they stood at `path`."""
    loaded = load_document(data, str(path), max_bytes=MAX_BYTES)
    if loaded.root is None:
        return None, _sorted(loaded.problems)
    problems = list(loaded.problems)
    root = _given_only(loaded.root, problems)
    found, root = check_shape(root, "policy-test.schema.json", shipped_folder("schemas"))
    problems += found
    policy = _policy(root, path, problems)
    shared = _given(root.get("given"), problems)
    scenarios = tuple(_scenarios(root, shared, problems))
    if policy is not None:
        check_names(root, policy, problems)
    if policy is None or any(problem.level == "error" for problem in problems):
        return None, _sorted(problems)
    return Suite(loaded.source.file, policy, scenarios), _sorted(problems)


def _sorted(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(dict.fromkeys(problems), key=lambda p: (p.span, p.rule))


def _policy(root: Node, path: Path, problems: list[Problem]) -> Policy | None:
    """The tested policy: the one named, else the one beside the file."""
    named = root.get("policy")
    own = SUFFIX.sub("", path.name) + ".yaml"
    try:
        policy = load_policy(str(named.value) if named is not None else own, search=path.parent)
    except PolicyInvalid as error:
        missing = error.problems[0]
        if missing.rule != "policy-missing":
            problems += error.problems
        elif named is not None:
            problems.append(named.problem(missing.rule, missing.message, hint=missing.hint))
        else:
            message = f"there is no policy '{own}' beside this file"
            problems.append(_top(root.source, "policy-missing", message, hint="name it: policy: FILE"))
        return None
    return policy


def _top(source: Source, rule: str, message: str, *, hint: str) -> Problem:
    return source.problem(0, 1, rule, message, hint=hint)


def _tests(root: Node) -> tuple[Node, ...]:
    tests = root.get("tests")
    return tests.items if tests is not None else ()


def _scenarios(root: Node, shared: dict[str, Any], problems: list[Problem]) -> Iterator[Scenario]:
    seen: dict[str, Node] = {}
    for test in _tests(root):
        name, expect = test.get("name"), test.get("expect")
        given = merged(shared, _given(test.get("given"), problems))
        if name is None or expect is None:
            continue
        first = seen.setdefault(str(name.value), name)
        if first is not name:
            message = f"another test has this name (line {first.span.line})"
            problems.append(name.problem("test-name", message))
        places = {key: node.span for key, node in expect.map.items()}
        yield Scenario(str(name.value), name.span, given, expect.plain(), places)


def _given(node: Node | None, problems: list[Problem]) -> dict[str, Any]:
    """`given` in plain data, a time written in one piece taken apart."""
    plain: dict[str, Any] = node.plain() if node is not None else {}
    if isinstance(plain.get("now"), str):
        assert node is not None
        try:
            plain["now"] = clock(plain["now"])
        except ValueError:
            problems.append(node.map["now"].problem("schema-value", "no calendar or clock has this time"))
            del plain["now"]
    return plain


def _given_only(root: Node, problems: list[Problem]) -> Node:
    """The tree without facts that no test can give, each of them told."""
    faulty: set[Node] = set()
    for holder in (root, *_tests(root)):
        given = holder.get("given")
        for path, why in DERIVED.items():
            node = given.get(*path.split(".")) if given is not None else None
            if node is not None:
                faulty.add(node)
                problems.append(node.problem("test-derived", f"{path} can't be given", hint=why, at_key=True))
    return without(root, faulty)
