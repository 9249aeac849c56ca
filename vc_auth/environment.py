"""Settings as text: from environment variables and files to plain values."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, Final

from starlette.config import Config

from vc_auth.errors import Problem
from vc_auth.plans import Plan

PREFIX: Final = "VC_AUTH_"
_TESTS: Final = PREFIX + "TEST_"


def read(
    env: Mapping[str, str], defaults: Mapping[str, Any], env_file: str | PathLike[str] | None
) -> tuple[dict[str, Any], list[Problem]]:
    """What ``VC_AUTH_*`` in ``env``, and below it in ``env_file``, say of the settings that ``defaults`` name.

    A value is read as its default's type. Returns the values, and what could not be read or is no setting.
    """
    # Starlette warns of a file that is missing, so it is asked only for one that somebody named.
    texts = {**(Config(Path(env_file), environ={}).file_values if env_file is not None else {}), **env}
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for variable, text in texts.items():
        if not variable.startswith(PREFIX) or variable.startswith(_TESTS):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in defaults:
            problems.append(Problem(variable, "no such setting", _suggestion(name, defaults)))
            continue
        try:
            values[name] = _reader(name, defaults[name])(text)
        except ValueError as error:
            problems.append(Problem(name, f"{variable}={text!r} cannot be read", str(error)))
    return values, problems


def _suggestion(name: str, defaults: Mapping[str, Any]) -> str:
    close = get_close_matches(name, defaults, 1)
    return f"did you mean {PREFIX}{close[0].upper()}?" if close else "remove it"


def _reader(name: str, default: object) -> Callable[[str], Any]:
    if name == "plans":
        return _read_plans
    return {bool: _read_bool, int: _read_int, float: _read_float, tuple: _read_list}.get(type(default), str)


def _read_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _read_bool(text: str) -> bool:
    try:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.strip().lower()]
    except KeyError:
        raise ValueError("write true or false") from None


def _read_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("write a whole number") from None


def _read_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("write seconds as a number, such as 0.5") from None


def _read_plans(text: str) -> tuple[Plan, ...]:
    return tuple(_read_plan(part) for part in _read_list(text))


def _read_plan(text: str) -> Plan:
    name, equals, limits = text.partition("=")
    rate, colon, burst = limits.rpartition(":")
    if not (equals and colon and burst.isascii() and burst.isdigit()):
        raise ValueError("write plans as name=rate:burst, such as free=60/minute:100")
    return Plan(name.strip(), rate=rate, burst=int(burst))
