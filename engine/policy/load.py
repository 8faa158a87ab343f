"""From a policy's name or path to a compiled policy, or to everything that is wrong with it.

The only module of this package that reads policy files. A path that exists wins over a shipped name; `extends` means shipped
names, or files relative to the one that says it. The shipped rows of providers and models lie below every policy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from engine.policy import facts
from engine.policy.compile import compile_policy
from engine.policy.compose import Layer, Resolved, compose
from engine.policy.document import Loaded, load_document
from engine.policy.migrate import brought_up, newer
from engine.policy.model import Policy
from engine.policy.nodes import Node, Source
from engine.policy.problems import PolicyInvalid, Problem
from engine.policy.shape import check_shape
from engine.policy.shipped import find_shipped, shipped_folder, shipped_policies
from engine.policy.suggest import did_you_mean, listing

MAX_DEPTH = 5
"""How far a chain of `extends` may go."""

CATALOGUE = ("providers", "models")
"""Shipped rows that lie below every policy."""

_MAX_ROWS_BYTES = 1024 * 1024

_ALONE = ("cel-", "cond-constant", "yaml-", "signal-regex", "canary-")
"""Checks whose findings are true whatever else a policy says."""

Graph = Callable[[Policy], list[Problem]]
"""Every problem of a policy's stage graph; the graph is above this package."""


def load_policy(ref: str, *, search: Path | None = None, overlay: Node | Mapping[str, Any] | None = None) -> Policy:
    """The policy `ref`: a path, or a shipped name with or without `.yaml`. Raises PolicyInvalid with all problems.

    Relative paths start from `search`, by default the working directory. `overlay` is a part of a policy that is laid over
    it: a tree, whose positions problems then show, or plain data.
    """
    return _usable(*_load(ref, search or Path(), _Loader(), _tree(overlay)))


def load_text(text: str, *, file: str = "policy.yaml", folder: Path | None = None) -> Policy:
    """A policy from text, as if it stood in `folder/file`. Raises PolicyInvalid."""
    return _usable(*_read(text, file, folder, _Loader()))


def check_policy(
    ref: str, *, search: Path | None = None, today: date | None = None, graph: Graph | None = None
) -> list[Problem]:
    """Every problem of the policy `ref`, lints included, sorted by place.

    `today` is the date that ages are counted to, `graph` finds the problems of the stage graph.
    """
    search = search or Path()
    path = _find(ref, search)
    if path is not None and _shipped(path) and path.stem in CATALOGUE:  # rows lie below every policy
        path = find_shipped("policies", "default.yaml")
        ref = str(path.resolve())
    # Shipped files are checked when they are asked for; below a user's own policy they are known to be sound.
    loader = _Loader(trusting=path is None or not _shipped(path))
    return _checked(loader, *_load(ref, search, loader), today=today, graph=graph)


def check_text(
    text: str | bytes,
    *,
    file: str,
    folder: Path | None = None,
    today: date | None = None,
    graph: Graph | None = None,
) -> list[Problem]:
    """Every problem of a policy given as text, as if it stood in `folder/file`: for editors."""
    loader = _Loader()
    return _checked(loader, *_read(text, file, folder, loader), today=today, graph=graph)


def read_policy(ref: str, *, search: Path | None = None) -> Loaded | None:
    """The file that `ref` means, by itself; None when there is none. Raises OSError."""
    path = _find(ref, search or Path())
    return load_document(path.read_bytes(), _shown(path)) if path is not None else None


def shipped_rows() -> dict[str, Mapping[str, Any]]:
    """The shipped rows of `providers` and `models`, as they lie below every policy."""
    layers = _Loader().catalogue([])
    merged: dict[str, Mapping[str, Any]] = compose(layers)[0].plain()
    return merged


def _usable(policy: Policy | None, problems: list[Problem]) -> Policy:
    if policy is None or any(problem.level == "error" for problem in problems):
        raise PolicyInvalid(problems)
    return replace(policy, warnings=tuple(problems))


def _checked(
    loader: _Loader, policy: Policy | None, problems: list[Problem], *, today: date | None, graph: Graph | None
) -> list[Problem]:
    """With what only a whole policy shows: the stage graph, and the lints; of a faulty one, what is true all the same."""
    from engine.policy.lint import lint  # noqa: PLC0415  serving needs no lints

    if policy is not None:
        sound = not any(problem.level == "error" for problem in problems)
        if graph is not None:
            problems = problems + _of_graph(policy, graph, sound=sound)
        problems = problems + lint(policy, today=today, sound=sound)
    told = (p for p in problems if p.level == "error" or loader.asked_for(p.span.file))
    return _sorted(list(told))


