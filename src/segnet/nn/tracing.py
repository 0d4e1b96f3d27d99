"""Which unpooling belongs to which pooling: an example runs through the model, and its indices are followed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, is_dataclass
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segnet.nn.modes import in_evaluation
from segnet.nn.modules import windows_of
from segnet.nn.programs import call_with_copies
from segnet.nn.unpooling import INDEX_COPIES, POOL, UNPOOL, Left, Windows, misfit, windows_of_call

__all__ = ["Group", "Site", "find_groups", "leaves"]


@dataclass(eq=False)
class Site:
    """A place of the model that pools or unpools, with all its calls.

    Attributes:
        path: of the module that is the pooling or unpooling, or in whose forward pass it stands.
        module: that is the pooling or unpooling; None for a function, such as ``F.max_unpool2d``.
        pools: whether it pools.
        windows: of a pooling; None for another dilation than 1, and for an unpooling.
        pooled: shape of the values of each call of a pooling.
        function: in whose forward pass it stands, and its name; None for a module.
    """

    path: str
    module: nn.Module | None
    pools: bool
    windows: Windows | None = None
    pooled: list[tuple[int, ...]] = field(default_factory=list)
    function: tuple[nn.Module, str] | None = None


@dataclass(eq=False)
class Group:
    """Poolings and unpoolings that share indices, and so can only be replaced together.

    Attributes:
        sites: in the order of their first call.
        reasons: why they stay as they are; empty if they can be replaced.
    """

    sites: list[Site] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def pools(self) -> list[Site]:
        """Sites that pool."""
        return [site for site in self.sites if site.pools]

    @property
    def unpools(self) -> list[Site]:
        """Sites that unpool."""
        return [site for site in self.sites if not site.pools]

    @property
    def index_bytes(self) -> int:
        """Bytes of the indices of all calls, int64."""
        return sum(8 * prod(shape) for site in self.pools for shape in site.pooled)

    @property
    def code_bytes(self) -> int:
        """Bytes of the codes that replace them; of a group that stays as it is, bytes of the indices."""
        if self.reasons:
            return self.index_bytes
        calls = [(shape, site.windows.bits) for site in self.pools if site.windows for shape in site.pooled]
        return sum(prod(shape[:-2]) * -(-prod(shape[-2:]) * bits // 8) for shape, bits in calls)

    @property
    def left(self) -> list[Left]:
        """Each site with the first reason."""
        return [Left(site.path, self.reasons[0]) for site in self.sites]


def find_groups(model: nn.Module, inputs: tuple[Any, ...]) -> list[Group]:
    """Run an example in evaluation mode, and group the poolings and unpoolings that share indices.

    A pooling whose indices nobody takes is in no group.
    """
    with in_evaluation(model), _Recorder(model) as recorder:
        recorder.check_outputs(call_with_copies(model, inputs))
    return [group for group in recorder.groups() if group.unpools or group.reasons]


def leaves(tree: Any) -> list[Any]:
    """Tensors and other values in what a model returns; PyTorch does not look into dataclasses."""
    found = []
    for leaf in tree_leaves(tree):
        found += leaves([getattr(leaf, each.name) for each in fields(leaf)]) if is_dataclass(leaf) else [leaf]
    return found


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records each pooling and unpooling below the modules, and what else happens to indices."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._paths = {module: path or type(model).__name__ for path, module in model.named_modules()}
        self._running: list[nn.Module] = [model]
        self._sites: dict[Any, Site] = {}
        self._group_of: dict[Site, Group] = {}
        self._sources: dict[int, tuple[Tensor, Site, tuple[int, ...]]] = {}  # by the id of the indices, kept alive
        self._hooks = ExitStack()

    def __enter__(self) -> _Recorder:
        for module in self._paths:
            for hook in (
                module.register_forward_pre_hook(lambda module, _: self._running.append(module)),
                module.register_forward_hook(lambda *_: self._leave(), always_call=True),
            ):
                self._hooks.callback(hook.remove)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._hooks.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is POOL:
            site = self._site(nn.MaxPool2d, "max_pool2d", pools=True)
            site.windows = windows_of_call(*args[1:])
            site.pooled.append(tuple(result[1].shape))
            self._sources[id(result[1])] = (result[1], site, tuple(args[0].shape))
        elif func is UNPOOL:
            self._unpool(args[0], args[1], tuple(result.shape))
        elif func in INDEX_COPIES and id(args[0]) in self._sources:
            _, site, shape = self._sources[id(args[0])]
            self._sources[id(result)] = (result, site, shape)
        else:
            self._object([*args, *(kwargs or {}).values()], f"go through {func}")
        return result

    def check_outputs(self, outputs: Any) -> None:
        """Object to indices that the model returns."""
        self._object(outputs, "are also returned to the caller")

    def groups(self) -> list[Group]:
        """All groups, in the order of their first call; geometry that cannot be replaced is among their reasons."""
        groups = list(dict.fromkeys(self._group_of[site] for site in self._sites.values()))
        for group in groups:
            group.sites = [site for site in self._sites.values() if self._group_of[site] is group]
            group.reasons += [reason for pool in group.pools if (reason := _refusal(pool, group.unpools))]
        return groups

    def _leave(self) -> None:
        self._running.pop()

    def _site(self, kind: type[nn.Module], function: str, *, pools: bool) -> Site:
        running = self._running[-1]
        if type(running) is kind:
            site = self._sites.setdefault(running, Site(self._paths[running], running, pools))
        else:  # each call is a site of its own
            count = sum(site.function == (running, function) for site in self._sites.values()) + 1
            path = f"{self._paths[running]} (F.{function}{f', call {count}' if count > 1 else ''})"
            site = Site(path, None, pools, function=(running, function))
            self._sites[site] = site
        self._group_of.setdefault(site, Group())
        return site

    def _unpool(self, values: Tensor, indices: Tensor, size: tuple[int, ...]) -> None:
        self._object(values, "are unpooled as if they were values")
        site = self._site(nn.MaxUnpool2d, "max_unpool2d", pools=False)
        if id(indices) not in self._sources:
            self._group_of[site].reasons.append("its indices do not come straight from a pooling of this model")
            return
        _, pool, shape = self._sources[id(indices)]
        self._merge(pool, site)
        if reason := misfit(pool.path, site.path, (shape[-2], shape[-1]), (size[-2], size[-1])):
            self._group_of[site].reasons.append(reason)

    def _merge(self, one: Site, other: Site) -> None:
        kept, gone = self._group_of[one], self._group_of[other]
        if kept is not gone:
            kept.reasons += gone.reasons
            self._group_of |= {site: kept for site, group in self._group_of.items() if group is gone}

    def _object(self, tree: Any, verb: str) -> None:
        for leaf in leaves(tree):
            if isinstance(leaf, Tensor) and id(leaf) in self._sources:
                site = self._sources[id(leaf)][1]
                self._group_of[site].reasons.append(f"the indices of {site.path} {verb}")


def _refusal(pool: Site, unpools: Sequence[Site]) -> str:
    """Why a pooling stays as it is; empty if it can be replaced."""
    if pool.windows is None:
        return f"{pool.path} is dilated, so an index is needed"
    if pool.windows.refusal:
        return f"{pool.path}: {pool.windows.refusal}"
    for site in unpools:
        if site.module is not None and windows_of(site.module)[:3] != pool.windows[:3]:
            return f"{site.path} has another kernel, stride or padding than {pool.path}, whose indices it takes"
    return ""
