"""What trainings in many processes need on a machine without a GPU, for benches and tests."""

FSDP_ON_CPU = """
import os

if os.environ.get("ACCELERATE_USE_FSDP") == "true":  # in a process of the training
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    import torch.distributed
    from accelerate.state import DistributedType, PartialState

    def prepare_backend(self, *_, **__):
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo")
        return "gloo", DistributedType.MULTI_GPU

    PartialState._prepare_backend = prepare_backend
"""
"""A `sitecustomize.py`, which Python runs as it starts: torch has FSDP on CPUs, accelerate only where there is an
accelerator."""
