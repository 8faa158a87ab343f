"""A gateway with one emulated provider behind it, and the tool loop that the SDK tests play through it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.clients.gateway import Gateway
from tests.emulator import Emulator, Script, Tool, Turn

CITIES = ("Köln “am Rhein”", "東京 🗼")
FIRST, LAST = "Let me look: “now”.", "Rain in both. 🌧\n\tTake a coat."
SIDE = "A plain answer."
LOOP = Script(
    (
        Turn(
            FIRST,
            "It depends on the city.",
            tuple(Tool("weather", {"city": city}, expect=f"rain in {city}") for city in CITIES),
        ),
        Turn(LAST, "Both answers say rain."),
    ),
    side=SIDE,
)


@dataclass(slots=True)
class Through:
    """The emulated provider and the gateway before it."""

    emu: Emulator
    gate: Gateway

    def reset(self, script: Script) -> None:
        """Forget what was sent so far and play `script`."""
        self.emu.requests.clear()
        self.emu.surprises.clear()
        self.emu.script = script

    def check(self, requests: int) -> None:
        """The provider answered so many requests, refused none, and got back what it had said."""
        assert [seen.verdict for seen in self.emu.refused] == []
        assert self.emu.surprises == []
        assert requests == len(self.emu.served)
        assert self.emu.saw(self.gate.key) == []
