"""What the gateway remembers of running sessions: counts and names, in memory, for the session facts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import field
from hashlib import blake2b

from engine.llm.frozen import dataclass

_PROMPTS = 8
"""Prompts remembered of a session: what agents ask on the side comes between a prompt and its repetition."""

_TELLING = 24
"""Characters from which the same prompt again is a sign: "continue" and "yes, please" come again in any session."""

_READ = 8192
"""Characters of a prompt, from its beginning and its end each, that tell it from others."""

MAX_SESSIONS = 2000
"""Sessions remembered; the one longest unused goes first. 200 bytes each."""


@dataclass(slots=True, frozen=True)
class SessionHistory:
    requests: int = 0
    tool_errors: int = 0
    """Turns in a row whose newest tool results held an error."""
    model: str = ""
    """`provider/name` that served last."""
    key: str = ""
    """The variable that held the key it served with, if its provider has several."""
    cost_usd: float = 0.0
    invalid_calls: int = 0
    """Tool calls of models that fitted nothing the request offered, shown to the agent or not."""
    answers: int = 0
    """Answers whose tokens were counted."""
    answered: int = 0
    """Tokens of all of them."""
    prompts: Mapping[str, int] = field(default_factory=dict)
    """Digest of a prompt → how often it was answered; the newest few."""

    @property
    def output_tokens(self) -> int:
        """Tokens of a mean answer, 0 while none was counted."""
        return self.answered // self.answers if self.answers else 0


_NEW = SessionHistory()


class Sessions:
    """Histories by session id, bounded."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, SessionHistory] = OrderedDict()

    def get(self, session: str) -> SessionHistory:
        """What is known of `session`; a fresh history for an unknown or empty id."""
        return self._known.get(session, _NEW) if session else _NEW

    def note(
        self,
        session: str,
        *,
        model: str,
        tool_results: int,
        tool_errors: int,
        cost_usd: float | None,
        invalid_calls: int = 0,
        output_tokens: int | None = None,
        prompt: str = "",
        key: str = "",
    ) -> None:
        """A request of `session` has ended; `model` is empty when nothing answered, `key` when its provider has not several.
        `prompt`: see `prompt_digest`.
        """
        if not session:
            return
        before = self.get(session)
        streak = before.tool_errors
        if tool_results:
            streak = streak + 1 if tool_errors else 0
        self._known[session] = SessionHistory(
            requests=before.requests + 1,
            tool_errors=streak,
            model=model or before.model,
            key=key or before.key,
            cost_usd=before.cost_usd + (cost_usd or 0.0),
            invalid_calls=before.invalid_calls + invalid_calls,
            answers=before.answers + (output_tokens is not None),
            answered=before.answered + (output_tokens or 0),
            prompts=_counted(before.prompts, prompt) if prompt and model else before.prompts,
        )
        self._known.move_to_end(session)
        if len(self._known) > MAX_SESSIONS:
            self._known.popitem(last=False)


def prompt_digest(text: str, *, role: str, agent: str = "") -> str:
    """What tells a prompt from others, without its words. Empty unless the user has just said something of some length.

    `role`: of the request's newest message, for in a tool loop the same prompt stands behind every request; `agent`: the
    sub-agent that asks, for several may be given the same words.
    """
    if role != "user" or len(text) < _TELLING:
        return ""
    read = text if len(text) <= 2 * _READ else text[:_READ] + text[-_READ:]
    return blake2b(f"{agent}\0{len(text)}\0{read}".encode("utf-8", "replace"), digest_size=8).hexdigest()


def _counted(prompts: Mapping[str, int], prompt: str) -> Mapping[str, int]:
    """`prompts` with one more answer to `prompt`, which is now the newest."""
    others = [(name, count) for name, count in prompts.items() if name != prompt][1 - _PROMPTS :]
    return dict([*others, (prompt, prompts.get(prompt, 0) + 1)])
