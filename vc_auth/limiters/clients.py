"""What redis-py and its kin leave undone."""

from typing import Any


async def close_client(client: Any) -> None:
    """Close a client of Redis or Valkey with all its connections, also where it is a cluster's."""
    await client.aclose()
    if (nodes := getattr(client, "nodes_manager", None)) is not None:
        await nodes.aclose()  # which the client of a cluster leaves out once a command has failed
        await nodes.aclose("startup_nodes")
