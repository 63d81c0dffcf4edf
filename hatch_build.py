"""Build hook: compile the inner loop of the fan-out where there is a C compiler; else the package is pure Python."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FanoutHook(BuildHookInterface):
    """Puts ``antiphon/_fanout`` beside its source. ``ANTIPHON_PURE=1`` leaves it out."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a failure costs speed, not the installation."""
        if os.environ.get("ANTIPHON_PURE") or sys.platform == "win32" or self.target_name != "wheel":
            return
        try:
            compile_fanout()
        except Exception as error:
            print(f"antiphon: built without its compiled fan-out ({error})", file=sys.stderr)
            return
        build_data["artifacts"].append("src/antiphon/_fanout*.so")
        if version != "editable":
            build_data["pure_python"] = False
            build_data["infer_tag"] = True


def compile_fanout() -> None:
    """Build the extension in place."""
    from setuptools import Distribution, Extension

    extension = Extension(
        "antiphon._fanout", ["src/antiphon/_fanout.c"], extra_compile_args=["-O2"], py_limited_api=True
    )
    distribution = Distribution({"ext_modules": [extension], "package_dir": {"": "src"}})
    command = distribution.get_command_obj("build_ext")
    with tempfile.TemporaryDirectory() as folder:
        command.inplace = True
        command.build_temp = folder
        command.ensure_finalized()
        command.run()
