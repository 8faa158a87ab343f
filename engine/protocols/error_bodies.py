"""A provider's error answer, whatever its shape, and what it means.

Vendors answer in a dozen envelopes (OpenAI's, Anthropic's, flat, a bare string, a list, HTML) and one protocol is served by
many vendors, so neither shape nor code is tied to a protocol. `provider_error` is all that a protocol's `decode_error`
needs. Codes decide first, then the wording, then the status; the tables below are collected from recorded errors and the
vendors' documentation.

Messages go on to clients: keys, URL queries and anything long are taken out. A rejected key is never quoted at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import re2

from engine.llm.errors import ProviderError
from engine.llm.meanings import Meaning
from engine.llm.messages import JsonObject
from engine.protocols.retry_after import retry_after, seconds

MAX_MESSAGE = 800
"""Characters of a provider's message that are passed on."""

_MAX_BODY = 1024 * 1024


@dataclass(slots=True, frozen=True)
class ErrorBody:
    """What an error body says, in any vendor's words."""

    message: str = ""
    """Cleaned for showing; empty when the body has none."""
    type: str = ""
    code: str = ""
    param: str = ""
    status: int = 0
    """An HTTP status written inside the body (errors in a 200), 0 if none."""
    wait: float | None = None
    """Seconds to wait that the body names (RetryInfo, "try again in 7.66s")."""
    daily: bool = False
    """A day's allowance is used up, the body's details say."""
    value: JsonObject | None = None
    """The parsed body, when it is an object."""


def read(body: bytes) -> ErrorBody:
    """Reads any bytes; never raises."""
    try:
        value = orjson.loads(body[:_MAX_BODY].strip() or b"null")
    except orjson.JSONDecodeError:
        return ErrorBody(message=_plain(body))
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict):
        return from_value(value)
    return ErrorBody(message=clean(value) if isinstance(value, str) else "")


def from_value(value: JsonObject) -> ErrorBody:
    """Reads an error object that is already parsed (one in a stream, or inside a 200)."""
    inner = value.get("error")
    if not inner and isinstance(listed := value.get("errors"), list) and listed:
        inner = listed[0]
    if isinstance(inner, dict):
        found: JsonObject = inner
        kind = _word(found.get("type")) or _word(found.get("status"))
    else:
        found = {**value, "message": inner if isinstance(inner, str) and inner else value.get("message")}
        kind = _word(value.get("type"))
    code = _word(found.get("code"))
    if _status(code):
        code = ""  # the HTTP status again
    raw = found.get("metadata")
    upstream = _upstream(raw) if isinstance(raw, dict) else ErrorBody()
    daily = _daily(found)
    message = upstream.message or clean(_first_text(found, ("message", "detail", "error", "title", "fault")))
    return ErrorBody(
        message=message,
        type="" if kind == "error" else kind or upstream.type,
        code=code or upstream.code,
        param=_word(found.get("param")),
        status=_status(found.get("status_code"), found.get("code"), found.get("status"), value.get("status")),
        wait=None if daily else _body_wait(found, message),
        daily=daily,
        value=value,
    )


def provider_error(
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    protocol: str,
    in_stream: bool = False,
    read_as: ErrorBody | None = None,
) -> ProviderError:
    """The error of the tree for an error answer. `status` 0 or 2xx means that the error came inside a success.

    `read_as` spares reading a body that is already parsed; `code` of the result is the vendor's own code or type.
    """
    seen = read_as if read_as is not None else read(body)
    effective = status if status >= 300 else (seen.status or 0)
    meaning = classify(effective, seen)
    wait = retry_after(headers)
    return ProviderError(
        _shown(meaning, effective, seen),
        meaning=meaning,
        status=effective,
        code=seen.code or seen.type,
        retry_after=seen.wait if wait is None else wait,
        protocol=protocol,
        body=body,
        headers={name.lower(): value for name, value in headers.items()},
        in_stream=in_stream,
    )


