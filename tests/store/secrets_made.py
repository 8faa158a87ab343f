"""Secrets in the forms that their vendors document, made at random, and the texts that carry them.

Written from the formats, not from the rules: what a rule misses shows. A kind without a shape of its own (`NAMED`) is told
by the name it is assigned to; all others stand under a name that tells nothing.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Iterator
from urllib.parse import quote

ALNUM = string.ascii_letters + string.digits
LOWER = string.ascii_lowercase + string.digits
HEX = "0123456789abcdef"
WORD = ALNUM + "-_"
BASE32 = string.ascii_uppercase + "234567"
BASE64 = ALNUM + "+/"

Dice = random.Random


def some(dice: Dice, n: int, alphabet: str = ALNUM) -> str:
    """`n` characters, a digit and both cases among them where the alphabet has them, as in all but one of a million keys."""
    while True:
        made = "".join(dice.choices(alphabet, k=n))
        if n < 20 or all(
            any(c in part for c in made)
            for part in (string.digits, string.ascii_lowercase)
            if set(part) & set(alphabet)
        ):
            return made


def jwt(dice: Dice) -> str:
    parts = (
        json.dumps({"alg": "RS256", "typ": "JWT"}),
        json.dumps({"sub": some(dice, 12), "exp": dice.randrange(10**9)}),
    )
    head, body = (base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts)
    return f"{head}.{body}.{some(dice, 43, WORD)}"


def pem(dice: Dice) -> str:
    kind = dice.choice(
        ["RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY"]
    )
    lines = [some(dice, 64, BASE64) for _ in range(dice.randrange(3, 26))]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, some(dice, 40, BASE64) + "==", f"-----END {kind}-----"])


MADE: dict[str, Callable[[Dice], str]] = {
    "anthropic": lambda d: f"sk-ant-api03-{some(d, 93, WORD)}AA",
    "anthropic-login": lambda d: f"sk-ant-oat01-{some(d, 93, WORD)}AA",
    "openai-project": lambda d: f"sk-proj-{some(d, 74, WORD)}T3BlbkFJ{some(d, 74, WORD)}",
    "openai-old": lambda d: f"sk-{some(d, 20)}T3BlbkFJ{some(d, 20)}",
    "openai-service": lambda d: f"sk-svcacct-{some(d, 58, WORD)}",
    "openrouter": lambda d: f"sk-or-v1-{some(d, 64, HEX)}",
    "deepseek": lambda d: f"sk-{some(d, 32, HEX)}",
    "groq": lambda d: f"gsk_{some(d, 52)}",
    "cerebras": lambda d: f"csk-{some(d, 48, LOWER)}",
    "nvidia": lambda d: f"nvapi-{some(d, 64, WORD)}",
    "google": lambda d: f"AIza{some(d, 35, WORD)}",
    "xai": lambda d: f"xai-{some(d, 80)}",
    "huggingface": lambda d: f"hf_{some(d, 34)}",
    "replicate": lambda d: f"r8_{some(d, 37)}",
    "perplexity": lambda d: f"pplx-{some(d, 48)}",
    "aws-access-key": lambda d: d.choice(["AKIA", "ASIA"]) + some(d, 16, BASE32),
    "google-oauth": lambda d: f"ya29.{some(d, 120, WORD)}",
    "google-client": lambda d: f"GOCSPX-{some(d, 28, WORD)}",
    "azure-storage": lambda d: f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={some(d, 86, BASE64)}==",
    "azure-client": lambda d: f"{some(d, 3)}8Q~{some(d, 34)}",
    "digitalocean": lambda d: f"dop_v1_{some(d, 64, HEX)}",
    "github": lambda d: d.choice(["ghp_", "gho_", "ghs_"]) + some(d, 36),
    "github-fine": lambda d: f"github_pat_{some(d, 22)}_{some(d, 59)}",
    "gitlab": lambda d: f"glpat-{some(d, 20, WORD)}",
    "npm": lambda d: f"npm_{some(d, 36)}",
    "pypi": lambda d: f"pypi-AgEIcHlwaS5vcmc{some(d, 140, WORD)}",
    "docker": lambda d: f"dckr_pat_{some(d, 27, WORD)}",
    "slack-bot": lambda d: f"xoxb-{some(d, 12, string.digits)}-{some(d, 13, string.digits)}-{some(d, 24)}",
    "slack-app": lambda d: f"xapp-1-A{some(d, 10)}-{some(d, 13, string.digits)}-{some(d, 64, HEX)}",
    "stripe": lambda d: d.choice(["sk_live_", "rk_live_", "sk_test_"]) + some(d, 24),
    "twilio-key": lambda d: f"SK{some(d, 32, HEX)}",
    "sendgrid": lambda d: f"SG.{some(d, 22, WORD)}.{some(d, 43, WORD)}",
    "mailgun": lambda d: f"key-{some(d, 32, HEX)}",
    "telegram": lambda d: f"{d.randrange(10**9, 10**10)}:AA{some(d, 33, WORD)}",
    "linear": lambda d: f"lin_api_{some(d, 40)}",
    "databricks": lambda d: f"dapi{some(d, 32, HEX)}",
    "vault": lambda d: f"hvs.{some(d, 95, WORD)}",
    "shopify": lambda d: f"shpat_{some(d, 32, HEX)}",
    "grafana": lambda d: f"glsa_{some(d, 32)}_{some(d, 8, HEX)}",
    "newrelic": lambda d: f"NRAK-{some(d, 27, string.ascii_uppercase + string.digits)}",
    "supabase": lambda d: f"sbp_{some(d, 40, HEX)}",
    "gateway": lambda d: f"sbgw-{some(d, 32, WORD)}",
    "jwt": jwt,
    "pem": pem,
    "postgres": lambda d: f"postgresql://app:{some(d, 18)}@db.internal:5432/app",
    "redis": lambda d: f"redis://:{some(d, 24)}@10.0.0.7:6379/0",
}  # fmt: skip

NAMED: dict[str, tuple[str, Callable[[Dice], str]]] = {
    "mistral": ("MISTRAL_API_KEY", lambda d: some(d, 32)),
    "cohere": ("COHERE_API_KEY", lambda d: some(d, 40)),
    "cloudflare": ("CLOUDFLARE_API_TOKEN", lambda d: some(d, 40, WORD)),
    "cloudflare-global": ("CF_API_KEY", lambda d: some(d, 37, HEX)),
    "aws-secret": ("AWS_SECRET_ACCESS_KEY", lambda d: some(d, 40, BASE64)),
    "azure-openai": ("AZURE_OPENAI_API_KEY", lambda d: some(d, 32, HEX)),
    "twilio": ("TWILIO_AUTH_TOKEN", lambda d: some(d, 32, HEX)),
    "datadog": ("DD_API_KEY", lambda d: some(d, 32, HEX)),
    "password": ("DB_PASSWORD", lambda d: some(d, 14)),
    "any-token": ("SERVICE_TOKEN", lambda d: some(d, 40)),
}  # fmt: skip

KINDS = (*MADE, *NAMED)


def samples(kind: str, count: int) -> Iterator[tuple[str, str, str]]:
    """(name it stands under, the text, the secret part of it), the same ones for every run."""
    dice = random.Random(f"secrets of {kind}")
    for _ in range(count):
        if kind in NAMED:
            name, make = NAMED[kind]
            value = make(dice)
            yield name, value, value
        else:
            value = MADE[kind](dice)
            yield "value", value, _secret_part(kind, value)


def _secret_part(kind: str, value: str) -> str:
    match kind:
        case "azure-storage":
            return value.rpartition("AccountKey=")[2]
        case "postgres" | "redis":
            return value.partition("@")[0].rpartition(":")[2]
        case "pem":
            return value.split("\n")[1]
    return value


CARRIERS: dict[str, Callable[[str, str], str]] = {
    "json": lambda name, value: json.dumps(
        {"messages": [{"content": f"first\n{name}: x\n", name.lower(): value}], "n": 1}
    ),
    "json-in-json": lambda name, value: json.dumps(
        {"arguments": json.dumps({name: value, "text": f"a\n{name}={value}\n"})}
    ),
    "env": lambda name, value: f"PORT=8080\nexport {name}={value}\nDEBUG=1\n",
    "yaml": lambda name, value: f"service:\n  {name.lower()}: {value}\n  other: 1\n",
    "code": lambda name, value: f"def connect():\n    {name.lower()} = {value!r}\n    return {name.lower()}\n",
    "url": lambda name, value: f"curl 'https://api.example.com/v1/x?a=1&{name.lower()}={quote(value, safe='')}&b=2'",
    "markdown": lambda name, value: f"Use this:\n\n- **{name}**: `{value}`\n\n| {name} | {value} |\n\nand go on.",
    "plain": lambda name, value: f"My {name}: {value} is not working.\n{name}={value}\n",
}
