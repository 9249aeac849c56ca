"""Real servers with several worker processes: the warning that each has buckets of its own, and no false alarm."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import vc_auth

APP = """
from starlette.applications import Starlette
from starlette.middleware import Middleware
from vc_auth import APIKeyMiddleware, Settings

settings = Settings(store="memory://", limiter={limiter!r})
app = Starlette(middleware=[Middleware(APIKeyMiddleware, settings=settings)])
"""
SCRIPT = "import uvicorn\nif __name__ == '__main__':\n    uvicorn.run('app:app', port=0{options})\n"

UVICORN = ("-m", "uvicorn", "app:app", "--port", "0")
GUNICORN = ("-m", "gunicorn", "app:app", "--bind", "127.0.0.1:0", "--worker-class", "asgi", "--no-control-socket")
READY = {"uvicorn": "Application startup complete.", "gunicorn": "ASGI server listening on"}


class Serving:
    """A folder with an application, and what a server logs that serves it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("app.py", APP.format(limiter="memory://"))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def log(self, *arguments: str, processes: int, **variables: str) -> list[str]:
        """All lines of ``python`` with these arguments, which is stopped when that many processes are ready."""
        sign = READY["gunicorn" if "gunicorn" in arguments else "uvicorn"]
        lines: list[str] = []
        with self._started(arguments, variables) as server:
            try:
                for line in server.stdout or ():
                    lines.append(line.rstrip("\n"))
                    if sign in line and sum(sign in earlier for earlier in lines) == processes:
                        server.terminate()
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(server.pid, signal.SIGKILL)
        assert sum(sign in line for line in lines) == processes, lines
        return lines

    def _started(self, arguments: tuple[str, ...], variables: dict[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self._environment() | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        """This process's, less what would tell a server anything."""
        told = ("WEB_CONCURRENCY", "GUNICORN_", "UVICORN_", "VC_AUTH_", "PYTHONPATH")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(told)}
        package = str(Path(vc_auth.__file__).parent.parent)
        return kept | {"PYTHONPATH": os.pathsep.join((package, str(self.folder))), "PYTHONUNBUFFERED": "1"}


def warnings(log: list[str]) -> list[str]:
    return [line for line in log if "buckets of its own" in line]


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


# -- uvicorn -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "concurrency", "workers"),
    [
        (("--workers", "2"), "", 2),
        ((), "2", 2),
        (("--workers", "2"), "3", 2),
        (("--workers", "1"), "3", 1),
        (("--reload",), "3", 1),
        ((), "", 1),
    ],
)
def test_every_worker_of_uvicorn_warns_if_there_are_several(
    serving: Serving, options: tuple[str, ...], concurrency: str, workers: int
) -> None:
    variables = {"WEB_CONCURRENCY": concurrency} if concurrency else {}
    log = serving.log(*UVICORN, *options, processes=workers, **variables)
    assert len(warnings(log)) == (workers if workers > 1 else 0), log
    assert all(line.startswith(f"{workers} workers, ") for line in warnings(log))


def test_workers_of_uvicorn_run_are_seen_as_well(serving: Serving) -> None:
    serving.write("serve.py", SCRIPT.format(options=", workers=2"))
    assert len(warnings(serving.log("serve.py", processes=2))) == 2


def test_without_limits_several_workers_are_no_reason_to_warn(serving: Serving) -> None:
    serving.write("app.py", APP.format(limiter="none"))
    assert warnings(serving.log(*UVICORN, "--workers", "2", processes=2)) == []


# -- gunicorn ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "variables", "in_file", "workers"),
    [
        (("-w2",), {}, None, 2),
        (("--workers", "2"), {"WEB_CONCURRENCY": "3"}, 3, 2),
        ((), {"WEB_CONCURRENCY": "2"}, None, 2),
        ((), {"GUNICORN_CMD_ARGS": "--workers=2"}, None, 2),
        ((), {}, 2, 2),
        (("--workers", "1"), {"WEB_CONCURRENCY": "3"}, 3, 1),
        ((), {}, None, 1),
    ],
)
def test_every_worker_of_gunicorn_warns_if_there_are_several(
    serving: Serving, options: tuple[str, ...], variables: dict[str, str], in_file: int | None, workers: int
) -> None:
    if in_file is not None:
        serving.write("gunicorn.conf.py", f"workers = {in_file}\n")
    log = serving.log(*GUNICORN, *options, processes=workers, **variables)
    assert len(warnings(log)) == (workers if workers > 1 else 0), log
    assert all(line.startswith(f"{workers} workers, ") for line in warnings(log))
