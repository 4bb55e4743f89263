"""What other rooms import: the two tables and the look-ups."""

from __future__ import annotations

from controller.catalog.gpus import find_gpu, gpus_named, is_another_gpu, load_gpus, mig_profiles
from controller.catalog.models import find_model, load_models
from controller.catalog.names import nearest

__all__ = [
    "find_gpu",
    "find_model",
    "gpus_named",
    "is_another_gpu",
    "load_gpus",
    "load_models",
    "mig_profiles",
    "nearest",
]
