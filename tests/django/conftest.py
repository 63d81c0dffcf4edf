"""A Django of the tests' own: a database in a file, sessions, users.

It is set up when this is imported: Django's models, which the tests import, can't be imported before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings
from django.db import connections

_FOLDER = tempfile.TemporaryDirectory(prefix="antiphon-tests-")

settings.configure(
    SECRET_KEY="tests",
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path(_FOLDER.name) / "db.sqlite3")}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
)
django.setup()


@pytest.fixture(scope="session", autouse=True)
def _database() -> Iterator[None]:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    yield
    connections.close_all()
    _FOLDER.cleanup()


@pytest.fixture
def user(request: pytest.FixtureRequest) -> Any:
    """Return a user with a name of the test's own."""
    from django.contrib.auth import get_user_model

    return get_user_model().objects.create_user(request.node.name[:150])
