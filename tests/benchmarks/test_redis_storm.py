"""The storm in a small form: nothing is lost, and each line is there."""

from __future__ import annotations

import subprocess
import sys

from ..integration.servers import ROOT, clean_environment


def test_a_small_storm_passes_over() -> None:
    command = [sys.executable, "-m", "benchmarks.redis_storm", "--groups", "40", "--connections", "20"]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("20 connections in", "subscribe: all subscribed after", "publish: published", "cut: all channels"):
        assert words in done.stdout
    assert "recover: all gone after" in done.stdout
    assert "misplaced 0, told of a gap 0, errors 0" in done.stdout


def test_groups_are_shared_out_evenly_or_not_at_all() -> None:
    command = [sys.executable, "-m", "benchmarks.redis_storm", "--groups", "40", "--connections", "30"]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert (done.returncode, "--connections has to divide" in done.stderr) == (2, True)
