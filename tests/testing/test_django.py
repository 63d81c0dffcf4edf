"""Django's and Channels' side, in projects of their own: applications, transactions, live servers.

Each test runs Django's test runner in a process, on a project that is written for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SETTINGS = """
from pathlib import Path

BASE_DIR = Path(__file__).parent
SECRET_KEY = "tests"
DEBUG = False
ALLOWED_HOSTS = []
INSTALLED_APPS = ["antiphon.django", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.staticfiles"]
ROOT_URLCONF = "site_urls"
ASGI_APPLICATION = "site_asgi.application"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "db.sqlite3",
        "TEST": {"NAME": str(BASE_DIR / "test.sqlite3")},
    }
}
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "assets"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
"""

URLS = """
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path

def users(request):
    request.get_host()  # raises, if that is not allowed
    return HttpResponse(",".join(User.objects.values_list("username", flat=True)))

urlpatterns = [path("users/", users)]
"""

ASGI = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer as Theirs, JsonWebsocketConsumer as TheirsInThread
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

http = get_asgi_application()

from django.contrib.auth.models import User
from antiphon import AsyncJsonWebsocketConsumer as Ours, JsonWebsocketConsumer as OursInThread

class Asynchronous:
    async def receive_json(self, content):
        if content == "fail":
            raise LookupError("in a handler")
        user = await database_sync_to_async(User.objects.create)(username=content)
        names = await database_sync_to_async(lambda: list(User.objects.values_list("username", flat=True)))()
        await self.send_json({"names": sorted(names), "room": self.scope["url_route"]["kwargs"]["room"]})

class InThread:
    def receive_json(self, content):
        if content == "fail":
            raise LookupError("in a handler")
        User.objects.create(username=content)
        names = sorted(User.objects.values_list("username", flat=True))
        self.send_json({"names": names, "room": self.scope["url_route"]["kwargs"]["room"]})

CLASSES = [type(base.__module__, (mixin, base), {}) for mixin, base in [
    (Asynchronous, Ours), (Asynchronous, Theirs), (InThread, OursInThread), (InThread, TheirsInThread)
]]
application = ProtocolTypeRouter({
    "http": http,
    "websocket": URLRouter([path(f"{number}/<room>/", cls.as_asgi()) for number, cls in enumerate(CLASSES)]),
})
"""

COMMUNICATORS = """
import asyncio
from django.contrib.auth.models import User
from django.db import connection
from django.test import TestCase, TransactionTestCase
from antiphon.testing import HttpCommunicator, WebsocketCommunicator
from site_asgi import CLASSES, application

class Base:
    async def test_websockets(self):
        for number in range(len(CLASSES)):
            async with WebsocketCommunicator(application, f"/{number}/kitchen/") as communicator:
                for name in ("alan", "grace"):
                    await communicator.send_json_to(f"{name} of {number}")
                    answer = await communicator.receive_json_from(timeout=30)
                    assert answer["room"] == "kitchen"
                    assert {"ada", f"{name} of {number}"} <= set(answer["names"]), answer
        assert await User.objects.acount() == 1 + 2 * len(CLASSES)

    async def test_several_at_a_time(self):
        async def one(number):
            async with WebsocketCommunicator(application, f"/{number}/kitchen/") as communicator:
                await communicator.send_json_to(f"user {number}")
                await communicator.receive_json_from(timeout=30)
        await asyncio.gather(*map(one, range(len(CLASSES))))
        assert await User.objects.acount() == 1 + len(CLASSES)

    async def test_exceptions(self):
        for number in range(len(CLASSES)):
            communicator = WebsocketCommunicator(application, f"/{number}/kitchen/")
            assert (await communicator.connect(timeout=30))[0]
            await communicator.send_json_to("fail")
            with self.assertRaisesMessage(LookupError, "in a handler"):
                await communicator.receive_output(timeout=30)
            await communicator.disconnect(timeout=30)

    async def test_forgetting_to_disconnect(self):
        communicator = WebsocketCommunicator(application, "/0/kitchen/")
        await communicator.connect()
        await communicator.send_json_to("alan")
        await communicator.receive_json_from(timeout=30)

class InTransaction(Base, TestCase):
    @classmethod
    def setUpTestData(cls):
        User.objects.create(username="ada")

    def tearDown(self):
        assert connection.in_atomic_block and not connection.closed_in_transaction
        assert User.objects.filter(username="ada").exists()

class WithoutTransaction(Base, TransactionTestCase):
    def setUp(self):
        User.objects.create(username="ada")

    # Not in a transaction: Django serves each request in a thread of its own, which has another connection.
    async def test_http(self):
        for _ in range(2):
            request = HttpCommunicator(application, "GET", "/users/", headers=[(b"host", b"testserver")])
            response = await request.get_response(timeout=30)
            assert (response["status"], response["body"]) == (200, b"ada"), response
"""