def classify(status: int, body: ErrorBody) -> Meaning:
    """What the failure means. `status` 0: unknown (an error inside a stream)."""
    for word in (body.code.lower(), body.type.lower()):
        if (meaning := _CODES.get(word)) is not None:
            return _corrected(meaning, status, body)
    said = _NAME.sub("it", body.message)
    for meaning, statuses, pattern in _WORDINGS:
        if (not status or not statuses or status in statuses) and pattern.search(said):
            return _corrected(meaning, status, body)
    if status in _STATUSES:
        return _STATUSES[status]
    match status // 100:
        case 4:
            return "invalid_request"
        case 5:
            return "server_error"
        case 3:
            return "broken"  # a redirect, which is not followed
    if isinstance((body.value or {}).get("detail"), list):
        return "invalid_request"  # what a validator found in the request
    return _LOOSE_TYPES.get(body.type.lower(), "server_error")


def clean(text: str) -> str:
    """`text` in one line, without credentials and URL queries, at most MAX_MESSAGE characters."""
    text = " ".join(text[: MAX_MESSAGE * 4].split())
    text = _URL_QUERY.sub(r"\1", _CREDENTIAL.sub("[key]", text))
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


_CREDENTIAL = re2.compile(
    r"\b(?:sk|pk|rk|gsk|csk|hf|xai|nvapi|fw|tgp|AIza|ghp|Bearer)[-_ ]?[A-Za-z0-9_*.\-]{12,}|\b[A-Fa-f0-9]{40,}\b"
)
_URL_QUERY = re2.compile(r"(https?://[^\s?\"']+)\?[^\s\"']*")
_TAG = re2.compile(r"(?is)<(?:script|style)\b.*?</(?:script|style)>|<[^>]*>")
_TITLE = re2.compile(r"(?is)<title[^>]*>(.*?)</title>")
_TRY_AGAIN = re2.compile(
    r"(?i)(?:try again|retry) (?:in|after) (?:(\d+(?:\.\d+)?)\s?(seconds?|minutes?)|((?:\d+(?:\.\d+)?\s?(?:ms|s|m|h|d))+))\b"
)
_NAME = re2.compile(r"[`\"'][\w.:/@-]{1,128}[`\"']")
"""A quoted name is often the caller's own: that a tool is called `rate_limit` says nothing of what went wrong."""
_LONG_TEXT = re2.compile(r"(?:^|\.)(?:content|text|output|arguments|instructions|input|prompt)(?:\[\d+\])?$")
"""Parameters that hold the conversation. Others (a tool's name, a user's id) are no shorter after a compaction."""
_LOGIN = re2.compile(r"(?i)oauth token|access token")
_PER_DAY = re2.compile(r"(?i)per.?day|daily|\bmonth")
_SHORT_WAIT = 120.0
_ALONE = re2.compile(r"(?i)request too large")
"""One request over a limit of tokens per minute: waiting never helps."""

_CODES: Mapping[str, Meaning] = {
    "context_length_exceeded": "context_length",
    "context_window_exceeded": "context_length",
    "too_many_prompt_tokens": "context_length",
    "request_too_large": "context_length",
    "string_above_max_length": "context_length",
    "exceed_context_size_error": "context_length",
    "insufficient_quota": "quota",
    "billing_error": "quota",
    "credit_balance_exhausted": "quota",
    "project_spend_limit_exceeded": "quota",
    "organization_spend_limit_exceeded": "quota",
    "organization_usage_limit_exceeded": "quota",
    "billing_hard_limit_reached": "quota",
    "usage_limit_reached": "quota",
    "3036": "quota",
    "4006": "quota",
    "invalid_api_key": "authentication",
    "authentication_error": "authentication",
    "unauthenticated": "authentication",
    "account_deactivated": "authentication",
    "10000": "authentication",
    "permission_error": "permission",
    "permission_denied": "permission",
    "model_not_found": "not_found",
    "not_found_error": "not_found",
    "deploymentnotfound": "not_found",
    "model_decommissioned": "not_found",
    "5007": "not_found",
    "3042": "not_found",
    "rate_limit_error": "rate_limit",
    "rate_limit_exceeded": "rate_limit",
    "ratelimitreached": "rate_limit",
    "request_quota_exceeded": "rate_limit",
    "token_quota_exceeded": "rate_limit",
    "too_many_requests": "rate_limit",
    "resource_exhausted": "rate_limit",
    "overloaded_error": "overloaded",
    "server_overloaded": "overloaded",
    "server_is_overloaded": "overloaded",
    "slow_down": "overloaded",
    "capacity_exceeded": "overloaded",
    "queue_exceeded": "overloaded",
    "3040": "overloaded",
    "content_filter": "content_policy",
    "content_policy_violation": "content_policy",
    "cyber_policy_violation": "content_policy",
    "moderation_blocked": "content_policy",
    "invalid_value": "invalid_request",
    "invalid_parameter_combination": "invalid_request",
    "invalid_function_parameters": "invalid_request",
    "timeout_error": "timeout",
    "tool_use_failed": "broken",
    "server_error": "server_error",
}
"""Lower-cased code or type → meaning. `invalid_request_error` and `api_error` are absent: their wording says more."""

