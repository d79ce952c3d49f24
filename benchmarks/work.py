"""How much one image costs ResNet50 in arithmetic: what percents of the peak are of."""

from typing import Final

STAGES: Final = ((3, 64, 256), (4, 128, 512), (6, 256, 1024), (3, 512, 2048))  # blocks, inner and outer channels
CLASSES: Final = 2


def resnet50_gmac(side: int) -> float:
    """1e9 multiply-accumulates of Keras ResNet50 with its dense layer, for one image of `side` x `side` pixels.

    Convolutions and the dense layer, nothing else. Strides stand in the first 1x1 convolution of a stage, as in Keras
    (He et al. 2015, table 1).
    """
    size = (side - 1) // 2 + 1
    total = size**2 * 7 * 7 * 3 * 64
    size, channels = (size - 1) // 2 + 1, 64
    for stage, (blocks, inner, outer) in enumerate(STAGES):
        size = size if stage == 0 else (size - 1) // 2 + 1
        total += size**2 * channels * outer  # the shortcut of the first block
        for _ in range(blocks):
            total += size**2 * (channels * inner + 9 * inner**2 + inner * outer)
            channels = outer
    return (total + channels * CLASSES) / 1e9
