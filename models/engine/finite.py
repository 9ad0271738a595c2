"""Whether weights are numbers: one NaN makes every picture black, and nothing else in a file tells of it."""

from collections.abc import Mapping

import torch
from torch import Tensor

NOT_FINITE = "holds a number that is not finite (NaN or infinity)"


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with a NaN or an infinity; None if there is none.

    The extremes of a tensor are not finite if any of it is not, and are found in one pass without a copy. They are
    fetched from the device together.
    """
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()}
    if not floats:
        return None
    extremes = torch.stack([_extremes(tensor) for tensor in floats.values()])
    bad = ~torch.isfinite(extremes).all(dim=1).cpu()
    return next((name for name, is_bad in zip(floats, bad.tolist(), strict=True) if is_bad), None)


def _extremes(tensor: Tensor) -> Tensor:
    """[2], float64: halves would lose what doubles can hold."""
    if tensor.element_size() == 1:
        tensor = tensor.to(torch.float16)  # there are no extremes of 8 bits
    return torch.stack(torch.aminmax(tensor)).double()
