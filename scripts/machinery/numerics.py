"""What of a job's surroundings can change the last digits of a number: threads, and a GPU's kernels.

The only module of the machinery that is part of every rule's code hash.
"""

import os
import sys

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def set_environment(threads: int) -> None:
    """For numerical libraries, before any of them is imported: the threads that the rule declares."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # what CUDA needs for deterministic products


def limit_threads(threads: int) -> None:
    """The threads of PyTorch, if it has been imported."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def make_gpu_deterministic() -> None:
    """The same numbers in every run, at full precision."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
