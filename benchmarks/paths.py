"""Where things are: the repository, what the benchmarks build, and the interpreter that runs the servers."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks"
BUILD = HERE / ".build"
LOGS = BUILD / "logs"
LOAD = BUILD / "load"
C_SERVER = BUILD / "server"
NODE_MODULES = BUILD / "node_modules"
BUN = NODE_MODULES / "@oven" / "bun-linux-x64" / "bin" / "bun"
PYTHON = sys.executable
