"""For tests: an app's keys in memory, a clock that turns by hand, and the contracts of stores and limiters.

Inherit a contract, say how to open what you wrote, and run pytest with pytest-asyncio::

    class TestDynamoDB(KeyStoreContract):
        @asynccontextmanager
        async def open_store(self, clock):
            yield DynamoDBKeyStore(...)
"""

import pytest

pytest.register_assert_rewrite(
    "vc_auth.testing.limiters", "vc_auth.testing.stores", "vc_auth.testing.usage"
)  # before they are imported

from vc_auth.testing.auth import MemoryAuth, bearer, some_user  # noqa: E402
from vc_auth.testing.clock import TurnableClock  # noqa: E402
from vc_auth.testing.limiters import LimiterContract  # noqa: E402
from vc_auth.testing.stores import KeyStoreContract, some_key, some_project  # noqa: E402
from vc_auth.testing.usage import UsageStoreContract, some_count  # noqa: E402

__all__ = [
    "KeyStoreContract",
    "LimiterContract",
    "MemoryAuth",
    "TurnableClock",
    "UsageStoreContract",
    "bearer",
    "some_count",
    "some_key",
    "some_project",
    "some_user",
]
