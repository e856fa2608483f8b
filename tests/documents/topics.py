"""Every topic with its settings, and the fields of what is in it."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import msgspec

from events import schema, topics
from tests.documents import docstrings
from tests.documents.markdown import code, table, wrapped


async def page() -> str:
    head = """
    The key is the machine's id everywhere, so that a machine's records keep their order; nothing relies on which partition a key falls
    into. Values are JSON; CloudEvents 1.0 headers (`ce_id`, `ce_type`, `ce_time`, ...) go with each. A breaking change makes a new
    version in the name; inside of one only fields are added. `topics.prefix` in the settings is put before each name.
    """
    rows = [
        (
            code(one.name),
            str(one.partitions),
            one.key,
            ", ".join(f"`{name}={value}`" for name, value in one.settings.items()),
            one.about,
        )
        for one in topics.specs()
    ]
    parts = [
        "# Topics",
        wrapped(head),
        table(("topic", "partitions", "key", "settings", "what is in it"), rows),
        "# Records",
    ]
    for name, kind in inspect.getmembers(schema, _is_record):
        parts += [f"## {name}", wrapped(inspect.getdoc(kind) or ""), _fields(kind)]
    return "\n\n".join(parts)


def _is_record(one: Any) -> bool:
    return inspect.isclass(one) and issubclass(one, msgspec.Struct) and one.__module__ == schema.__name__


def _fields(kind: Any) -> str:
    told, hints = docstrings.of_fields(kind), get_type_hints(kind)
    rows = []
    for field in msgspec.structs.fields(kind):
        is_needed = field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT
        hint = hints[field.name]
        name = hint.__name__ if inspect.isclass(hint) and not hasattr(hint, "__args__") else str(hint)
        rows.append(
            (
                code(field.encode_name),
                code(name.replace("typing.", "")),
                "required" if is_needed else "",
                told.get(field.name, ""),
            )
        )
    return table(("field", "type", "", "what it is"), rows)
