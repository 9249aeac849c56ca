"""How a storage of `limits` is opened, asked and closed, and what is said of its errors."""

import re
import traceback
from typing import Any

import pytest
from redis.exceptions import NoPermissionError
from window_keepers import PATIENT, SIX, Sick, Watching, keeper_of, raising

from vc_auth import Settings, VCAuth
from vc_auth.errors import BackendError, LimiterError
from vc_auth.limiters.remote import Lost, Owed
from vc_auth.limiters.windows import WindowKeeper, storage

# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "strategy", "sentence"),
    [
        ("mysql://h", "fixed-window", "'limits+mysql://h' is no storage of `limits`; give 'limits+redis://host:6379'"),
        ("sick://", "moving-window", "'limits+sick://' has no 'moving-window'; choose another limiter_strategy, such"),
        ("sick://", "sliding-window-counter", "'limits+sick://' has no 'sliding-window-counter'; choose another"),
        ("redis+cluster://h", "fixed-window", "'limits+redis+cluster://h' cannot be used: "),
        ("redis+sentinel://h:1", "fixed-window", "cannot be used: 'service_name' not provided; write it as `limits`"),
    ],
)
def test_a_storage_that_cannot_be_is_refused_at_once_with_a_sentence(url: str, strategy: Any, sentence: str) -> None:
    with pytest.raises(LimiterError, match=re.escape(sentence)):
        VCAuth(Settings(store="memory://", limiter=f"limits+{url}", limiter_strategy=strategy))


@pytest.mark.parametrize(
    ("scheme", "library"),
    [("memcached", "memcachio"), ("mongodb", "motor"), ("mongodb+srv", "motor"), ("valkey", "valkey")],
)
def test_a_client_that_is_not_installed_is_named(scheme: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "find_spec", lambda name: None)
    sentence = f"'limits+{scheme}://u:***@h:1' needs a client that is not installed; pip install {library}"
    with pytest.raises(LimiterError, match=f"^{re.escape(sentence)}$"):
        VCAuth(Settings(store="memory://", limiter=f"limits+{scheme}://u:secret@h:1"))


@pytest.mark.parametrize("password", ["12/34", "one?two", "one#two", "one@two", "o[n]e"])
def test_no_part_of_a_password_that_is_not_encoded_is_shown(password: str) -> None:
    with pytest.raises(LimiterError) as caught:
        WindowKeeper(f"limits+redis://bob:{password}@h:6379/0", "fixed-window", PATIENT)
    hint = "encode what is special in the password, as %2F for '/'"
    assert str(caught.value) == f"'limits+redis://bob:***@h:6379/0' cannot be read; {hint}"


def test_no_password_stands_in_the_traceback_of_a_url_that_cannot_be_read() -> None:
    url = "limits+redis+cluster://bob:{}@h:http"
    with pytest.raises(LimiterError, match="cannot be used: ") as caught:
        WindowKeeper(url.format("sec" + "ret"), "fixed-window", PATIENT)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        OSError("gone"),
        OSError("no way to u:secret@h"),
        ValueError(),
        TimeoutError(),
        KeyError("k"),
        RuntimeError("odd"),
    ],
)
async def test_whatever_a_storage_raises_is_a_backend_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    Sick.says(raising(error), monkeypatch)
    watching = Watching()
    async with keeper_of("limits+sick://u:secret@h", "fixed-window", watching=watching) as keeper:
        for ask in (keeper.hit, keeper.peek):
            with pytest.raises(Lost, match=r"^limits\+sick://u:\*\*\*@h does not answer: .") as caught:
                await ask("family", SIX)
            words = str(error).replace("secret", "***") or type(error).__name__
            assert str(caught.value).endswith(f" does not answer: {words}")
    assert (watching.answers, len(watching.errors)) == (0, 2)
    assert isinstance(watching.errors[0], BackendError)


@pytest.mark.parametrize(
    "error",
    [
        NoPermissionError("this user has no permissions"),
        RuntimeError("CLIENT_ERROR unauthenticated"),
        RuntimeError("Authentication failed., full error: {'code': 18}"),
        RuntimeError("command find requires authentication"),
        RuntimeError("not authorized on limits to execute command"),
    ],
)
async def test_whoever_is_not_let_in_has_to_mend_the_url(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    Sick.says(raising(error), monkeypatch)
    async with keeper_of("limits+sick://u:secret@auth.example", "fixed-window") as keeper:
        sentence = r"sick://u:\*\*\*@auth.example does not let us in: .*; check the user and the password in the URL"
        with pytest.raises(LimiterError, match=sentence):
            await keeper.check()
        Sick.says(raising(OSError("no way to auth.example")), monkeypatch)
        with pytest.raises(Lost):
            await keeper.check()


async def test_a_window_whose_end_is_not_told_lasts_as_long_as_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    async def all_six() -> int:
        return 6

    Sick.says(all_six, monkeypatch)
    async with keeper_of("limits+sick://", "fixed-window") as keeper:
        assert (await keeper.hit("family", SIX)).retry_after_us == 60_000_000


async def test_debts_of_which_some_were_taken_are_not_handed_back_again(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = iter([None, 0, 1, None])

    async def told() -> int:
        if (reply := next(replies)) is None:
            raise NoPermissionError("no")
        return reply

    Sick.says(told, monkeypatch)
    owed = [Owed(name, SIX, SIX.emission_us) for name in ("one", "another")]
    async with keeper_of("limits+sick://", "fixed-window") as keeper:
        with pytest.raises(LimiterError):
            await keeper.charge(owed)  # none was taken
        with pytest.raises(Lost):
            await keeper.charge(owed)
    assert list(replies) == []
