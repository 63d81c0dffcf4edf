"""The public names of ``antiphon.testing``, which are imported when they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import antiphon.testing


@pytest.mark.parametrize("name", sorted(set(antiphon.testing.__all__) - {"LiveServerTestCase"}))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(antiphon.testing, name).__name__ == name
    assert name in dir(antiphon.testing)


def test_the_names_are_those_that_it_knows_where_to_find() -> None:
    assert sorted(antiphon.testing._MODULES) == antiphon.testing.__all__


def test_another_name_is_none() -> None:
    with pytest.raises(AttributeError, match=r"module 'antiphon.testing' has no attribute 'Communicator'"):
        antiphon.testing.Communicator  # noqa: B018


@pytest.mark.parametrize("name", ["ApplicationCommunicator", "HttpCommunicator", "WebsocketCommunicator"])
def test_a_communicator_needs_neither_django_nor_channels_nor_a_server(name: str) -> None:
    code = f"""
import sys
from antiphon.testing import {name}
print(*sorted({{"django", "channels", "uvicorn", "websockets.sync.client"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
