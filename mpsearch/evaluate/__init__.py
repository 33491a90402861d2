# SPDX-License-Identifier: Apache-2.0
"""The three executions of a LayerGraph (real, simulated, integer), all by one walk, the metrics, and torch modules on packed weights."""
