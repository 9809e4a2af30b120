"""Protobuf's text format: messages as nested pairs of a field and its value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Fields = list[tuple[str, "str | Fields"]]
"""The fields of a message, in the order in which they are written. The field ``#`` is a comment."""


def text_proto(fields: Fields) -> str:
    """The message as text, which ends with a line end."""
    return "\n".join(_lines(fields, "")) + "\n"


def string(value: str) -> str:
    """A string of the text format: ASCII, other bytes of its UTF-8 as octal escapes."""
    return (
        '"'
        + "".join(
            chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}"
            for byte in value.encode()
        )
        + '"'
    )


def several(values: Iterable[object]) -> str:
    """A list of scalars."""
    return f"[ {', '.join(map(str, values))} ]"


def _lines(fields: Fields, indent: str) -> Iterator[str]:
    for name, value in fields:
        if name == "#":
            yield f"{indent}# {value}"
        elif isinstance(value, str):
            yield f"{indent}{name}: {value}"
        else:
            yield f"{indent}{name} {{"
            yield from _lines(value, f"{indent}  ")
            yield f"{indent}}}"
