"""Where the store is: what names none is refused at the start, and not shown."""

from __future__ import annotations

from typing import Final

import pytest

from codeq_grpc.settings import SettingsError, load_settings

SECRET: Final = "s3cr3t-canary"


@pytest.mark.parametrize(
    "url",
    [
        f"{SECRET}@store:6379",
        f"http://:{SECRET}@store",
        f"redis:/{SECRET}",
        f"redis://:{SECRET}@store:port",
        f"redis://:{SECRET}@store:65536",
        f"rediss://:{SECRET}@store:0",
        f"redis://:{SECRET}@store/database",
        "redis://[::1:6379",
        "unix://",
        "localhost:6379",
    ],
)
def test_a_url_that_names_no_store_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError, match=r"redis_url: must be redis://HOST:PORT") as caught:
        load_settings(redis_url=url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://store",
        "redis://store:7/",
        "redis://user:p%40ss@store:7/2?protocol=3",
        "rediss://[::1]:7",
        "unix:///run/a store.sock?db=1",
        "unix://relative/store.sock",
        "unix:///run/store:1.sock",
    ],
)
def test_a_url_that_names_a_store_is_taken_as_it_is(url: str) -> None:
    assert load_settings(redis_url=url).store_url() == url


def test_an_address_of_the_store_is_no_url() -> None:
    for address in ("redis://store:7", "store:port", "store:65536", "store:7/1", "a b:7", ""):
        with pytest.raises(SettingsError, match=r"redis_addr: must be HOST:PORT"):
            load_settings(redis_addr=address)
    for address in ("store", "[::1]:7", "10.0.0.1:7"):
        assert load_settings(redis_addr=address).store_url() == f"redis://{address}"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"redis://user:{SECRET}@store:7/2?password={SECRET}", "redis://store:7/2"),
        (f"rediss://:{SECRET}@@[::1]:7", "rediss://[::1]:7"),
        (f"unix:///run/a store.sock?password={SECRET}", "unix:///run/a store.sock"),
        ("", "redis://localhost:6379"),
    ],
)
def test_the_log_has_its_place_and_no_password(url: str, place: str) -> None:
    assert load_settings(redis_url=url).store_place() == place
