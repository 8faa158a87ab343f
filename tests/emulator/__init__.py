"""A strict provider emulator: what the gateway's tests talk to instead of vendors."""

from tests.emulator.dialects import Action, AnyTool, Edit, Raw, Read, Shell, Tool, View, Write
from tests.emulator.emulator import Emulator, Received
from tests.emulator.faults import Fault
from tests.emulator.models import Model
from tests.emulator.script import Scenario, Script, Turn, Usage, tool_loop

__all__ = [
    "Action",
    "AnyTool",
    "Edit",
    "Emulator",
    "Fault",
    "Model",
    "Raw",
    "Read",
    "Received",
    "Scenario",
    "Script",
    "Shell",
    "Tool",
    "Turn",
    "Usage",
    "View",
    "Write",
    "tool_loop",
]
