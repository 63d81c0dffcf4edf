"""What of loading needs no project of its own; ``test_planted`` loads whole ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.doctor.load import layers_of, probable_application
from antiphon.doctor.project import ANTIPHON_LAYER, LayerKind

from .projects import write


def test_layers() -> None:
    found = layers_of(
        {
            "default": {"BACKEND": ANTIPHON_LAYER, "CONFIG": {"expiry": 5}},
            "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
            "mine": {"BACKEND": f"{__name__}.Mine", "CONFIG": None},
            "gone": {"BACKEND": "no_such_module.Layer"},
            "short": {"BACKEND": "Layer"},
            "nothing": {},
            "text": "channels.layers.InMemoryChannelLayer",
        }
    )
    assert {alias: (layer.kind, layer.config) for alias, layer in found.items()} == {
        "default": (LayerKind.ANTIPHON, {"expiry": 5}),
        "memory": (LayerKind.MEMORY, {}),
        "mine": (LayerKind.MEMORY, {}),
        "gone": (LayerKind.OTHER, {}),
        "short": (LayerKind.OTHER, {}),
    }
    assert str(found["mine"].place) == 'CHANNEL_LAYERS["mine"]'
    assert layers_of(None) == {}


def __getattr__(name: str) -> type:
    """Make a layer of the project's own only when it is asked for: Channels need not be imported before."""
    if name != "Mine":
        raise AttributeError(name)
    from channels.layers import InMemoryChannelLayer

    return type("Mine", (InMemoryChannelLayer,), {})


def test_the_application_beside_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ["doctor_site/__init__.py", "doctor_site/asgi.py", "doctor_site/settings/__init__.py", "doctor_bare.py"]
    write(tmp_path, dict.fromkeys(files, ""))
    monkeypatch.syspath_prepend(tmp_path)
    assert probable_application("doctor_site.settings") == "doctor_site.asgi.application"
    assert probable_application("doctor_site.settings.local") == "doctor_site.asgi.application"
    assert probable_application("doctor_bare") == ""
    assert probable_application("doctor_nowhere.settings") == ""
