# SPDX-License-Identifier: Apache-2.0
"""Search spaces and hardware models: what their YAML files say, found by name or by path and validated."""

from mpsearch.catalog.block_engine import BlockEngine, EngineArray, EngineBuffers, EngineOutput, EngineStream
from mpsearch.catalog.check import HardwareCheck, check_hardware_model
from mpsearch.catalog.document import Finding
from mpsearch.catalog.hardware import (
    COUNTABLE,
    Accuracy,
    ComputeRates,
    Countable,
    HardwareModel,
    Memory,
    MultiplierArray,
    Quantity,
    RateOf,
    Residual,
    Term,
)
from mpsearch.catalog.load import list_names, load_hardware_model, load_layer_grid, load_search_space, shipped_folder
from mpsearch.catalog.search_space import SearchSpace

__all__ = [
    "COUNTABLE",
    "Accuracy",
    "BlockEngine",
    "ComputeRates",
    "Countable",
    "EngineArray",
    "EngineBuffers",
    "EngineOutput",
    "EngineStream",
    "Finding",
    "HardwareCheck",
    "HardwareModel",
    "Memory",
    "MultiplierArray",
    "Quantity",
    "RateOf",
    "Residual",
    "SearchSpace",
    "Term",
    "check_hardware_model",
    "list_names",
    "load_hardware_model",
    "load_layer_grid",
    "load_search_space",
    "shipped_folder",
]
