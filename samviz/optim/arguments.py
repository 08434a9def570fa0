"""Checks of what SAM is given; each says what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

LARGEST = torch.finfo(torch.float32).max  # that a gradient may be multiplied by

# What is left out, and what to do about it, by the reason.
SKIPS = {
    "zero gradient": "a perturbation was left out: the gradient is zero and has no direction. The base optimizer takes "
    "its step. Look for dead units, and for a loss that does not depend on the weights",
    "first gradient": "a step was left out: the first gradient is not finite. Look for infinite losses or inputs, or "
    "lower the learning rate; a GradScaler lowers its scale by itself",
    "second gradient": "a step was left out: the gradient at the perturbed weights is not finite. Lower rho or the "
    "learning rate; a GradScaler lowers its scale by itself",
}


def rows(name: str, value: Any) -> int:
    """A number of samples, 1 or more."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected an integer of 1 or more")
    return int(value)


def radius(group: dict[str, Any]) -> float:
    """The perturbation radius ρ of a parameter group, in units of ‖w‖, or of |w| where it is adaptive."""
    rho, adaptive = group["rho"], group["adaptive"]
    if isinstance(rho, bool) or not isinstance(rho, Real) or not 0 <= group["rho"] <= LARGEST:
        raise ValueError(f"rho is {rho!r}; expected a number of 0 or more, {LARGEST:.0e} at most")
    check_flag("adaptive", adaptive)
    return float(rho)


def check_flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; expected True or False")


def listed(params: Any) -> Any:
    """Parameters, or groups of them, that can be gone through more than once."""
    if isinstance(params, Tensor) or not isinstance(params, Iterable):
        raise TypeError(f"params is {params!r:.200}; expected parameters or groups of them: model.parameters()")
    given = list(params) if isinstance(params, Iterator) else params
    if odd := [each for each in given if not isinstance(each, Tensor | dict | tuple)]:
        raise TypeError(f"params holds {odd[0]!r:.200}; expected parameters or groups of them: model.parameters()")
    if not given:
        raise ValueError(f"params is {given!r}; expected one parameter at least: a model with something to train")
    return given


def base_of(base_optimizer: Any, params: Iterable[Any], options: dict[str, Any]) -> Optimizer:
    """The optimizer that is given, or that a class or a function makes from parameters, if SAM can step with it."""
    base: Optimizer = base_optimizer(params, **options) if callable(base_optimizer) else base_optimizer
    if not isinstance(base, Optimizer) or isinstance(base, LBFGS) or {"rho", "adaptive"} & base.defaults.keys():
        raise TypeError(
            f"base_optimizer is or gives {type(base).__name__}; expected an optimizer such as torch.optim.SGD, a class "
            "or a function that makes one from parameters, that needs no closure and has no option rho or adaptive"
        )
    if base is base_optimizer:
        held = {id(p) for group in base.param_groups for p in group["params"]}
        if options or (params is not base.param_groups and {id(p) for p in params} != held):
            raise ValueError(
                f"an optimizer was given with other params or options ({', '.join(options) or 'none'}); expected its "
                "param_groups or all its parameters, and no options: set them, and rho, in its param_groups"
            )
    return base


def check_real(parameters: list[Tensor], group: int) -> None:
    """Refuse parameters that are complex or integers or there twice; their group is named by its index."""
    for i, p in enumerate(parameters):
        if not p.is_floating_point():
            raise ValueError(
                f"parameter {i} of group {group} is {p.dtype}; expected real floating-point numbers in params. Leave "
                "it out, or make it real: torch.view_as_real gives the two parts of complex numbers"
            )
    if len(set(parameters)) < len(parameters):
        raise ValueError(f"group {group} has a parameter twice; expected each once")


def check_scaler(scaler: Any) -> None:
    """Refuse what cannot unscale gradients."""
    if scaler is not None and not hasattr(scaler, "unscale_"):
        raise TypeError(f"scaler is {scaler!r:.200}; expected a torch.amp.GradScaler, or None")


def loss_of(returned: Any) -> Any:
    """What a closure returned, a number or a tensor of one element, without its graph."""
    if isinstance(returned, Tensor) and returned.numel() == 1:
        return returned.detach().clone().view(())
    if isinstance(returned, Real):
        return returned
    what = f"a tensor of shape {tuple(returned.shape)}" if isinstance(returned, Tensor) else repr(returned)
    raise TypeError(f"the closure returned {what}; expected the loss, a number or a tensor of one element: return loss")
