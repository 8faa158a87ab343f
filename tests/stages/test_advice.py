"""What clients read of a failure: which provider it was, and what to do next."""

from __future__ import annotations

import pytest

from tests.emulator import Emulator, Fault
from tests.emulator.models import Model
from tests.spine import Answer, Behind, policy, spine


def message(answer: Answer) -> str:
    return str(answer.json["error"]["message"])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("401", "'first' rejected the gateway's credential for it (HTTP 401); set a valid FIRST_KEY where sbgw runs, and start it again"),
        ("402", "first: Payment required"),
        ("404", "first: The model `gone` does not exist or you do not have access to it."),
        ("context", "prompt is too long: Your input exceeds the context window of this model. Please adjust your input and try again."),
        ("html200", "'first' answered with text/html that is not JSON"),
    ],
)  # fmt: skip
async def test_the_provider_is_named_and_the_next_step_told(fault: str, said: str) -> None:
    """In another protocol than the provider's; only what makes an agent compact stays as the agent knows it."""
    async with Emulator(models={"m": Model()}) as emu:
        emu.fail_next(Fault(fault, times=9))  # type: ignore[arg-type]
        async with spine(policy(Behind("first", emu.url, ("openai-chat",))), env={"FIRST_KEY": emu.key}) as gate:
            answer = await gate.ask("anthropic-messages")
    assert said == message(answer)


async def test_nobody_listens() -> None:
    """The address is told without its path."""
    gone = Behind("first", lambda _: "http://127.0.0.1:1/a/b", ("openai-chat",))
    async with spine(policy(gone), env={"FIRST_KEY": "k"}) as gate:
        answer = await gate.ask("openai-responses")
    assert message(answer).startswith("no connection to 'first' (")
    assert message(answer).endswith("); is it running at 127.0.0.1:1?")


async def test_the_others_that_were_tried_are_told() -> None:
    """Once each, with what went wrong there."""
    async with Emulator(models={"m": Model()}) as one, Emulator(models={"m": Model()}) as two:
        one.fail_next(Fault("500", times=9))
        two.fail_next(Fault("402", times=9))
        behind = Behind("first", one.url, ("openai-chat",)), Behind("second", two.url, ("openai-chat",))
        async with spine(policy(*behind), env={"FIRST_KEY": one.key, "SECOND_KEY": two.key}) as gate:
            answer = await gate.ask("anthropic-messages")
    assert message(answer).endswith("Sorry about that!; tried as well: second/m (quota)")


async def test_a_providers_own_words_stay_in_its_own_protocol() -> None:
    """Byte for byte, as on the preserve path."""
    async with Emulator(models={"m": Model()}) as emu:
        emu.fail_next(Fault("402"))
        async with spine(policy(Behind("first", emu.url, ("openai-chat",))), env={"FIRST_KEY": emu.key}) as gate:
            answer = await gate.ask("openai-chat")
    assert message(answer) == "Payment required"
