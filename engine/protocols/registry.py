"""The protocols clients and providers speak, each pure, each serving both sides."""

from __future__ import annotations

from collections.abc import Mapping

from engine.llm.protocol import WireProtocol
from engine.protocols.anthropic_messages import AnthropicMessages
from engine.protocols.openai_chat import OpenAIChat
from engine.protocols.openai_responses import OpenAIResponses

PROTOCOLS: Mapping[str, WireProtocol] = {
    wire.name: wire for wire in (AnthropicMessages(), OpenAIResponses(), OpenAIChat())
}
"""Every protocol by name."""
