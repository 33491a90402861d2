# SPDX-License-Identifier: Apache-2.0
"""Which layers must share a precision, and which tensors a quantizer, by union-find."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mpsearch.records import PASS_THROUGH, Add, Concat, Layer, Mul, QuantizerGroup


class UnionFind:
    """Disjoint sets of names; a set is known by its first member in order of appearance."""

    def __init__(self, names: Iterable[str]) -> None:
        """Start with every name in a set of its own."""
        self._rank = {name: index for index, name in enumerate(names)}
        self._parent = {name: name for name in self._rank}

    def find(self, name: str) -> str:
        """Return the set's first member."""
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def union(self, names: Sequence[str]) -> None:
        """Merge the sets of all names."""
        roots = sorted((self.find(name) for name in names), key=self._rank.__getitem__)
        for root in roots[1:]:
            self._parent[root] = roots[0]


def weight_groups(layers: Sequence[Layer]) -> tuple[QuantizerGroup, ...]:
    """Return the decision units: layers with weights, tied where they store one weight (reused modules, tied parameters).

    With one activation bit-width in the search space nothing else ties them; ADR 0001 says why residual partners are free.
    """
    weighted = [layer for layer in layers if layer.weight is not None]
    members: dict[str, list[str]] = {}
    for layer in weighted:
        members.setdefault(layer.weight_key, []).append(layer.name)
    return tuple(QuantizerGroup(name=names[0], layers=tuple(names)) for names in members.values())


def activation_sets(tensors: Sequence[str], layers: Sequence[Layer]) -> tuple[list[int], list[int]]:
    """Return, for each tensor, the index of its quantizer and of its precision group.

    Tensors share a quantizer across pass-through ops (concat, max pooling, pad, reshape, transpose, slice); they share a precision group
    across these, and where they meet in an add, a product or a concat.
    """
    quantizers, precisions = UnionFind(tensors), UnionFind(tensors)
    for layer in layers:
        if isinstance(layer.op, PASS_THROUGH):
            quantizers.union([layer.output, *layer.inputs])
            precisions.union([layer.output, *layer.inputs])
        if isinstance(layer.op, (Add, Mul, Concat)):
            precisions.union(layer.inputs)
    return _number(quantizers, tensors), _number(precisions, tensors)


def _number(sets: UnionFind, tensors: Sequence[str]) -> list[int]:
    indices: dict[str, int] = {}
    return [indices.setdefault(sets.find(name), len(indices)) for name in tensors]
