"""Nothing ambient: what a caller has set for the whole process decides no number of ours, and is there again afterwards.

torch and NumPy have switches that hold for everything that runs: the default type and device, autocast, gradients, precision
of products, deterministic algorithms, what floating-point errors do. A run is computed as declared, whatever they say.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_DEPTH = 1000  # of calls: Python's own default


@contextmanager
def plain(threads: int | None = None) -> Iterator[None]:
    """While inside, a process is as one that has only just imported torch and NumPy; then it is as it was before.

    It decorates every public function that computes. What has not been imported yet has no settings: nothing is imported.

    Args:
        threads: CPU threads of torch, which decide the last bits; those that there are by default.
    """
    deep = sys.getrecursionlimit()
    with ExitStack() as outside:
        if deep < _DEPTH:
            sys.setrecursionlimit(_DEPTH)
            outside.callback(sys.setrecursionlimit, deep)
        if "numpy" in sys.modules:
            import numpy as np

            outside.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        if "torch" in sys.modules:
            outside.enter_context(_plain_torch())
            if threads is not None:
                import torch

                outside.callback(torch.set_num_threads, torch.get_num_threads())
                torch.set_num_threads(threads)
        yield


@contextmanager
def _plain_torch() -> Iterator[None]:
    import torch
    from torch import overrides

    with ExitStack() as outside:
        # Of this thread: a `with torch.device("meta")` and the default device are modes, the outermost of all.
        while torch._C._len_torch_function_stack():
            outside.enter_context(overrides._pop_mode_temporarily())
        outside.enter_context(torch.inference_mode(False))
        outside.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                outside.enter_context(torch.autocast(kind, enabled=False))
        if torch.is_anomaly_enabled():
            outside.enter_context(torch.autograd.set_detect_anomaly(False))
        outside.enter_context(_SHARED.held())
        yield


class _Shared:
    """Settings that all threads have in common: the first of them sets them aside, the last one restores them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._outside = ExitStack()

    @contextmanager
    def held(self) -> Iterator[None]:
        """While anybody is inside, they are as torch begins with."""
        with self._lock:
            if not self._inside:
                self._set_aside()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._outside.close()

    def _set_aside(self) -> None:
        import torch

        self._outside.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        if torch.are_deterministic_algorithms_enabled():  # to set it imports torch's compiler, which takes a second
            warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
            self._outside.callback(torch.use_deterministic_algorithms, True, warn_only=warn_only)
            torch.use_deterministic_algorithms(False)
        if (
            precision := torch.get_float32_matmul_precision()
        ) != "highest":  # else to set it would change what it stands for
            self._outside.callback(torch.set_float32_matmul_precision, precision)
            torch.set_float32_matmul_precision("highest")


_SHARED = _Shared()
