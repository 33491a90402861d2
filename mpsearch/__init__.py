# SPDX-License-Identifier: Apache-2.0
"""Mixed-precision quantization search under hardware budgets: a trained PyTorch model in, packed integers that fit the target out.

The public names are resolved on first use, so that `import mpsearch` stays as cheap as the standard library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpsearch.errors import MpsearchError as MpsearchError
    from mpsearch.evaluate.apply import apply as apply
    from mpsearch.records import BitWidthConfig as BitWidthConfig
    from mpsearch.records import Precision as Precision
    from mpsearch.workloads.load import load_workload as load_workload
    from mpsearch.workloads.workload import Workload as Workload

__version__ = "0.1.0"

_HOMES = {
    "BitWidthConfig": "mpsearch.records",
    "MpsearchError": "mpsearch.errors",
    "Precision": "mpsearch.records",
    "Workload": "mpsearch.workloads.workload",
    "apply": "mpsearch.evaluate.apply",
    "load_workload": "mpsearch.workloads.load",
}

__all__ = ["BitWidthConfig", "MpsearchError", "Precision", "Workload", "__version__", "apply", "load_workload"]


def __getattr__(name: str) -> object:
    """Import the module that defines a public name the first time the name is used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mpsearch' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names, resolved or not."""
    return sorted({*globals(), *_HOMES})
