"""What checks say in the same words."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.doctor.project import ANTIPHON_LAYER

__all__ = ["LAYER_SETTING", "listed", "many"]

#: The line that puts antiphon's groups behind ``get_channel_layer()``.
LAYER_SETTING = f'CHANNEL_LAYERS = {{"default": {{"BACKEND": "{ANTIPHON_LAYER}"}}}}'


def listed(names: Sequence[object], last: str = "and") -> str:
    """Return ``a``, ``a and b``, or ``a, b and c``."""
    texts = [str(name) for name in names]
    return f" {last} ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)


def many(number: int, one: str, several: str = "") -> str:
    """Return ``1 process`` or ``2 processes``."""
    return f"{number} {one if number == 1 else several or one + 's'}"
