"""A watch over secrets: knows every key that the suite makes, and looks for it where it must not be."""

import functools
import inspect
import logging
import re
import secrets
from collections.abc import Callable
from operator import itemgetter
from types import FrameType, TracebackType
from typing import Any, Self

import pytest
from starlette.requests import HTTPConnection

from vc_auth.cache import ReadThroughCache
from vc_auth.guard import Guard
from vc_auth.middleware import APIKeyMiddleware
from vc_auth.registry import Registry

# Every run of 32 hexadecimal characters, also of those that overlap: however many keys the suite has made, a text is
# read once.
_windows = re.compile("(?=([0-9a-f]{32}))").finditer


class Watch(logging.Handler):
    """Looks at every log record at DEBUG, and at every exception that leaves the package's doors and services."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.secrets: set[str] = set()
        self.leaks: list[str] = []
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Self:
        token_hex = secrets.token_hex

        def remembered(size: int | None = None) -> str:
            token = token_hex(size)
            if size == 16:
                self.secrets.add(token)
            return token

        self._patch.setattr("vc_auth.keys.secrets.token_hex", remembered)
        for kind in (Guard, Registry, ReadThroughCache, APIKeyMiddleware):
            for name, method in vars(kind).items():
                if inspect.iscoroutinefunction(method) and (name == "__call__" or not name.startswith("_")):
                    self._patch.setattr(kind, name, self._watched(method))
        root = logging.getLogger()
        self._patch.setattr(root, "level", logging.DEBUG)
        root.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
        self._patch.undo()

    def emit(self, record: logging.LogRecord) -> None:
        self.look_at(f"the log line of {record.name}", f"{record.getMessage()} {record.args!r} {record.__dict__!r}")

    def look_at(self, where: str, text: str) -> None:
        if not self.secrets.isdisjoint(map(itemgetter(1), _windows(text))):
            self.leaks.append(f"a key stands in {where}")

    def look_at_exception(self, error: BaseException | None) -> None:
        while error is not None:
            self.look_at("the exception", f"{error!r} {error}")
            self._look_at_frames(error.__traceback__)
            error = error.__cause__ or error.__context__

    def _look_at_frames(self, traceback: TracebackType | None) -> None:
        while traceback is not None:
            if str(traceback.tb_frame.f_globals.get("__name__", "")).startswith("vc_auth."):
                self._look_at_frame(traceback.tb_frame)
            traceback = traceback.tb_next

    def _look_at_frame(self, frame: FrameType) -> None:
        # The server's scope, and the application's copy of it, hold the key by right; their header lists are theirs.
        scopes = [value for value in frame.f_locals.values() if isinstance(value, dict) and "headers" in value]
        theirs = {id(scope) for scope in scopes} | {id(scope["headers"]) for scope in scopes}
        for name, value in frame.f_locals.items():
            if id(value) not in theirs and not isinstance(value, HTTPConnection):  # which is a scope and methods
                shown = f"{value!r} {getattr(value, '__dict__', '')!r}"
                self.look_at(f"local {name!r} of {frame.f_code.co_name}", shown)

    def _watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        async def watched(*args: Any, **kwargs: Any) -> Any:
            try:
                return await method(*args, **kwargs)
            except BaseException as error:
                self.look_at_exception(error)
                raise

        return watched
