"""What the clients of servers have in common: how long they wait, and what redis-py and its kin leave undone."""

from typing import Any, Final

ANSWERING: Final = 1.0  # seconds, long after a check is usually decided without the server


def patience(deadline: float) -> float:
    """Seconds for a server to connect, and to answer, before its client gives a command up.

    Nobody waits for them, but they may not end before a check's own ``deadline`` does.
    """
    return max(ANSWERING, deadline)


async def close_client(client: Any) -> None:
    """Close a client of Redis or Valkey with all its connections, also where it is a cluster's."""
    await client.aclose()
    if (nodes := getattr(client, "nodes_manager", None)) is not None:
        await nodes.aclose()  # which the client of a cluster leaves out once a command has failed
        await nodes.aclose("startup_nodes")
