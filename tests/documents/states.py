"""The life of a machine."""

from __future__ import annotations

from machines.states import EDGES, as_mermaid
from tests.documents.markdown import code, table, wrapped


async def page() -> str:
    head = "Every edge of the state table, and why it is followed; `failoverd states` prints it."
    rows = [(code(one.source.value), code(one.trigger.value), code(one.target.value), one.because) for one in EDGES]
    picture = f"```mermaid\n{as_mermaid()}```"
    return "\n\n".join(("# States", wrapped(head), table(("from", "trigger", "to", "because"), rows), picture))
