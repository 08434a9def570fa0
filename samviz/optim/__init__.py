"""SAM as a `torch.optim.Optimizer`, for a training loop of one's own."""

from samviz.optim.sam import SAM

__all__ = ["SAM"]
