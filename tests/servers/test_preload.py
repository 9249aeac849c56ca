"""gunicorn --preload: one process makes the application, others that fork off it serve."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from serving import meet

import vc_auth
from vc_auth import Settings, VCAuth

WORKERS: Final = 2
REQUESTS: Final = 50  # of each worker
DEADLINE: Final = 60.0  # seconds; nothing takes that long

# Each request that reaches the application leaves a byte in a file of its process.
APP: Final = """
import asyncio, os
from pathlib import Path
from vc_auth import APIKeyMiddleware, Settings, VCAuth

auth = VCAuth(Settings(store="sqlite:///keys.db", limiter="none"))
Path("made_by").write_text(str(os.getpid()))

async def seed():
    async with auth:
        await auth.registry.list_projects()

if {seeds}:
    asyncio.run(seed())

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({{"type": (await receive())["type"] + ".complete"}})
        return
    pid = b"%d" % os.getpid()
    with open(f"served.{{os.getpid()}}", "ab") as served:
        served.write(b".")
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(pid))]}})
    await send({{"type": "http.response.body", "body": pid}})

app = APIKeyMiddleware(application, auth)
"""


@contextmanager
def gunicorn(folder: Path, *, seeds: bool) -> Iterator[int]:
    """Its port, while it serves; at the end it has stopped as it should."""
    (folder / "app.py").write_text(APP.format(seeds=seeds))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    words = ("--preload", "--workers", str(WORKERS), "--worker-class", "asgi", "--no-control-socket")
    patience = ("--keep-alive", str(int(DEADLINE)))  # by default it hangs up after 2 s without a request
    paths = os.pathsep.join((str(Path(vc_auth.__file__).parent.parent), str(folder)))
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "app:app", "--bind", f"127.0.0.1:{port}", *words, *patience],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stderr is not None
    try:
        log = [server.stderr.readline()]
        while sum("ASGI server listening on" in line for line in log) < WORKERS:
            assert log[-1], "".join(log)
            log.append(server.stderr.readline())
        yield port
        server.terminate()
        rest = server.communicate(timeout=DEADLINE)[1]
        assert server.returncode == 0, rest
        assert re.search("error|traceback|warning", rest, re.IGNORECASE) is None, rest
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server.stderr.close()


@pytest.mark.parametrize("seeds", [False, True], ids=["the parent made it", "the parent used it"])
async def test_workers_of_an_application_that_was_made_before_they_forked_off_serve_and_count(
    tmp_path: Path, seeds: bool
) -> None:
    async with VCAuth(Settings(store=f"sqlite:///{tmp_path / 'keys.db'}", limiter="none")) as auth:
        await auth.registry.create_project("acme")
        key = (await auth.registry.create_key("acme", "ci")).secret.reveal()
        with gunicorn(tmp_path, seeds=seeds) as port:
            clients = await meet(port, WORKERS, key)
            answers = [await client.get(key) for client in clients for _ in range(REQUESTS)]
            await asyncio.gather(*(client.close() for client in clients))
        served = {file.suffix[1:]: file.stat().st_size for file in tmp_path.glob("served.*")}
        assert {(200, pid.encode()) for pid in served} == set(answers)
        assert len(served) == WORKERS
        assert (tmp_path / "made_by").read_text() not in served
        (total,) = (await auth.registry.key_totals("acme")).values()
        assert total.requests == sum(served.values())
