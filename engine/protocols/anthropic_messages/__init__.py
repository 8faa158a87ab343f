"""The Anthropic Messages protocol (https://docs.claude.com/en/api/messages), for clients and providers that speak it."""

from engine.protocols.anthropic_messages.wire import AnthropicMessages

__all__ = ["AnthropicMessages"]
