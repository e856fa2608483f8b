"""Leaves nothing behind on a broker that is not ours."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient


async def remove_topics(bootstrap: str, prefix: str) -> None:
    """Delete the topics that begin with the prefix; their groups' offsets go with them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        names = [name for name in await admin.list_topics() if name.startswith(prefix)]
        if names:
            await admin.delete_topics(names)
    finally:
        await admin.close()
