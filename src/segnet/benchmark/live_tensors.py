"""Memory of tensors: the bytes that are alive at the worst moment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["LiveTensors"]


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that operations inside make, as long as anything holds them.

    Args:
        known: tensors that are there before and do not count.

    Attributes:
        peak: the most bytes that were alive after an operation.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = {StorageWeakRef(tensor.untyped_storage()) for tensor in known}  # type: ignore[no-untyped-call]
        self.alive: dict[StorageWeakRef, int] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation, and count."""
        result = func(*args, **(kwargs or {}))
        for storage in [leaf.untyped_storage() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]:
            reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
            if reference not in self.known:
                self.alive[reference] = storage.nbytes()
        self.alive = {reference: size for reference, size in self.alive.items() if not reference.expired()}  # type: ignore[no-untyped-call]
        self.peak = max(self.peak, sum(self.alive.values()))
        return result
