"""The table in ``docs/howto/doctor.md``, made from the checks: ``python -m tests.doctor.table`` writes it."""

from __future__ import annotations

from antiphon.doctor.checks import CHECKS
from antiphon.doctor.finding import Level
from tests.docs.documents import page
from tests.docs.generate import generated

__all__ = ["MARK", "PAGE", "findings", "main"]

PAGE = "docs/howto/doctor.md"
MARK = "findings"


def findings() -> str:
    """Return the table, the most severe first."""
    checks = sorted(CHECKS, key=lambda check: list(Level).index(check.level))
    rows = [f"| `{check.name}` | {check.level.value} | {check.meaning} |" for check in checks]
    return "\n".join(["| name | level | what it means |", "| --- | --- | --- |", *rows])


def main() -> None:
    """Write it."""
    page(PAGE).write_text(generated(page(PAGE), MARK, findings()))


if __name__ == "__main__":
    main()