LIVE = """
import urllib.request
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections
from django.test import TransactionTestCase
from antiphon import sync
from antiphon.testing import Closed, LiveServers, LiveServerTestCase, Refused
from site_asgi import http
from websockets.sync.client import connect
import json

def get(url):
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.read()

class Shared(TransactionTestCase):
    def test_the_project_with_its_static_files(self):
        User.objects.create(username="ada")
        with LiveServers() as servers:
            server = servers.start()
            assert get(server.url + "/static/hello.txt") == b"a file"
            assert get(server.url + "/users/") == b"ada"
            for number in range(4):
                with server.connect(f"/{number}/kitchen/", timeout=30) as client:
                    client.send_json(f"user {number}")
                    assert f"user {number}" in client.receive_json()["names"]
        assert User.objects.count() == 5
        assert "127.0.0.1" not in settings.ALLOWED_HOSTS

    def test_an_application_that_is_given_is_found_under_its_address_too(self):
        with LiveServers() as servers:
            first, second = servers.start(http), servers.start(http)
            first.stop()
            assert get(second.url + "/users/") == b""

    def test_without_static_files(self):
        with self.modify_settings(INSTALLED_APPS={"remove": "django.contrib.staticfiles"}), LiveServers() as servers:
            with self.assertRaises(urllib.error.HTTPError):
                get(servers.start().url + "/static/hello.txt")

    def test_in_a_process_of_its_own(self):
        with LiveServers() as servers:
            server = servers.start(process=True)
            with self.assertRaises(urllib.error.HTTPError):
                get(server.url + "/static/hello.txt")
            with server.connect("/0/kitchen/") as client:
                client.send_json("fail")
                with self.assertRaises(Closed):
                    client.receive()

class OfChannels(LiveServerTestCase):
    def test_it_serves_the_test_s_database(self):
        User.objects.create(username="ada")
        assert get(self.live_server_url + "/users/") == b"ada"
        assert get(self.live_server_url + "/static/hello.txt") == b"a file"
        with connect(self.live_server_ws_url + "/0/kitchen/", proxy=None) as client:
            client.send(json.dumps("alan"))
            assert json.loads(client.recv(30))["names"] == ["ada", "alan"]
        assert User.objects.count() == 2
        assert type(self._server_process).__name__ == "AntiphonProcess"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A Django project."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "hello.txt").write_text("a file")
    for name, text in {"site_settings": SETTINGS, "site_urls": URLS, "site_asgi": ASGI}.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def run(project: Path, *arguments: str, settings: str = "site_settings") -> tuple[int, str]:
    """Run Python in the project's folder, with warnings as errors; return the exit code and what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANTIPHON_", "DJANGO_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=project,
        env={**environment, **({"DJANGO_SETTINGS_MODULE": settings} if settings else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


def run_tests(project: Path, tests: str) -> str:
    """Run Django's tests; return what they printed."""
    (project / "test_site.py").write_text(tests)
    code, printed = run(project, "-m", "django", "test", "--noinput")
    assert code == 0, printed
    return printed


def test_communicators_leave_the_transaction_of_a_test_alone(project: Path) -> None:
    assert "Ran 9 tests" in run_tests(project, COMMUNICATORS)


def test_live_servers_serve_the_project(project: Path) -> None:
    assert "Ran 5 tests" in run_tests(project, LIVE)


WITHOUT = """
import sys
from antiphon.exceptions import UsageError
from antiphon.testing import LiveServers

for process in (False, True):
    try:
        LiveServers().start(process=process)
    except UsageError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("settings", "change", "words"),
    [
        ("", "", "Django has no settings here"),
        ("site_settings", "ASGI_APPLICATION = None", "ASGI_APPLICATION is not in Django's settings"),
    ],
)
def test_without_an_application_it_says_what_to_do(project: Path, settings: str, change: str, words: str) -> None:
    with (project / "site_settings.py").open("a") as file:
        file.write(change)
    code, printed = run(project, "-c", WITHOUT, settings=settings)
    assert code == 0, printed
    lines = printed.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith(words)
        assert "give live_antiphon() the application to serve" in line


def test_an_application_that_can_not_be_loaded_is_told(project: Path) -> None:
    with (project / "site_settings.py").open("a") as file:
        file.write("ASGI_APPLICATION = 'nowhere_at_all.application'")
    _, printed = run(project, "-c", f"import django; django.setup()\n{WITHOUT.replace('(False, True)', '(False,)')}")
    assert printed.startswith("ASGI_APPLICATION 'nowhere_at_all.application' can't be loaded: No module named"), printed


def test_without_django_it_says_so(tmp_path: Path) -> None:
    code, printed = run(tmp_path, "-c", f"import sys; sys.modules['django'] = None\n{WITHOUT}", settings="")
    assert code == 0, printed
    assert printed.count("Django is not installed, so there is no ASGI_APPLICATION") == 2


def test_without_channels_or_daphne_the_test_case_says_what_it_needs(project: Path) -> None:
    code, printed = run(
        project,
        "-c",
        "import sys, django; django.setup(); sys.modules['daphne.testing'] = None\nimport antiphon.testing.livecase",
    )
    assert code == 1
    assert "LiveServerTestCase is that of Channels with another server: it needs the packages channels and" in printed
