"""The closed list of checks: every id that a problem can carry, and what it means. `sbgw policy rules` prints it.

An id never changes its meaning; scripts and comments in policies rely on it. The first sentence says what is wrong, the rest
why that matters and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.policy.problems import Level


@dataclass(slots=True, frozen=True)
class Check:
    """`levels` are those it can be told at, the more usual one first."""

    levels: tuple[Level, ...]
    about: str

    @property
    def title(self) -> str:
        """Its first sentence, without the full stop."""
        return self.about.partition(". ")[0].rstrip(".")


def _error(about: str) -> Check:
    return Check(("error",), about)


def _warning(about: str) -> Check:
    return Check(("warning",), about)


_YAML: Mapping[str, Check] = {
    "yaml-syntax": _error(
        "The file is not YAML here. Most often a condition stands without quotes and holds something that means something to "
        "YAML: `!` at the beginning, `: ` or ` #` inside, a quote or a bracket that closes too early. Put the condition in "
        "single quotes, or on the lines below `|`. The section that holds the error is left out and the rest is checked all "
        "the same; what the section would have defined is then taken to exist."
    ),
    "yaml-duplicate": _error(
        "A key is given twice in one mapping. Other readers of YAML take the last one in silence, so half of what you wrote "
        "would be gone. The first one is kept for the rest of the check; take one of them out."
    ),
    "yaml-key": _error(
        "A key is not text. YAML reads `1:`, `true:` or `null:` as a number, a truth value or nothing, and brackets as a "
        "collection. Put the key in quotes."
    ),
    "yaml-alias": _error(
        "Anchors and aliases (`&name`, `*name`) are not read. What a reader sees in a policy is what the gateway does, and an "
        "alias hides it; a few lines of them can also stand for gigabytes. Write the value out, give it a name under `vars`, "
        "or put it into a policy that others extend."
    ),
    "yaml-merge": _error(
        "Merge keys (`<<`) are not read. They belong to YAML 1.1 and mix two ways of inheriting. Use `extends`, which knows "
        "about rules and their ids."
    ),
    "yaml-tag": _error(
        "A value begins with `!`, which YAML reads as a tag. Tags can make objects of text, so none is accepted. It is nearly "
        "always a condition such as `!request.stream`: put it in single quotes."
    ),
    "yaml-unquoted-cel": Check(
        ("error", "warning"),
        "A condition without quotes was changed by YAML before it was read. `>5` opens an empty block of text, ` #` makes the "
        "rest of the line a comment, and a comma inside `{ }` ends the value. Put the condition in single quotes, or on the "
        "lines below `|`.",
    ),
    "yaml-documents": _error(
        "The file holds more than one YAML document. A policy is one; take out the line `---` or split the file and use `extends`."
    ),
    "yaml-empty": _error(
        "The file is empty. A policy has at least `version: 1` and a route for fallback_safe, its own or inherited."
    ),
    "yaml-depth": _error(
        "Mappings and lists are nested too deeply. No policy needs more than a few levels; this is a guard."
    ),
    "yaml-size": _error("The file is too large. A policy of 256 KiB can be read by nobody; this is a guard."),
    "yaml-encoding": _error("The file is not UTF-8. Save it as UTF-8; the place of the first wrong byte is told."),
    "yaml-control": _error(
        "The file holds a control character. It does not show in an editor and may turn text round, so that a reader sees "
        "something else than the gateway. Take it out, or write it as an escape in double quotes."
    ),
}

_SHAPE: Mapping[str, Check] = {
    "schema-unknown-key": _error(
        "A key is not known here. A misspelt key would be a rule that does nothing, so nothing is ignored in silence. The message "
        "names the nearest known key; `sbgw policy schema` prints all of them with their meaning."
    ),
    "schema-missing": _error(
        "A key that must be there is missing. The message names it and points at the mapping it belongs to."
    ),
    "schema-type": _error(
        "A value has the wrong type. YAML decides by how it is written: `5` is a number, `'5'` text, `true` a truth value and, "
        "since YAML 1.2, `yes` and `on` are text. The hint says what to write."
    ),
    "schema-value": _error("A value is not one of those allowed here, or out of range. The message says which are."),
    "schema-name": _error(
        "A name has characters that names of its kind can't have. Names are read back in expressions, headers and records, so "
        "their alphabet is small; the message says what it is."
    ),
    "policy-version": Check(
        ("error", "warning"),
        "The file's `version` is not the one that this gateway writes. A file of a newer version is refused whole, because nothing "
        "in it need mean what it seems to: update sbgw. An older one is read as if it had been migrated; `sbgw policy migrate "
        "--write` changes the file.",
    ),
    "policy-missing": _error(
        "There is no such policy. A word without a dot or a slash is a shipped policy, anything else a file, searched from the "
        "working directory."
    ),
    "extends-missing": _error(
        "A policy that this one extends does not exist. Names mean shipped policies; a file is written with its suffix, relative to "
        "the file that extends it. What the missing policy would have defined is taken to exist for the rest of the check."
    ),
    "extends-cycle": _error(
        "Policies extend each other in a circle. The message shows the way round; cut it at one place."
    ),
    "extends-depth": _error("Too many policies extend each other in a row. Five are enough for people to follow."),
    "extends-conflict": _error(
        "Two policies that this one extends have different rules under one id. Which one holds would depend on their order, so "
        "you are asked: write the rule with that id in your own file, or remove it."
    ),
    "rule-id": _error(
        "A rule's id is used twice, or one that is not there is named. `before`, `after` and `remove` name inherited rules or those "
        "above in the same list; ids are unique in their list."
    ),
}

_NAMES: Mapping[str, Check] = {
    "unknown-provider": _error(
        "There is no provider of that name. A route names a provider, `provider/model`, `requested` or `pinned`; a model's key "
        "begins with its provider. Shipped providers are listed by `sbgw models`, your own stand under `providers`."
    ),
    "unknown-model": Check(
        ("warning", "error"),
        "No row describes the model. A provider that lets any name through will be asked for it, but it counts as a model that "
        "calls no tools and holds 8,192 tokens, so most requests will pass it by. If the name is right, describe it under `models`.",
    ),
    "unknown-class": Check(
        ("error", "warning"),
        "No rule and no route knows the class. It is probably misspelt; a class of your own exists as soon as a rule gives it or a "
        "route serves it.",
    ),
    "unknown-protocol": _error(
        "The model's row names a protocol that its provider does not speak. Protocols come with an address, which the provider's "
        "row has under `protocols`."
    ),
    "provider-address": _error(
        "It is not clear where the provider is. A row has `protocol` and `base_url`, or `protocols` with an address for each."
    ),
    "signal-regex": _error(
        "The signal is no regular expression of RE2. RE2 runs in linear time on any text and therefore has no look-around and no "
        "back-references. In double quotes YAML takes `\\b` for a control character: use single quotes."
    ),
    "signal-unused": _warning(
        "No expression reads the signal. It is searched for in every request all the same; take it out, or use it."
    ),
    "var-unused": _warning(
        "No expression reads the variable. It is evaluated for every request and recorded with it all the same; take it out, or "
        "use it. Rules that are off count as readers."
    ),
    "cache-response": _warning(
        "`response: on` keeps only answers that a rule under `cache.rules` asks for, and there is none."
    ),
}

_RULES: Mapping[str, Check] = {
    "route-no-default": _error(
        "There is no route for fallback_safe. It is the class of what no rule knows and serves classes without a route of their "
        "own. Add it, or extend a shipped policy, which has one."
    ),
    "route-unreachable": _warning(
        "A route names something a second time. The earlier entry has no condition, so this one can never add anything. A second "
        "try at the same provider is the business of `fallback`."
    ),
    "rule-unreachable": _warning(
        "The rule is never reached. An earlier one in the list always decides: it has no condition, or one that is always true. "
        "Move this rule before it."
    ),
    "class-unrouted": _warning(
        "A rule gives a class that has no route. Its requests take the route of fallback_safe, and providers choose their models "
        "for that class. Add a route, or give the class fallback_safe."
    ),
    "class-unused": _warning(
        "No rule gives the class of this route. So the route is never taken, unless a caller may pin the class with a header. Add "
        "a rule to `classify`, or take the route out."
    ),
    "compat-empties-route": _warning(
        "No model of the route, or of its canary, can pass the rules under gate.require. The rules that are named read nothing of "
        "the request, so the outcome is the same every time: the route refuses everything, and a canary does nothing."
    ),
    "route-hedge": _warning(
        "A hedge can never ask a second candidate. It needs a route with two, `fallback.attempts` of two or more, and a time that "
        "is over before `fallback.total_seconds`."
    ),
    "canary-percent": _error(
        "A canary's share is finer than can be drawn. Sessions fall into 10,000 buckets, so a share has at most two decimals of a "
        "percent."
    ),
    "cond-constant": _warning(
        "A condition, or one side of it, is the same for every request. It reads no fact that matters. `true` and `false` written "
        "out are meant and not told of."
    ),
    "cond-duplicate": _warning(
        "Two rules of a list have the same condition. The second one of a first-match list can never decide; elsewhere it repeats "
        "what is said already."
    ),
    "route-ends": _warning(
        "A route leads to a model that its vendor retires within 60 days, or has retired. From that day on requests fall back or "
        "fail there. Name its successor; the date is the row's `ends`."
    ),
    "route-order": _warning(
        "A route's order takes an unknown price for the lowest. Costs are -1.0 where nobody knows a price; say where such a model "
        "belongs: `estimate.cost_usd >= 0.0 ? estimate.cost_usd : 1000.0`."
    ),
    "shadow-old": _warning(
        "A rule has been in shadow for over 30 days, counted from `since`. Look at what it would have done (`sbgw shadow`, `sbgw "
        "events`), then enforce it or take it out."
    ),
}

_CEL: Mapping[str, Check] = {
    "cel-syntax": _error(
        "The expression is not CEL. Frequent slips have a hint of their own: `and` is `&&`, `or` is `||`, `not x` is `!x`, `=` is "
        "`==`, `True` is `true`. `sbgw policy profile` prints the language."
    ),
    "cel-unknown": _error(
        "The expression reads something that is no fact. Facts begin with request, session, client, estimate, budget, now, "
        "settings, vars or signals, and in the gate also with model, provider, candidate, losses or hard_losses."
    ),
    "cel-field": _error(
        "A fact has no such field. `sbgw policy schema facts` lists all facts with their types. Variables and signals are those of "
        "this policy and of what it extends; a variable sees only those above it."
    ),
    "cel-type": _error(
        "Types do not fit each other. A condition is true or false, an int and a double do not compare (`double(x)`), and a text "
        "with a closed set of values is never one that is not in the set. Found here, such a mistake can't fail on a request."
    ),
    "cel-call": _error(
        "A function or macro does not exist, or is called in the wrong way. The hint shows how it is written; `sbgw policy profile` "
        "lists all of them."
    ),
    "cel-regex": _error(
        'A pattern in `matches()` is no regular expression of RE2. Write it as r"…" so that backslashes stay.'
    ),
    "cel-limit": _error(
        "The expression is too long or too deep. At most 4,000 characters, 40 levels and 500 parts are taken, so that no policy can "
        "make a request slow. Give parts of it a name under `vars`."
    ),
    "cel-phase": _error(
        "The expression reads a fact that does not exist yet where it stands. Which model may serve is known only in the gate: "
        "`model`, `provider`, `candidate`, `losses` and `estimate.cost_usd` can be read in gate.require, gate.deny and a route's "
        "`order`, nowhere else."
    ),
}

_GRAPH: Mapping[str, Check] = {
    "graph-stage": _error(
        "The pipeline names a stage that does not exist. Stages are built in, or come from installed packages."
    ),
    "graph-id": _error(
        "Two steps of the pipeline have one id. A stage may stand twice if its steps have an `id` each."
    ),
    "graph-with": _error(
        "The settings of a step are not what its stage takes. A gate's `with` lists ids of rules under require and deny."
    ),
    "graph-exit": _error(
        "An exit of a step leads nowhere, back, or does not exist. Exits jump forward to the id of a later step; without a word they "
        "lead to the next `encode`."
    ),
    "graph-order": _error(
        "The pipeline does not begin with `decode` and end with `record`. Both stand once and without `when`."
    ),
    "graph-unreachable": _error(
        "No way leads to a step of the pipeline. Every way out of the steps before it jumps over it."
    ),
    "graph-needs": _error(
        "A step needs something that is not there on every way to it. The hint names the stages that make it; put one of them "
        "before, without a `when` that would skip it."
    ),
}

_FILES: Mapping[str, Check] = {
    "test-name": _error("Two tests of a file have one name. A failure could not be told from the other."),
    "test-derived": _error(
        "A test gives a fact that the gateway works out itself. Give what it is worked out from; the hint says how."
    ),
    "config-file": _error("The configuration file can't be read."),
    "config-json": _error(
        "The configuration file is not a JSON object. gateway.config.json and stackbilt.gateway.json are JSON, not YAML."
    ),
    "config-key": _error(
        "The configuration file has a key that is not known. The message names the nearest known one."
    ),
    "config-type": _error("A value of the configuration file has the wrong type."),
    "config-value": _error("A value of the configuration file is not allowed."),
    "config-class": _error("The configuration file routes a class that does not exist."),
    "config-untrusted": _error(
        "The configuration file of the working directory says something that it may not. A repository that somebody else wrote must "
        "not send your traffic elsewhere or open the gateway; name the file with `--config` if it is yours."
    ),
}

CHECKS: Mapping[str, Check] = {**_YAML, **_SHAPE, **_NAMES, **_RULES, **_CEL, **_GRAPH, **_FILES}
"""Id → check, in the order in which a policy is read."""
