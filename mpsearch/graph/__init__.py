# SPDX-License-Identifier: Apache-2.0
"""Capture: a torch module and an example input become a LayerGraph of folded, fused layers."""
