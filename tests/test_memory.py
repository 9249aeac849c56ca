"""Strangers cannot grow memory: random keys through the middleware, in a process of its own."""

import os
import subprocess
import sys
from typing import Final

import pytest
from support import SCALE

MIB: Final = 2**20
KEYS: Final = 1_000_000 if SCALE >= 10 else 60_000  # far more than what is remembered of them: 16,384

# Prints the most that it grew by, in bytes, while strangers tried keys; it looks every 1,000 of them.
STRANGERS: Final = """
import asyncio, os, secrets, sys
from support import INVALID, App, bearer, get, http_scope, new_key
from vc_auth import APIKeyMiddleware, Settings, VCAuth

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

async def main(keys, prefix):
    auth = VCAuth(Settings(store="memory://"))
    guarded = APIKeyMiddleware(App(), auth)
    good = await new_key(auth)
    for _ in range(50):
        assert (await get(guarded, good)).status == 200
    start = most = resident()
    for number in range(keys):
        answer = await get(guarded, prefix + secrets.token_hex(16))
        assert answer.body == INVALID
        if number % 1_000 == 0:
            most = max(most, resident())
    assert (await get(guarded, good)).status == 200
    print(max(most, resident()) - start)

asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("prefix", ["vc_", "xx_"])
def test_random_keys_stay_under_16_mib(prefix: str) -> None:
    words = [sys.executable, "-c", STRANGERS, str(KEYS), prefix]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert int(run.stdout) < 16 * MIB