def _of_graph(policy: Policy, graph: Graph, *, sound: bool) -> list[Problem]:
    """The stage graph's problems, with their lines. Rules that a gate names may be among those that are refused already."""
    section = policy.resolved.root.get("pipeline")
    if section is not None and section.flawed:
        return []
    files = {source.file: source for source in policy.resolved.sources}
    found = [problem for problem in graph(policy) if sound or problem.rule != "graph-with"]
    return [replace(p, excerpt=files[p.span.file].excerpt(p.span.line) if p.span.file in files else "") for p in found]


def _sorted(problems: Sequence[Problem]) -> list[Problem]:
    return sorted(dict.fromkeys(problems), key=lambda p: (p.span, p.rule))


def _read(text: str | bytes, file: str, folder: Path | None, loader: _Loader) -> tuple[Policy | None, list[Problem]]:
    path = (folder or Path()) / file
    data = text.encode() if isinstance(text, str) else text
    return _finish(loader, loader.add(load_document(data, file), path, ()), path.stem)


def _tree(overlay: Node | Mapping[str, Any] | None) -> Node | None:
    if overlay is None or isinstance(overlay, Node):
        return overlay
    return load_document(orjson.dumps(overlay), "settings").root


def _load(ref: str, search: Path, loader: _Loader, overlay: Node | None = None) -> tuple[Policy | None, list[Problem]]:
    path = _find(ref, search)
    if path is None:
        name = Path(ref).name.removesuffix(".yaml")
        message = f"there is no policy '{ref}'{did_you_mean(name, shipped_policies())}"
        hint = f"shipped: {listing(shipped_policies())}; or give a path"
        return None, [Source(ref, "").problem(0, 1, "policy-missing", message, hint=hint)]
    problems = loader.read(path, ())
    if overlay is not None and loader.complete:
        problems += loader.overlay(overlay)
    return _finish(loader, problems, path.stem)


def _find(ref: str, search: Path) -> Path | None:
    """The file that `ref` means: a path that exists, else a shipped policy.

    A bare word is a shipped name first: a file of that name may lie in a repository that somebody else wrote.
    """
    path = search / ref
    bare = "." not in ref and Path(ref).name == ref
    if path.is_file() and not (bare and ref in shipped_policies()):
        return path
    name = ref if ref.endswith((".yaml", ".yml")) else f"{ref}.yaml"
    if Path(name).name != name or Path(name).stem in CATALOGUE:
        return None
    try:
        return find_shipped("policies", name)
    except FileNotFoundError:
        return None


def _finish(loader: _Loader, problems: list[Problem], stem: str) -> tuple[Policy | None, list[Problem]]:
    if not loader.layers:
        return None, problems
    root, found = compose([*loader.catalogue(problems), *loader.layers])
    named = loader.main.get("name") if loader.main is not None else None
    name = str(named.value) if named is not None else stem
    resolved = Resolved(name, root, tuple(layer.root.source for layer in loader.layers))
    policy, more = compile_policy(resolved, facts.schema(), partial=not loader.complete)
    found += more
    if not loader.complete:  # what names something may mean what could not be read
        found = [problem for problem in found if problem.rule.startswith(_ALONE)]
    return policy, _sorted([*problems, *found])


@lru_cache(maxsize=4)
def _catalogue(path: Path, _changed: int) -> Loaded:
    """Shipped rows, read once for each version of the file."""
    return load_document(path.read_bytes(), _shown(path), max_bytes=_MAX_ROWS_BYTES)


