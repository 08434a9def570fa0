"""Simulate a device without float64, such as Apple's MPS, by single precision on the CPU."""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CPU, MPS = torch.device("cpu"), torch.device("mps")


class OnDevice(Tensor):
    """A tensor on the simulated device."""


class NoFloat64(TorchFunctionMode):
    """Inside, the device "mps" exists; like Apple's it has no float64, and its tensors have no numpy array."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function == torch.device:  # only a name
            return function(*args, **kwargs)
        arguments = [args, kwargs]
        on_device = any(isinstance(leaf, OnDevice) for leaf in tree_leaves(arguments))
        if on_device and function == Tensor.device.__get__:
            return MPS
        if on_device and function == Tensor.__format__:
            return args[0].as_subclass(Tensor).__format__(*args[1:])
        if on_device and function == Tensor.numpy:
            raise TypeError("can't convert mps:0 device type tensor to numpy")

        def on_cpu(argument):
            nonlocal on_device
            if not (isinstance(argument, str | torch.device) and str(argument) == "mps"):
                return argument
            on_device = True
            return CPU

        places = [str(each) for each in tree_leaves(arguments) if isinstance(each, str | torch.device)]
        leaves = function == Tensor.cpu or (function == Tensor.to and "cpu" in places)
        args, kwargs = tree_map(on_cpu, arguments)
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **kwargs)

        def placed(value):
            if not isinstance(value, Tensor):
                return value
            if leaves:
                return value.as_subclass(Tensor)
            if value.dtype == torch.float64:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support it")
            return value if isinstance(value, OnDevice) else value.as_subclass(OnDevice)

        return tree_map(placed, result) if on_device or leaves else result
