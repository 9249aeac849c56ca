"""No password of a URL is said, in whatever form it stands there."""

import re

import pytest

from vc_auth.masking import masked


@pytest.mark.parametrize(
    ("url", "text", "shown"),
    [
        (None, "no URL, no password", "no URL, no password"),
        ("sqlite:///keys.db", "at 12:30@home", "at 12:30@home"),
        ("db://ann@host", "db://ann@host", "db://ann@host"),
        ("db://ann:pw@host", "cannot reach db://ann:pw@host/x", "cannot reach db://ann:***@host/x"),
        ("db://ann:p%40w@host", "db://ann:p@w@host db://ann:p%40w@host", "db://ann:***@host db://ann:***@host"),
        ("db://ann:p\nw@host", r"'db://ann:p\nw@host'", "'db://ann:***@host'"),
        ("db://:pw@host", "db://:pw@host", "db://:***@host"),
        ("db:/ann:pw@host", "db:/ann:pw@host", "db:/ann:***@host"),
        (":pw@host", "db is no URL: ':pw@host'", "db is no URL: ':***@host'"),
        ("db://host/?password=pw&x=1", "db://host/?password=pw&x=1", "db://host/?password=***&x=1"),
    ],
)
def test_a_password_is_masked_in_a_sentence(url: str | None, text: str, shown: str) -> None:
    assert masked(text, url) == shown
    assert re.search("pw|p@w|p%40w", shown.replace("password", "")) is None


@pytest.mark.parametrize(
    "password", ["pw", "p@w", "p/w", "p//x:y@w", "p:w", "p%40w", "p\nw", "***", "", "@", ":", "p w"]
)
@pytest.mark.parametrize("user", ["", "ann", "ann@example.com"])
def test_a_url_is_shown_without_its_password(user: str, password: str) -> None:
    url = f"db://{user}:{password}@host:5432/keys?x=1"
    assert masked(url, url) == f"db://{user}:***@host:5432/keys?x=1"


@pytest.mark.parametrize(
    "url", ["memory://", "sqlite:///keys.db", "db://host:5432/keys", "db://ann@host:5432", "keys.db", ""]
)
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert masked(url, url) == url
