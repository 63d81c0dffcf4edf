"""What holds for every test."""

from __future__ import annotations

import logging

import pytest
from hypothesis import settings

from antiphon.logs import LOGGERS, LineLimit

# A test is never judged by the time that it takes.
settings.register_profile("antiphon", deadline=None, print_blob=True)
settings.load_profile("antiphon")


@pytest.fixture(autouse=True)
def _log_of_its_own() -> None:
    """Let no lines of other tests count for those of this one."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for limit in [each for each in logger.filters if isinstance(each, LineLimit)]:
            logger.removeFilter(limit)
