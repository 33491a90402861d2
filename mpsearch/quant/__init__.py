# SPDX-License-Identifier: Apache-2.0
"""Scales and zero points, range setting, rounding, requantisation, bit packing."""
