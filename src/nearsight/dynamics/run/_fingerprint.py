"""What makes two runs the same run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def until(identity: Mapping[str, Any], step: int) -> dict[str, Any]:
    """What decided a run up to a step, of its identity: not which records are still to come."""
    record = identity["record"]
    if record and "at" in record:
        record = record | {"at": [at for at in record["at"] if at <= step]}
    return {**identity, "record": record}


def of_layout_2(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What of an identity can be compared with those of layouts 1 and 2, which told force fields in words.

    These named a scheme by "scheme", and kept how long the run was to be.
    """
    kept = {name: value for name, value in identity.items() if name not in ("forcefield", "steps")}
    scheme = dict(kept.pop("scheme"))
    return {"scheme": {"type": scheme.pop("scheme", scheme.get("type")), **scheme}, **kept}
