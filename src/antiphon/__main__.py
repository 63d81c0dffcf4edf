"""``python -m antiphon`` is the ``antiphon`` command."""

from antiphon.cli import main

main(prog_name="antiphon")
