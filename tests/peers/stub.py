"""A stand-in for torchvision, of which SpikingJelly's models want one function, where torchvision is not installed."""

from __future__ import annotations

import importlib.util
import sys
import types

import torch


def stand_in():
    """Put the stand-in on sys.modules, unless torchvision is there."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return
    package = types.ModuleType("torchvision")
    utils = types.ModuleType("torchvision._internally_replaced_utils")
    utils.load_state_dict_from_url = torch.hub.load_state_dict_from_url
    package._internally_replaced_utils = utils
    sys.modules |= {package.__name__: package, utils.__name__: utils}