_CLIENT_SIDE = frozenset({400, 401, 403, 404, 413, 422})

_WORDINGS: tuple[tuple[Meaning, frozenset[int], Any], ...] = (
    (
        "context_length",
        frozenset(),
        re2.compile(
            r"(?i)prompt (?:is )?too long|(?:maximum|max) context|context.?length|context.?(?:window|size|limit)"
            r"|too many (?:input |prompt )?tokens|input is too long|messages is too long|request too large|input tokens? exceed"
            r"|tokens? exceeds? the|token count.{0,20} exceeds|token limit (?:reached|exceeded)|reduce the length"
        ),
    ),
    (
        "quota",
        frozenset(),
        re2.compile(
            r"(?i)credit balance|insufficient.{0,20}(?:balance|credit|funds|quota)|exceeded your current quota"
            r"|more credits|any credits|out of credits|daily free allocation|spend(?:ing)?.limit|usage limit|payment required"
            r"|per.day\b.{0,40}limit|limit.{0,40}per.day"
        ),
    ),
    (
        "authentication",
        frozenset({400, 401, 403}),
        re2.compile(
            r"(?i)(?:invalid|incorrect|missing|expired|unknown).{0,20}api.?key|api.?key.{0,30}(?:invalid|not valid|expired)"
        ),
    ),
    (
        "permission",
        frozenset({400, 403}),
        re2.compile(
            r"(?i)organization has been disabled|organization must be verified|location is not supported"
            r"|credential is only authorized"
        ),
    ),
    (
        "content_policy",
        frozenset({400, 403, 422}),
        re2.compile(
            r"(?i)content.(?:management.)?policy|content.filter|usage (?:polic|guideline)|safety polic|flagged|moderation"
        ),
    ),
    (
        "overloaded",
        frozenset(),
        re2.compile(r"(?i)overloaded|out of capacity|no capacity|loading model|model is loading"),
    ),
    ("rate_limit", frozenset({400, 403, 500, 503}), re2.compile(r"(?i)rate.?limit|too many requests|requests per")),
    (
        "not_found",
        frozenset({400, 403, 404}),
        re2.compile(
            r"(?i)(?:models?|deployment)\b.{0,80}(?:not exist|not found|no longer|deprecated|decommissioned)"
            r"|(?:no such|unknown|invalid) model|not a valid model"
        ),
    ),
    (
        "incompatible",
        frozenset({400, 404, 422}),
        re2.compile(
            r"(?i)not support|unsupported|not (?:a )?supported|support tool use|not a chat model|requires --enable-auto-tool-choice"
        ),
    ),
)
"""(meaning, statuses it may have (empty: all), wording), the most telling first."""

_STATUSES: Mapping[int, Meaning] = {
    401: "authentication",
    402: "quota",
    403: "permission",
    404: "not_found",
    408: "timeout",
    409: "server_error",
    412: "permission",
    413: "context_length",
    424: "overloaded",
    425: "overloaded",
    429: "rate_limit",
    498: "overloaded",
    503: "overloaded",
    504: "timeout",
    522: "timeout",
    524: "timeout",
    529: "overloaded",
}

_LOOSE_TYPES: Mapping[str, Meaning] = {
    "invalid_request_error": "invalid_request",
    "invalid_request": "invalid_request",
    "bad_request": "invalid_request",
}
"""Types that decide only when no status does."""

OUR_CREDENTIAL = "the gateway's credential for it"
"""How a refused key is told of, as long as nobody knows that it was the caller's own login."""

_SHOWN: Mapping[Meaning, str] = {
    "authentication": f"the provider rejected {OUR_CREDENTIAL}",
    "permission": "the provider does not allow this request",
    "not_found": "the provider does not know the model or address",
    "rate_limit": "the provider's rate limit is reached",
    "quota": "the provider's quota or credit is used up",
    "overloaded": "the provider is overloaded",
    "context_length": "the request is too long for the model",
    "content_policy": "the provider refused the request for its content",
    "timeout": "the provider timed out",
    "broken": "the provider sent an unusable answer",
}
"""Said when the provider has no words of its own, and always for a bad key: vendors quote it."""


