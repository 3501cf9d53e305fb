"""YAML in which numbers are read as users mean them and duplicate keys are errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["load_yaml"]

_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}

_INTEGER = re.compile(r"^[+-]?(0|[1-9]\d*)$", re.ASCII)
_FLOAT = re.compile(
    r"^([+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?|[+-]?\d+[eE][+-]?\d+|[+-]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$", re.ASCII
)


class _Loader(yaml.SafeLoader):
    # YAML 1.1 reads 010 as 8, 1:30 as 90, 0x10 as 16 and 2e-4 as a text. Here only decimal numbers are numbers.
    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's own attribute)
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ARG002
        """Constructs a node and all that it contains. PyYAML then refuses a node that contains itself."""
        return super().construct_object(node, deep=True)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Constructs a mapping. Unlike PyYAML, does not silently accept the last of two equal keys."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key != "<<" and key in seen:
                raise yaml.constructor.ConstructorError(f"{key!r} is given twice", None, "", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list("+-0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("+-.0123456789"))


def load_yaml(text: str) -> Any:
    """Parses a YAML text. JSON is YAML too.

    Raises:
        yaml.YAMLError: the text is not YAML, or a mapping has a key twice.
    """
    return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
