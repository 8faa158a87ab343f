"""Emulated providers as policies name them: the shipped rows, with only their addresses turned to the emulator.

So the tests run the quirks that users get, and a row that says too little of its vendor is found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.emulator import Emulator

CLASSES = ("cheap_edit", "fast_code", "deep_reasoning", "tool_heavy", "long_context", "fallback_safe")


@dataclass(slots=True, frozen=True)
class Place:
    """A model of a shipped provider row, and the emulated wire that stands behind it."""

    id: str
    provider: str
    model: str
    wire: str
    key_env: str
    profile: str = "openai"

    @property
    def ref(self) -> str:
        """`provider/model`, as a route names it."""
        return f"{self.provider}/{self.model}"

    def row(self, emu: Emulator) -> str:
        """The provider row that turns every address of the shipped one to `emu`."""
        wires = {"openai": ("openai-responses", "openai-chat"), "deepseek": ("openai-chat", "anthropic-messages")}
        addresses = [f'{wire}: "{emu.url(wire)}"' for wire in wires.get(self.provider, (self.wire,))]
        return f"  {self.provider}: {{protocols: {{{', '.join(addresses)}}}}}\n"

    def safe(self) -> str:
        """The model row: on this wire alone, safe for both agents, and priced, so that a cost can be expected."""
        return (
            f"  {self.ref}: {{protocols: [{self.wire}], claude_code_safe: true, codex_safe: true,"
            " price: {input: 2, output: 10}}\n"
        )


MESSAGES = Place("anthropic-messages", "anthropic", "claude-opus-5-5", "anthropic-messages", "ANTHROPIC_API_KEY")
RESPONSES = Place("openai-responses", "openai", "gpt-5.5", "openai-responses", "OPENAI_API_KEY")
CHAT = Place("openai-chat", "openai", "gpt-4.1", "openai-chat", "OPENAI_API_KEY")
STRICT = Place("strict-chat", "groq", "openai/gpt-oss-120b", "openai-chat", "GROQ_API_KEY", "strict")
STRICT_EYES = Place("strict-chat", "groq", "qwen/qwen3.8-27b", "openai-chat", "GROQ_API_KEY", "strict")
"""A strict one that sees images."""
DEEPSEEK = Place("deepseek-chat", "deepseek", "deepseek-flash", "openai-chat", "DEEPSEEK_API_KEY", "deepseek")
PLACES = (MESSAGES, RESPONSES, CHAT, STRICT, DEEPSEEK)


def policy(*behind: tuple[Place, Emulator], extra: str = "") -> str:
    """A policy whose every route leads to these places, in this order."""
    rows = "".join(place.row(emu) for place, emu in behind)
    models = "".join(place.safe() for place, _ in behind)
    route = ", ".join(place.ref for place, _ in behind)
    routes = "".join(f"  {name}: [{route}]\n" for name in CLASSES)
    return (
        f"version: 1\nname: emulated\nextends: [default]\nproviders:\n{rows}models:\n{models}routes:\n{routes}{extra}"
    )


def keys(*behind: tuple[Place, Emulator]) -> dict[str, str]:
    """The environment that holds the keys of these places."""
    return {place.key_env: emu.key for place, emu in behind}


def ids(places: Sequence[Place]) -> list[str]:
    """Test ids."""
    return [place.id for place in places]
