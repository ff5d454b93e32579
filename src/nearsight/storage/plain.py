"""Plain data as JSON and YAML."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nearsight.storage.files import CURE, _sealed, _unsealed, corrupt, number, write_atomic


def write_json(path: str | Path, content: Any, *, hashed: bool = False) -> None:
    """Plain data as JSON, atomically; a ``hashed`` mapping carries the hash of its content as its last entry."""
    write_atomic(path, json.dumps(_sealed(content) if hashed else content, indent=2, default=number) + "\n")


def read_json(path: str | Path, *, hashed: bool = False, cure: str = CURE) -> Any:
    """Plain data from a JSON file; ``CorruptFileError`` if it is not whole, or ``hashed`` and changed since."""
    try:
        content = json.loads(Path(path).read_bytes())
        return _unsealed(content) if hashed else content
    except (ValueError, RecursionError) as error:
        raise corrupt(path, "JSON", error, cure) from error


class _PlainDumper(yaml.SafeDumper):
    """Numbers of NumPy are written as those of Python, which compare and read the same; nothing is abbreviated."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _PlainLoader(yaml.SafeLoader):
    """Numbers and truth as in YAML 1.2: 010 is ten, 1e-3 a number, 1:30 and yes are text (90 and true in YAML 1.1).

    Without aliases, by which a page of text can stand for more data than any memory holds.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it uses aliases (*name): write the value in full")
        return super().compose_node(parent, index)


def _whole(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


_PlainLoader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
):
    # The writer quotes a text that either version would take for something else.
    for _side in (_PlainLoader, _PlainDumper):
        _side.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), _first)
_PlainLoader.add_constructor("tag:yaml.org,2002:int", _whole)


def _represent_number(dumper: yaml.SafeDumper, number: Any) -> yaml.Node:
    return dumper.represent_data(number.item())


for _number in (np.bool_, np.number):
    _PlainDumper.add_multi_representer(_number, _represent_number)


def write_yaml(path: str | Path, content: Any, *, hashed: bool = False) -> None:
    """Plain data as YAML in the given order, atomically; ``hashed`` as in :func:`write_json`."""
    whole = _sealed(content) if hashed else content
    write_atomic(path, yaml.dump(whole, Dumper=_PlainDumper, sort_keys=False))


def read_yaml(path: str | Path, *, hashed: bool = False, cure: str = CURE) -> Any:
    """Plain data from a YAML file without aliases; ``CorruptFileError`` as for :func:`read_json`."""
    try:
        content = parse_yaml(Path(path).read_bytes().decode())
        return _unsealed(content) if hashed else content
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise corrupt(path, "YAML", error, cure) from error


def parse_yaml(text: str) -> Any:
    """Plain data from a text; ``yaml.YAMLError`` for one that is no YAML, or uses aliases."""
    return yaml.load(text, Loader=_PlainLoader)
