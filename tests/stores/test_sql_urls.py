"""URLs of SQLite stores: which are good, and what is said of the others."""

import pytest

from vc_auth import Settings
from vc_auth.stores import open_store


@pytest.mark.parametrize(
    "url", ["sqlite:///keys.db", "sqlite:///data/keys.db", "sqlite:////var/lib/keys.db", "memory://"]
)
def test_a_good_url_is_no_problem(url: str) -> None:
    assert Settings(store=url).problems() == ()


@pytest.mark.parametrize(
    ("url", "wrong", "hint"),
    [
        (
            "mysql://ann:pw@h/db",
            "'mysql://ann:***@h/db' is no store",
            "give 'memory://' or 'sqlite:///keys.db', or pass",
        ),
        ("", "'' is no store", "give 'memory://' or 'sqlite:///keys.db', or pass"),
        ("keys.db", "'keys.db' is no store", "give 'memory://' or 'sqlite:///keys.db', or pass"),
        ("sqlite://keys.db", "'sqlite://keys.db' has not three slashes and a path", "give 'sqlite:///keys.db', or"),
        ("sqlite:keys.db", "'sqlite:keys.db' has not three slashes and a path", "give 'sqlite:///keys.db', or"),
        ("sqlite:///", "'sqlite:///' has not three slashes and a path", "give 'sqlite:///keys.db', or"),
        (
            "sqlite://",
            "'sqlite://' would be gone with its connection",
            "give 'memory://', or a file: 'sqlite:///keys.db'",
        ),
        ("sqlite:///:memory:", "'sqlite:///:memory:' would be gone with", "give 'memory://', or a file"),
        (
            "sqlite:////data/",
            "'sqlite:////data/' names no file",
            "give a path without '?' and '#', and no '/' at its end",
        ),
        ("sqlite:///keys.db?mode=ro", "'sqlite:///keys.db?mode=ro' names no file", "give a path without '?' and '#'"),
    ],
)
def test_a_bad_url_is_said_to_be_bad_before_anything_is_opened(url: str, wrong: str, hint: str) -> None:
    (problem,) = Settings(store=url).problems()
    assert problem.setting == "store"
    assert problem.wrong.startswith(wrong)
    assert problem.hint.startswith(hint)
    with pytest.raises(ValueError) as error:  # noqa: PT011  # all of it is compared
        open_store(url)
    assert str(error.value) == f"{problem.wrong}; {problem.hint}"
