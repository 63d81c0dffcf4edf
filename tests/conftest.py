"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A test is never judged by the time that it takes.
settings.register_profile("antiphon", deadline=None, print_blob=True)
settings.load_profile("antiphon")
