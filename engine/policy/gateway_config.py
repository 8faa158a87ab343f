"""`gateway.config.json` and `stackbilt.gateway.json`: a short configuration, mapped onto a policy.

Rules kept here:

- What the file says becomes a part of a policy and nothing else: it is checked, recorded and explained like one.
- A file that merely lies in the working directory may come with a repository that somebody else wrote. It may choose among
  the providers that are there, but not weaken authentication, open the gateway to the network, store prompts, or name a
  policy file; such keys are refused with a problem each. `--config FILE` applies them all.
- Gateway keys are no part of the policy; they stay in `GatewayConfig.keys` and in no message.
- The JSON is strict, and every problem is told with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from engine.policy.document import MAX_BYTES, load_document
from engine.policy.model import CLASSES, DEFAULT_CLASS
from engine.policy.nodes import Node, Source
from engine.policy.problems import PolicyInvalid, Problem, Span
from engine.policy.shipped import shipped_policies
from engine.policy.suggest import did_you_mean, listing

NAMES = ("gateway.config.json", "stackbilt.gateway.json")
"""File names that are looked for in the working directory, the first one found is used."""


@dataclass(slots=True, frozen=True)
class GatewayConfig:
    """What a configuration file says."""

    file: str
    policy: str
    """The policy that it names, `default` if none."""
    root: Node
    """The part of a policy that it stands for, each value at its place in the file."""
    keys: tuple[str, ...] = ()
    """Keys for this gateway; secret."""
    notes: tuple[str, ...] = ()
    """What it says that has another meaning here, in sentences."""

    @property
    def fragment(self) -> dict[str, Any]:
        """`root` in plain dicts and lists, to be laid over the policy."""
        plain: dict[str, Any] = self.root.plain()
        return plain


def find_config(folder: Path) -> Path | None:
    """The configuration file that lies in `folder`, None if there is none."""
    return next((path for name in NAMES if (path := folder / name).is_file()), None)


def read_config(path: Path, *, trusted: bool) -> GatewayConfig:
    """The configuration in a file; `trusted` when the user named it. Raises PolicyInvalid with everything that is wrong."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PolicyInvalid([Problem(Span(str(path)), "config-file", f"can't be read: {error.strerror}")]) from None
    return parse_config(data, str(path), trusted=trusted)


def parse_config(data: bytes, file: str, *, trusted: bool) -> GatewayConfig:
    """The configuration in `data`; `file` is the name that problems show. Raises PolicyInvalid."""
    root = _document(data, file)
    reader = _Reader(root, trusted=trusted)
    reader.read()
    if reader.problems:
        raise PolicyInvalid(reader.problems)
    return GatewayConfig(file, reader.policy, reader.part(), reader.keys, tuple(reader.notes))


def _document(data: bytes, file: str) -> Node:
    """The JSON object as nodes. JSON is YAML, but for tabs, which may stand between its tokens and nowhere else."""
    if len(data) <= MAX_BYTES:
        _strict_json(data, file)
    loaded = load_document(data.replace(b"\t", b" "), file)
    if loaded.problems:
        raise PolicyInvalid(loaded.problems)
    if loaded.root is None or not isinstance(loaded.root.value, dict):
        raise PolicyInvalid([Problem(Span(file), "config-json", "must be a JSON object")])
    return loaded.root


def _strict_json(data: bytes, file: str) -> None:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError as error:
        source = Source(file, data.decode("utf-8", "replace"))
        raise PolicyInvalid(
            [source.problem(error.pos, error.pos + 1, "config-json", f"not valid JSON: {error.msg.partition(':')[0]}")]
        ) from None


@dataclass(slots=True, frozen=True)
class _Key:
    """One key of the format."""

    kind: str
    """`text number switch texts map`."""
    to: tuple[str, ...] = ()
    """Where its value goes in a policy, as it is."""
    special: str = ""
    """The method of `_Reader` that takes it, where it does not go as it is."""
    guarded: Callable[[Any], bool] | None = None
    """Whether a value needs `--config`."""
    choices: tuple[str, ...] = ()
    note: str = ""
    """What to tell when the key is there and means nothing here."""


_ELSEWHERE = "{} has no meaning here: records and caches are kept in the state folder (--state-dir)."


def _always(_: Any) -> bool:
    return True


_KEYS: Mapping[str, _Key] = {
    "port": _Key("number", to=("settings", "port")),
    "host": _Key("text", to=("settings", "host"), guarded=_always),
    "policy": _Key("text", special="take_policy", guarded=lambda value: value not in shipped_policies()),
    "auth.mode": _Key(
        "text", to=("settings", "auth", "mode"), guarded=lambda v: v == "none", choices=("local-key", "none")
    ),
    "auth.keys": _Key("texts", special="take_keys", guarded=_always),
    "routing.default": _Key("text", special="take_default"),
    "routing.experimentalModels": _Key("switch", to=("settings", "experimental")),
    "routing.routes": _Key("map", special="take_routes"),
    "cache.enabled": _Key("switch", special="take_cache"),
    "cache.storage": _Key("text", note=_ELSEWHERE.format("cache.storage")),
    "cache.path": _Key("text", note=_ELSEWHERE.format("cache.path")),
    "cache.responseCache": _Key("switch", to=("cache", "response")),
    "cache.prefixCache": _Key("switch", to=("cache", "prefix")),
    "telemetry.enabled": _Key("switch", to=("settings", "telemetry", "enabled")),
    "telemetry.storePrompts": _Key("switch", to=("settings", "telemetry", "store_prompts"), guarded=bool),
    "telemetry.redactSecrets": _Key("switch", to=("settings", "telemetry", "redact_secrets"), guarded=lambda v: not v),
    "telemetry.path": _Key("text", note=_ELSEWHERE.format("telemetry.path")),
}
"""Every key of the format, in dots."""

