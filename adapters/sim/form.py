"""Reads the bodies of the control plane and names the field that is wrong."""

from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")
_MISSING: Any = object()


class ControlError(Exception):
    """A request to the control plane that cannot be done: a status, a code and a sentence."""

    def __init__(self, status: int, code: str, msg: str, field: str | None = None) -> None:
        super().__init__(msg)
        self.status = status
        self.body = {"success": False, "error": code, "msg": msg, "field": field}


class Form:
    """The fields of one body; whoever reads it names each field, its type and its default."""

    def __init__(self, body: Any) -> None:
        if not isinstance(body, Mapping):
            raise ControlError(400, "invalid_body", "the body must be a JSON object")
        self._body = body
        self._read: set[str] = set()

    def get(self, name: str, kind: type[T], default: Any = _MISSING) -> T:
        """Return the field; raise ControlError where it is missing without a default, or of another type."""
        self._read.add(name)
        value = self._body.get(name)
        if value is None:
            if default is _MISSING:
                raise ControlError(400, "invalid_field", f"'{name}' is required", name)
            return default  # type: ignore[no-any-return]
        is_number = kind is float and isinstance(value, int) and not isinstance(value, bool)
        if (not isinstance(value, kind) and not is_number) or (kind is not bool and isinstance(value, bool)):
            raise ControlError(400, "invalid_field", f"'{name}' must be of type {kind.__name__}", name)
        return kind(value) if is_number else value  # type: ignore[call-arg]

    def end(self) -> None:
        """Refuse fields that nobody has read: a misspelt fault that never fires would prove nothing."""
        unknown = sorted(set(self._body) - self._read)
        if unknown:
            raise ControlError(400, "unknown_field", f"unknown field '{unknown[0]}'", unknown[0])
