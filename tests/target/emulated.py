# SPDX-License-Identifier: Apache-2.0
"""Every emulated core as a parameter of tests; one whose tools are missing skips, and says which."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from mpsearch.errors import ExportError
from mpsearch.export.cores import CORES, check_tools


def lacking(core: str, compiler: str = "gcc") -> str:
    """Return what a core lacks on this machine; "" if nothing."""
    try:
        check_tools(CORES[core], compiler)
    except ExportError as error:
        return f"{error.message} {error.hint}"
    return ""


def on_cores(cores: Iterable[str] = CORES, compiler: str = "gcc") -> list[object]:
    """Return a pytest parameter for each core."""
    return [pytest.param(core, marks=[pytest.mark.target, *skips(core, compiler)]) for core in cores]


def skips(core: str, compiler: str = "gcc") -> list[pytest.MarkDecorator]:
    """Return the mark that skips what needs a core whose tools are missing."""
    lacks = lacking(core, compiler)
    return [pytest.mark.skipif(bool(lacks), reason=f"NOTHING WAS RUN ON {core.upper()}: {lacks}")]
