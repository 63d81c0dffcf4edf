"""The commands that files have."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from antiphon.doctor.deployment import Command, Deployment, read_deployment, read_gunicorn, read_text

from .projects import write

APPLICATION = "project.asgi.application"


def read(text: str) -> Deployment:
    return read_text(textwrap.dedent(text).lstrip("\n"), "file")


def one(text: str) -> Command:
    (command,) = read(text).commands
    return command


COMMANDS = {
    "a process type": ("web: uvicorn project.asgi:application --workers 4", "uvicorn", 4),
    "a shell": ("exec gunicorn project.asgi -k uvicorn.workers.UvicornWorker -w 3", "gunicorn", 3),
    "a short option": ("gunicorn project.asgi -kuvicorn.workers.UvicornWorker -w3", "gunicorn", 3),
    "with =": ("gunicorn project.asgi --worker-class=uvicorn.workers.UvicornWorker --workers=3", "gunicorn", 3),
    "the last counts": ("uvicorn project.asgi:application --workers 2 --workers 5", "uvicorn", 5),
    "a path": ("/srv/chat/bin/antiphon serve project.asgi:application --workers 2", "antiphon", 2),
    "a module": ("python -m antiphon serve project.asgi:application", "antiphon", None),
    "poetry": ("web: poetry run daphne project.asgi:application", "daphne", 1),
    "behind another": ("python manage.py migrate && hypercorn project.asgi:application -w 2", "hypercorn", 2),
    "in quotes": ("CMD sh -c 'uvicorn project.asgi:application --workers 2'", "uvicorn", 2),
    "as a list": ('CMD ["uvicorn", "project.asgi:application", "--workers", "2"]', "uvicorn", 2),
    "as a tight list": ('ENTRYPOINT ["uvicorn","project.asgi:application","--workers","2"]', "uvicorn", 2),
    "continued": ("uvicorn project.asgi:application \\\n    --workers \\\n    # a comment\n    2", "uvicorn", 2),
    "a unit": ("[Service]\nExecStart=/usr/bin/env uvicorn project.asgi:application --workers 2", "uvicorn", 2),
    "a unit with a path": ("ExecStart=-/srv/bin/uvicorn project.asgi:application --workers 2", "uvicorn", 2),
    "a variable": ("WEB_CONCURRENCY=4 uvicorn project.asgi:application", "uvicorn", 4),
    "a variable that does not count": ("WEB_CONCURRENCY=4 hypercorn project.asgi:application", "hypercorn", None),
    "a default": ("uvicorn project.asgi:application --workers ${WORKERS:-3}", "uvicorn", 3),
    "what a shell fills in": ("uvicorn project.asgi:application --workers $WORKERS", "uvicorn", None),
    "nothing behind": ("uvicorn project.asgi:application --workers", "uvicorn", None),
    "Compose, in a line": ("web:\n  command: uvicorn project.asgi:application --workers 2", "uvicorn", 2),
    "Compose, a list in a line": ('command: ["uvicorn", "project.asgi:application", "--workers", "2"]', "uvicorn", 2),
    "Compose, a list": (
        """
        web:
          command:
            - uvicorn
            - project.asgi:application
            - --workers
            - "2"
          ports: []
        """,
        "uvicorn",
        2,
    ),
    "Compose, a flat list": (
        "command:\n- uvicorn\n- project.asgi:application\n- --workers=2\nports:\n- 8000",
        "uvicorn",
        2,
    ),
    "Compose, folded": ("command: >-\n  uvicorn project.asgi:application\n  --workers 2\nports: []", "uvicorn", 2),
    "Compose, a script": (
        "command: |\n  python manage.py migrate\n  uvicorn project.asgi:application \\\n    --workers 2\n",
        "uvicorn",
        2,
    ),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_command_is_found(case: str) -> None:
    text, program, workers = COMMANDS[case]
    (command,) = [each for each in read(text).commands if each.program != "manage.py"]
    assert (command.program, command.workers) == (program, workers)
    assert command.serves(APPLICATION)


@pytest.mark.parametrize(
    "text",
    [
        "RUN pip install uvicorn && uvicorn project.asgi:application",
        "# web: uvicorn project.asgi:application",
        "pip install gunicorn uvicorn",
        "web: echo uvicorn project.asgi:application",
        "image: gunicorn",
        "depends_on:\n  - web",
        "",
    ],
)
def test_what_is_no_command(text: str) -> None:
    assert not [each for each in read(text).commands if each.serves(APPLICATION)]


@pytest.mark.parametrize(
    "text",
    [
        "uvicorn other.main:app",
        "uvicorn project.asgi:other",
        "gunicorn project.wsgi:application -w 4",
        "gunicorn project.asgi:application -w 4",
        "antiphon doctor",
        "python manage.py runserver",
    ],
)
def test_what_serves_something_else(text: str) -> None:
    assert not one(text).serves(APPLICATION)


def test_a_factory_and_gunicorns_own_worker() -> None:
    assert one("uvicorn project.asgi:application()").serves(APPLICATION)
    assert one("gunicorn -k asgi project.asgi").serves(APPLICATION)


def test_places_are_those_of_the_first_line() -> None:
    text = "a:\n  command:\n    - daphne\n    - x:y\n\n# note\nb: uvicorn \\\n  x:y\n"
    assert [(str(each.place), each.program) for each in read(text).commands] == [
        ("file:2", "daphne"),
        ("file:7", "uvicorn"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "ENV WEB_CONCURRENCY=3",
        "ENV WEB_CONCURRENCY 3",
        "environment:\n  WEB_CONCURRENCY: 3",
        'environment:\n  - "WEB_CONCURRENCY=3"',
        "Environment=WEB_CONCURRENCY=3",
        'Environment="WEB_CONCURRENCY=3"',
    ],
)
def test_concurrency(text: str) -> None:
    ((number, place),) = read(text).concurrency
    assert (number, place.line) == (3, text.count("\n") + 1)


@pytest.mark.parametrize("text", ["# WEB_CONCURRENCY=3", "WEB_CONCURRENCY=$N", "x: ${WEB_CONCURRENCY:-3}"])
def test_no_concurrency(text: str) -> None:
    assert read(text).concurrency == ()


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("workers = 4", ("--workers", "4"), 1),
        ("\nimport multiprocessing\nworkers = multiprocessing.cpu_count() * 2 + 1", ("--workers", "3+"), 3),
        ("workers = 2 * cpu_count()", ("--workers", "2+"), 1),
        ("workers = int(os.environ.get('N', '3'))", ("--workers", "3+"), 1),
        ("workers = int(os.getenv('N', 3))", ("--workers", "3+"), 1),
        ("workers = int(os.environ['N'])", (), 1),
        ("workers = some()", (), 1),
        ("workers = some() + 1", (), 1),
        ("workers = True", (), 1),
        ("worker_class = 'a.B'\nwsgi_app = 'project.asgi'", ("--worker-class", "a.B", "project.asgi"), 1),
        ("workers: int = 4\nbind = '0.0.0.0'", (), 1),
        ("def (", (), 1),
    ],
)
def test_gunicorns_configuration(text: str, words: tuple[str, ...], line: int) -> None:
    found, place = read_gunicorn(text, "gunicorn.conf.py")
    assert found == words
    assert (place.name, place.line) == ("gunicorn.conf.py", line)


def test_what_depends_on_the_machine_is_at_least_that() -> None:
    command = Command("gunicorn", ("--workers", "3+"), one("gunicorn x:y").place, {})
    assert (command.workers, command.says_workers) == (3, "3 processes or more")
    assert one("uvicorn x:y --workers 4").says_workers == "4 processes"


UVICORN = "worker_class = 'uvicorn.workers.UvicornWorker'\nworkers = 4\n"


def test_gunicorns_configuration_is_that_of_its_command(tmp_path: Path) -> None:
    write(
        tmp_path, {"gunicorn.conf.py": UVICORN, "Procfile": "a: gunicorn project.asgi\nb: gunicorn project.asgi -w 2\n"}
    )
    commands = read_deployment(tmp_path, tmp_path).commands
    assert [(str(each.place), each.workers) for each in commands] == [("Procfile:1", 4), ("Procfile:2", 2)]
    assert all(each.serves(APPLICATION) for each in commands)


def test_gunicorns_configuration_alone(tmp_path: Path) -> None:
    write(tmp_path, {"gunicorn.conf.py": UVICORN})
    (command,) = read_deployment(tmp_path, tmp_path).commands
    assert (str(command.place), command.workers, command.serves(APPLICATION)) == ("gunicorn.conf.py:2", 4, True)
    write(tmp_path, {"gunicorn.conf.py": UVICORN + "wsgi_app = 'other.asgi'\n"})
    (command,) = read_deployment(tmp_path, tmp_path).commands
    assert not command.serves(APPLICATION)
    write(tmp_path, {"gunicorn.conf.py": "workers = 4\n"})
    (command,) = read_deployment(tmp_path, tmp_path).commands
    assert not command.serves(APPLICATION)


def test_the_files_that_are_read(tmp_path: Path) -> None:
    ours = ["Procfile.dev", "Dockerfile", "web.Dockerfile", "docker-compose.prod.yml", "compose.yaml", "chat.service"]
    others = ["README.md", "deploy/Procfile", "Procfile/nested"]
    write(tmp_path, dict.fromkeys([*ours, *others], "web: daphne x:y\n"))
    assert sorted(each.place.name for each in read_deployment(tmp_path, tmp_path).commands) == sorted(ours)


def test_one_folder_up_is_read_where_it_is_the_root_of_the_repository(tmp_path: Path) -> None:
    write(tmp_path, {"Procfile": "web: daphne x:y\n", "site/Procfile": "web: uvicorn x:y\n"})
    site = tmp_path / "site"
    assert [each.program for each in read_deployment(site, site).commands] == ["uvicorn"]
    (tmp_path / ".git").mkdir()
    assert [str(each.place) for each in read_deployment(site, site).commands] == ["Procfile:1", "../Procfile:1"]
    (site / ".git").mkdir()
    assert [each.program for each in read_deployment(site, site).commands] == ["uvicorn"]