class _Loader:
    """Reads a policy and what it extends, parents first, each file once."""

    def __init__(self, *, trusting: bool = True) -> None:
        """`trusting`: the shape of shipped files is not checked again. A test proves it, and a start shall be quick."""
        self.layers: list[Layer] = []
        self.main: Node | None = None
        """The policy that was asked for, which names the whole."""
        self.complete = True
        """Everything has been found and read; without it, checks of names would be false alarms."""
        self._trusting = trusting
        self._foreign: set[str] = set()
        self._ancestors: dict[str, frozenset[str]] = {}

    def asked_for(self, file: str) -> bool:
        """Whether warnings about the file are for whoever asked: those of shipped files below a policy are not."""
        return file not in self._foreign

    def catalogue(self, problems: list[Problem]) -> list[Layer]:
        """The shipped rows, as the lowest layers."""
        layers: list[Layer] = []
        for kind in CATALOGUE:
            path = find_shipped("policies", f"{kind}.yaml")
            if self._trusting:
                self._foreign.add(_shown(path))
            loaded = _catalogue(path, path.stat().st_mtime_ns)
            problems += loaded.problems
            if loaded.root is not None:
                layers.append(Layer(self._shaped(loaded.root, path, f"{kind}.schema.json", problems)))
        return layers

    def _shaped(self, root: Node, path: Path, schema: str, problems: list[Problem]) -> Node:
        if self._trusting and _shipped(path):
            return root
        found, sound = check_shape(root, schema, shipped_folder("schemas"))
        problems += found
        return sound

    def read(self, path: Path, chain: tuple[Path, ...]) -> list[Problem]:
        """Read `path` and everything below it; `chain` is the way of `extends` that led here."""
        file = _shown(path)
        if file in self._ancestors:
            return []
        try:
            data = path.read_bytes()
        except OSError as error:
            self.complete = False
            return [Source(file, "").problem(0, 1, "policy-missing", f"can't read the file: {error.strerror}")]
        return self.add(load_document(data, file), path, chain)

    def add(self, loaded: Loaded, path: Path, chain: tuple[Path, ...]) -> list[Problem]:
        """Take in a file that has been read."""
        loaded = brought_up(loaded)
        problems = list(loaded.problems)
        if self._trusting and chain and _shipped(path):
            self._foreign.add(loaded.source.file)
        self.complete = self.complete and not loaded.partial
        late = newer(loaded.root) if loaded.root is not None else None
        if late is not None:
            self.complete = False
            return [late]
        root = self._shaped(loaded.root, path, "policy.schema.json", problems) if loaded.root is not None else None
        if root is None or not isinstance(root.value, dict):
            self.complete = False
            return problems
        ancestors: set[str] = set()
        extends = root.get("extends")
        for node in (extends.items or (extends,)) if extends is not None else ():
            told = self._parent(node, path, (*chain, path), ancestors)
            self.complete = self.complete and not any(problem.rule.startswith("extends-") for problem in told)
            problems += told
        self._ancestors[loaded.source.file] = frozenset(ancestors)
        self.layers.append(Layer(root, frozenset(ancestors)))
        self.main = root
        return problems

    def overlay(self, root: Node) -> list[Problem]:
        """Take in a part of a policy that overrules everything read so far."""
        problems, sound = check_shape(root, "policy.schema.json", shipped_folder("schemas"))
        self.layers.append(Layer(sound, frozenset(self._ancestors)))
        return problems

    def _parent(self, node: Node, path: Path, chain: tuple[Path, ...], ancestors: set[str]) -> list[Problem]:
        ref = str(node.value)
        parent = _find_parent(ref, path.parent)
        if parent is None:
            message = f"there is no policy '{ref}'{did_you_mean(ref, shipped_policies())}"
            hint = f"shipped: {listing(shipped_policies())}; or a path relative to this file"
            return [node.problem("extends-missing", message, hint=hint)]
        names = [_shown(p) for p in chain]
        file = _shown(parent)
        if file in names:
            way = " → ".join([*names[names.index(file) :], file])
            return [node.problem("extends-cycle", f"this policy extends itself: {way}")]
        if len(chain) > MAX_DEPTH:
            return [node.problem("extends-depth", f"more than {MAX_DEPTH} policies extend each other in a row")]
        problems = self.read(parent, chain)
        ancestors |= {file} | self._ancestors.get(file, frozenset())
        return problems


def _find_parent(ref: str, folder: Path) -> Path | None:
    """A bare name is a shipped policy; anything with a suffix or a folder is a file, if it exists."""
    if ref.endswith((".yaml", ".yml")) or "/" in ref:
        return _find(ref, folder)
    return _find(f"{ref}.yaml", shipped_folder("policies")) if ref not in CATALOGUE else None


def _shipped(path: Path) -> bool:
    return path.resolve().parent == shipped_folder("policies").resolve()


def _shown(path: Path) -> str:
    """The path as a user would write it: relative when it lies below the working directory."""
    full = path.resolve()
    here = Path(os.curdir).resolve()
    return str(full.relative_to(here)) if full.is_relative_to(here) else str(full)
