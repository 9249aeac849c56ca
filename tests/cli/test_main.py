"""The command itself: what it needs, what it refuses, and where its help is."""

import errno
import os
import re
import runpy
import socket
import subprocess
import sys
from contextlib import closing

import pytest
from click.testing import CliRunner, Result

import vc_auth.cli
from vc_auth.cli.commands import cli


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def block(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Make ``missing`` a module that is not installed, and the command line one that nobody has imported yet."""
    for module in [name for name in sys.modules if name.startswith(("vc_auth.cli.", f"{missing}."))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(vc_auth.cli, "commands", vc_auth.cli.commands)  # an import replaces it; this puts it back


def test_python_m_vc_auth_cli_is_vc_auth(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["__main__.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("vc_auth.cli", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("Usage: vc-auth [OPTIONS] COMMAND [ARGS]...")


@pytest.mark.parametrize("group", [(), ("keys",), ("projects",)])
@pytest.mark.parametrize("key", ["vc_" + "1a" * 16, "VC_" + "1A" * 16, "Bearer sk-" + "0f" * 16])
def test_a_key_in_place_of_a_command_is_not_repeated(group: tuple[str, ...], key: str) -> None:
    result = run(*group, key)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(
        "Error: This looks like a key, and no command is called so. `vc-auth check` reads a key from stdin.\n"
    )
    assert key[-32:] not in result.stderr


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_click_or_rich_it_prints_the_pip_line_that_adds_them(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    block(monkeypatch, missing)
    with pytest.raises(SystemExit) as ended:
        vc_auth.cli.main()
    assert ended.value.code == (
        "The command line of vc-auth needs click and rich. Add them with:\n\n    pip install 'vc-auth[cli]'"
    )


def test_without_click_there_is_no_traceback_and_the_exit_code_is_1() -> None:
    code = "import sys; sys.modules['click'] = None; from vc_auth.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[-1] == "    pip install 'vc-auth[cli]'"
    assert "Traceback" not in ended.stderr


def test_another_module_that_is_missing_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    block(monkeypatch, "vc_auth.cli.commands")
    with pytest.raises(ModuleNotFoundError, match="commands"):
        vc_auth.cli.main()


def test_without_uvicorn_the_demo_prints_the_pip_line_that_adds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    block(monkeypatch, "uvicorn")
    result = run("demo")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "Error: `vc-auth demo` needs uvicorn. Add it with:\n\n    pip install 'vc-auth[server]'\n"


def test_another_module_that_the_demo_misses_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    block(monkeypatch, "cachetools")
    assert isinstance(run("demo").exception, ModuleNotFoundError)


def test_help_lists_the_commands_and_says_where_keys_live() -> None:
    out = run("--help").output
    assert re.findall(r"^  ([a-z]+)  ", out.partition("Commands:")[2], re.MULTILINE) == [
        *("projects", "keys", "usage", "check", "demo")
    ]
    assert "--store URL, or VC_AUTH_STORE, or keys.db in this folder" in " ".join(out.split())
    for command in ("usage", "check"):
        text = " ".join(run(command, "-h").output.split())
        assert all(word in text for word in ("--json", "[default: sqlite:///keys.db] [env var: VC_AUTH_STORE]"))


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_the_commands_and_their_options(option: str) -> None:
    assert re.search("demo +Start a guarded server", run(option).output)
    text = run("demo", option).output
    assert all(word in text for word in ("--host", "--port", "--once", "[default: 127.0.0.1]", "default: 8000"))


@pytest.mark.parametrize(
    "arguments", [("--port", "65536"), ("--port", "-1"), ("--port", "http"), ("--twice",), ("extra",)]
)
def test_bad_options_are_refused_with_code_2(arguments: tuple[str, ...]) -> None:
    result = run("demo", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_a_taken_port_is_one_clear_sentence() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        result = run("demo", "--once", "--port", str(port))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"Error: Port {port} on 127.0.0.1 is taken. Try `vc-auth demo --port 0`, which picks a free one.\n"
    )


def test_a_host_that_is_not_ours_is_one_clear_sentence() -> None:
    result = run("demo", "--once", "--host", "192.0.2.1", "--port", "0")  # RFC 5737: documentation only
    assert result.exit_code == 1
    assert result.stderr == f"Error: Cannot listen on 192.0.2.1, port 0: {os.strerror(errno.EADDRNOTAVAIL)}.\n"


def test_a_host_that_is_no_name_is_one_clear_sentence() -> None:
    result = run("demo", "--once", "--host", 70 * "a")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: Cannot listen on {70 * 'a'}, port 8000: ")
    assert result.stderr.count("\n") == 1