_SECTIONS = frozenset(name.partition(".")[0] for name in _KEYS if "." in name)

_KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "text": (lambda v: isinstance(v, str), "text"),
    "number": (lambda v: isinstance(v, int) and not isinstance(v, bool), "a whole number"),
    "switch": (lambda v: isinstance(v, bool), "true or false"),
    "texts": (lambda v: isinstance(v, list) and all(isinstance(item, str) for item in v), "a list of texts"),
    "map": (lambda v: isinstance(v, dict), "an object"),
}


@dataclass(slots=True)
class _Reader:
    """Goes through a file once; what it found is taken from its fields and from `part`."""

    root: Node
    trusted: bool
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    keys: tuple[str, ...] = ()
    policy: str = "default"
    placed: dict[tuple[str, ...], Node] = field(default_factory=dict)
    """Path in a policy → the value that goes there."""
    preferred: Node | None = None
    """The provider that `routing.default` names."""
    no_caches: Node | None = None
    """Where all caches are switched off."""

    def read(self) -> None:
        for name, node in self._entries():
            key = _KEYS[name]
            if not self._sound(name, key, node):
                continue
            if key.special:
                getattr(self, key.special)(node)
            elif key.to:
                self.placed[key.to] = node
            elif key.note:
                self.notes.append(key.note)
        if self.no_caches is not None:  # whatever is said of each
            self.placed |= {("cache", "response"): self.no_caches, ("cache", "prefix"): self.no_caches}
        self._close_routes()

    def part(self) -> Node:
        """The part of a policy, as a tree."""
        tree: dict[str, Any] = {"version": replace(self.root, value=1, style="")}
        for path, node in self.placed.items():
            below = tree
            for step in path[:-1]:
                below = below.setdefault(step, {})
            below[path[-1]] = node
        return self._mapping(tree)

    def take_policy(self, node: Node) -> None:
        self.policy = str(node.value)

    def take_keys(self, node: Node) -> None:
        self.keys = tuple(str(item.value) for item in node.items)

    def take_cache(self, node: Node) -> None:
        if node.value is False:
            self.no_caches = node

    def take_default(self, node: Node) -> None:
        if node.value != "auto":
            self.preferred = node

    def take_routes(self, node: Node) -> None:
        for name, route in node.map.items():
            if name not in CLASSES:
                message = f"there is no class '{name}'{did_you_mean(name, CLASSES)}"
                hint = f"the classes are {listing(CLASSES)}"
                self.problems.append(route.problem("config-class", message, hint=hint, at_key=True))
            elif not route.items or not all(isinstance(item.value, str) for item in route.items):
                message = f"routing.routes.{name} must be a list of providers"
                self.problems.append(route.problem("config-type", message))
            else:
                self.placed["routes", name] = route

    def _close_routes(self) -> None:
        """Lets every route end with the safe one: whom the list leaves unserved, because its models are not safe for an
        agent or have no key, still gets an answer. Without a safe route the model asked for is the last resort.
        """
        safe = ("routes", DEFAULT_CLASS)
        if self.preferred is not None and safe not in self.placed:
            self.placed[safe] = replace(
                self.preferred, value=(self.preferred, self._requested(self.preferred)), style="["
            )
        routes = {path: node for path, node in self.placed.items() if path[0] == "routes"}
        for path, route in routes.items():
            last = routes[safe].items if safe in routes else (self._requested(route),)
            listed = {item.value for item in route.items}
            self.placed[path] = replace(
                route, value=(*route.items, *(item for item in last if item.value not in listed))
            )

    def _entries(self) -> Iterator[tuple[str, Node]]:
        """Known keys in dots with their values; unknown ones become problems."""
        for name, node in self.root.map.items():
            if name in _KEYS:
                yield name, node
            elif name not in _SECTIONS:
                self._unknown(node, name, sorted({key.partition(".")[0] for key in _KEYS}))
            elif not isinstance(node.value, dict):
                self.problems.append(node.problem("config-type", f"{name} must be an object"))
            else:
                for below, value in node.map.items():
                    if f"{name}.{below}" in _KEYS:
                        yield f"{name}.{below}", value
                    else:
                        self._unknown(value, below, [k.partition(".")[2] for k in _KEYS if k.startswith(f"{name}.")])

    def _sound(self, name: str, key: _Key, node: Node) -> bool:
        """Whether the value is of the right kind and may come from this file."""
        value = node.plain()
        fits, words = _KINDS[key.kind]
        if not fits(value):
            self.problems.append(node.problem("config-type", f"{name} must be {words}"))
        elif key.choices and value not in key.choices:
            message = f"{name} must be {' or '.join(key.choices)}{did_you_mean(value, key.choices)}"
            self.problems.append(node.problem("config-value", message))
        elif key.guarded is not None and not self.trusted and key.guarded(value):
            message = f"{name} is not taken from a file that merely lies in the working directory"
            hint = f"if you wrote it, start with `--config {Path(self.root.source.file).name}`"
            self.problems.append(node.problem("config-untrusted", message, hint=hint, at_key=True))
        else:
            return True
        return False

    def _unknown(self, node: Node, name: str, options: list[str]) -> None:
        message = f"there is no key '{name}'{did_you_mean(name, options)}"
        hint = f"it takes {listing(options)}; providers and models are described in a policy (--policy)"
        self.problems.append(node.problem("config-key", message, hint=hint, at_key=True))

    def _requested(self, beside: Node) -> Node:
        return replace(beside, value="requested", style="", text="requested")

    def _mapping(self, entries: Mapping[str, Any]) -> Node:
        below = {name: node if isinstance(node, Node) else self._mapping(node) for name, node in entries.items()}
        return replace(self.root, value=below, style="{")
