"""Reads YAML that anybody may have written: a value has one meaning, and nothing takes long or ends in a traceback."""

from __future__ import annotations

from typing import Any

import yaml

from segnet.errors import ConfigError

__all__ = ["load_yaml"]

_LONGEST = 50_000  # characters; PyYAML reads some 150,000 in a second
_DEEPEST = 20
_MOST_DIGITS = 20

# What SafeLoader's constructors raise where a value does not fit its tag, such as !!bool 5 (by experiment).
_MISFITS = (ValueError, LookupError, TypeError, AttributeError, OverflowError)


def load_yaml(text: str) -> Any:
    """The values of one YAML document, with dates as text.

    Raises:
        ConfigError: The text is not YAML, longer than 50,000 characters or deeper than 20 levels, or has an alias, a
            key twice or a number of more than 20 digits. The message has the line.
    """
    if len(text) > _LONGEST:
        raise ConfigError(f"is longer than {_LONGEST:,} characters; write a shorter description")
    try:
        _check_events(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a subclass of SafeLoader
    except ConfigError:
        raise
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML ({' '.join(str(error).split())[:300]}); correct that line") from error
    except _MISFITS as error:
        raise ConfigError(f"holds a value that does not fit its YAML tag ({str(error)[:100]}); write it out") from error


def _check_events(text: str) -> None:
    """Refuse what takes PyYAML long or deep, before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ConfigError(f"is nested deeper than {_DEEPEST} levels in line {line}; write plain lists")
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(f"has the alias *{event.anchor} in line {line}; write the value out")


class _Loader(yaml.SafeLoader):
    """YAML without dates, long numbers and keys that stand twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; a key that stands twice is an error."""
        table = super().construct_mapping(node, deep=deep)
        if len(table) < len(node.value):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = next((key for key in keys if keys.count(key) > 1), "a key")
            raise yaml.constructor.ConstructorError(None, None, f"{twice!r} stands twice", node.start_mark)
        return table

    def construct_number(self, node: yaml.ScalarNode) -> int:
        """A whole number of at most twenty digits."""
        if len(node.value) > _MOST_DIGITS:
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of {len(node.value)} digits", node.start_mark
            )
        return int(self.construct_yaml_int(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
