"""The stages of the pipeline, one file each."""

from __future__ import annotations

from collections.abc import Mapping

from engine.stages.cache import Cache
from engine.stages.classify import Classify
from engine.stages.decode import Decode
from engine.stages.dispatch import Dispatch
from engine.stages.encode import Encode
from engine.stages.gate import Gate
from engine.stages.record import Record
from engine.stages.stage import Stage

BUILT_IN: Mapping[str, type[Stage]] = {
    "decode": Decode,
    "classify": Classify,
    "gate": Gate,
    "cache": Cache,
    "dispatch": Dispatch,
    "encode": Encode,
    "record": Record,
}
"""The stages that come with the gateway, in their usual order."""