def _corrected(meaning: Meaning, status: int, body: ErrorBody) -> Meaning:
    """Where the same words mean different things: by the status beside them, or by how long to wait."""
    match meaning:
        case "rate_limit" if status == 413 or _ALONE.search(body.message):
            return "context_length"
        case "rate_limit" if body.daily:
            return "quota"
        case "rate_limit" if _PER_DAY.search(body.message) and (body.wait is None or body.wait > _SHORT_WAIT):
            return "quota"
        case "context_length" if status == 429 and not _ALONE.search(body.message):
            return _corrected("rate_limit", status, body)  # too many tokens a minute or a day, not in this prompt
        case "context_length" if body.code == "string_above_max_length" and body.param:
            return meaning if _LONG_TEXT.search(body.param) else "invalid_request"
        case "permission" if _LOGIN.search(body.message):
            return "authentication"
        case "quota" if status == 429 and body.wait is not None and body.wait <= _SHORT_WAIT:
            return "rate_limit"
        case "server_error" if status in _STATUSES and status >= 500:
            return _STATUSES[status]  # the status says more than the word
        case "overloaded" if status in _CLIENT_SIDE and status != 413 and not body.type and not body.code:
            return _STATUSES.get(status, "invalid_request")
    return meaning


def _shown(meaning: Meaning, status: int, body: ErrorBody) -> str:
    if body.message and meaning != "authentication":
        return body.message
    default = _SHOWN.get(meaning, "the provider failed")
    return f"{default} (HTTP {status})" if status else default


def _upstream(metadata: JsonObject) -> ErrorBody:
    """A router's metadata may hold the error of the vendor behind it, as text."""
    raw = metadata.get("raw")
    return read(raw.encode("utf-8", "replace")) if isinstance(raw, str) else ErrorBody()


def _plain(body: bytes) -> str:
    text = body[: MAX_MESSAGE * 8].decode("utf-8", "replace")
    if "<" not in text:
        return clean(text)
    title = _TITLE.search(text)
    return clean(_TAG.sub(" ", title.group(1) if title else text))


def _first_text(found: JsonObject, keys: tuple[str, ...]) -> str:
    for key in keys:
        value = found.get(key)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, dict | list) and value:
            return _nested_text(value)
    return ""


def _nested_text(value: Any) -> str:
    """`detail: [{loc, msg}]` of validation errors: the words, without the input that they may quote."""
    if isinstance(value, dict) and isinstance(value.get("detail"), list):
        value = value["detail"]
    entries = value if isinstance(value, list) else [value]
    texts = []
    for entry in entries[:3]:
        if isinstance(entry, dict):
            place = entry.get("loc")
            where = ".".join(str(part) for part in place) + ": " if isinstance(place, list) else ""
            said = entry.get("msg") or entry.get("message") or entry.get("faultstring")
            if isinstance(said, str):
                texts.append(where + said)
        elif isinstance(entry, str):
            texts.append(entry)
    return "; ".join(texts)


def _word(value: Any) -> str:
    """A code or type: vendors write text, numbers and null."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value)[:100]


def _status(*candidates: Any) -> int:
    for value in candidates:
        number = int(value) if isinstance(value, str) and len(value) == 3 and value.isdecimal() else value
        if isinstance(number, int) and not isinstance(number, bool) and 400 <= number <= 599:
            return number
    return 0


def _daily(found: JsonObject) -> bool:
    """Whether a QuotaFailure names a quota per day; the RetryInfo beside it speaks of a minute all the same."""
    details = found.get("details")
    for detail in details if isinstance(details, list) else ():
        violations = detail.get("violations") if isinstance(detail, dict) else None
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict) and "PerDay" in _word(violation.get("quotaId")):
                return True
    return False


def _body_wait(found: JsonObject, message: str) -> float | None:
    details = found.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(delay := detail.get("retryDelay"), str):
            return seconds(delay)
    told = found.get("resets_in_seconds")
    if isinstance(told, int | float) and not isinstance(told, bool):
        return seconds(str(told))
    if match := _TRY_AGAIN.search(message):
        amount, unit, span = match.groups()
        return seconds(span.replace(" ", "") if span else amount + unit[0].lower())
    return None
