"""What checks say in the same words."""

from __future__ import annotations

from antiphon.doctor.checks.words import LAYER_SETTING, listed, many


def test_lists() -> None:
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert listed(["a", "b"], "or") == "a or b"


def test_numbers() -> None:
    assert [many(1, "error"), many(2, "error"), many(2, "piece", "pieces of")] == ["1 error", "2 errors", "2 pieces of"]


def test_the_setting_is_python() -> None:
    space: dict[str, object] = {}
    exec(LAYER_SETTING, space)
    assert space["CHANNEL_LAYERS"] == {"default": {"BACKEND": "antiphon.channels.ChannelLayer"}}
