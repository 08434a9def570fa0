"""Everything that evaluating or measuring a model must not change, as values that can be compared."""

import random

import numpy as np
import torch


def state_of(model, generators=(), tensors=()):
    """Return the tensors of a model and others as bytes, its attributes, and the state of generators and switches."""
    own = *model.parameters(), *model.buffers(), *(p.grad for p in model.parameters() if p.grad is not None)
    return (
        [(id(tensor), tensor.detach().numpy().tobytes()) for tensor in (*own, *tensors)],
        [{name: id(value) for name, value in vars(module).items()} for module in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [generator.get_state().tolist() for generator in (torch.default_generator, *generators)],
        (random.getstate(), str(np.random.get_state())),  # noqa: NPY002
        (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.is_grad_enabled()),
    )
