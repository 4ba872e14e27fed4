"""The sizes of ready-made models: what each was published for, and its number of parameters there."""

from __future__ import annotations

from typing import Any, NamedTuple

Shape = tuple[Any, ...]  # of one input; a tuple of shapes for several

IMAGENET: tuple[Shape, int, int] = ((3, 224, 224), 1000, 4)  # shape, classes, steps
CIFAR10: tuple[Shape, int, int] = ((3, 32, 32), 10, 4)
CIFAR10_DVS: tuple[Shape, int, int] = ((2, 128, 128), 10, 16)
SHD: tuple[Shape, int, int] = ((140,), 20, 100)  # 700 channels in bins of five
SSC: tuple[Shape, int, int] = ((140,), 35, 100)
TEXT: tuple[Shape, int, int] = ((), 64, 64)  # tokens, of which there are as many as classes
OPT: tuple[Shape, int, int] = ((), 50_272, 2048)
BERT: tuple[Shape, int, int] = ((), 30_522, 512)
EEG: tuple[Shape, int, int] = (((64, 128), (5, 32, 32)), 2, 4)  # two views of a second
SMALL: tuple[Shape, int, int] = ((1, 8, 8), 10, 4)  # digits


class Published(NamedTuple):
    """A size of a model."""

    parameters: int  # at this shape, number of classes and of steps
    shape: Shape
    classes: int
    steps: int


def sizes(counts: dict[str, int], made_for: tuple[Shape, int, int]) -> dict[str, Published]:
    """Return the sizes that were published for the same data."""
    return {name: Published(count, *made_for) for name, count in counts.items()}


SPIKINGFORMER = {
    **sizes({"tiny": 41_926}, SMALL),
    **sizes({"8-384": 16_816_024, "8-512": 29_689_384, "8-768": 66_338_632}, IMAGENET),
    **sizes({"4-256": 4_152_106, "2-384": 5_762_746, "4-384": 9_320_122}, CIFAR10),
    **sizes({"2-256": 2_566_666}, CIFAR10_DVS),
}
ORRC = {
    **sizes({"tiny": 42_938}, SMALL),
    **sizes({"mnist": 11_172_810}, ((1, 28, 28), 10, 16)),
    **sizes({"cifar10": 11_173_962}, ((3, 32, 32), 10, 16)),
    **sizes({"cifar10_dvs": 11_173_386}, CIFAR10_DVS),
    **sizes({"dvs_gesture": 11_179_019}, ((2, 128, 128), 11, 32)),
}
PUBLISHED: dict[str, dict[str, Published]] = {
    "sew_resnet": {
        **sizes({"tiny": 19_706}, SMALL),
        **sizes({"18": 11_689_512, "34": 21_797_672, "50": 25_557_032}, IMAGENET),
        **sizes({"101": 44_549_160, "152": 60_192_808}, IMAGENET),
    },
    "sew_event_net": {
        **sizes({"tiny": 9_567}, SMALL),
        **sizes({"7b": 130_426}, ((2, 128, 128), 11, 16)),
        **sizes({"wide_7b": 1_192_218}, CIFAR10_DVS),
    },
    "ms_resnet": {
        **sizes({"tiny": 19_994}, SMALL),
        **sizes({"18": 11_693_736, "34": 21_801_896, "104": 77_350_504}, ((3, 224, 224), 1000, 6)),
    },
    "orrc_resnet": ORRC,
    "syna_resnet": ORRC,
    "sma_vgg": {**sizes({"tiny": 23_587}, SMALL), **sizes({"vgg8": 22_451_014}, ((2, 48, 48), 10, 10))},
    "sma_resnet": {
        **sizes({"tiny": 130_010}, SMALL),
        **sizes({"18": 71_087_400, "34": 81_195_560, "104": 136_744_168}, ((3, 224, 224), 1000, 6)),
    },
    "spikformer": {
        **SPIKINGFORMER,
        **sizes({"4-256": 4_155_178, "2-384": 5_765_050, "4-384": 9_324_730}, CIFAR10),
    },
    "spikingformer": SPIKINGFORMER,
    "spikingformer_cml": SPIKINGFORMER,
    "qkformer": {
        **sizes({"tiny": 36_038}, SMALL),
        **sizes({"hst-10-384": 16_473_688, "hst-10-512": 29_079_336, "hst-10-768": 64_962_760}, IMAGENET),
        **sizes({"4-384": 6_706_234}, CIFAR10),
        **sizes({"2-256": 1_504_138}, CIFAR10_DVS),
    },
    "snn_vit": {**sizes({"tiny": 34_002}, SMALL), **sizes({"8-384": 15_176_168, "8-512": 26_775_816}, IMAGENET)},
    "spikescr": {
        **sizes({"tiny": 27_776, "shd": 261_632}, SHD),
        **sizes({"ssc": 3_302_400, "ssc-1": 1_709_824}, SSC),
    },
    "spikcommander": {
        **sizes({"tiny": 16_580, "shd": 190_664}, SHD),
        **sizes({"ssc-1": 1_120_368, "ssc-2": 2_127_328, "gsc-1": 1_120_688, "gsc-2": 2_127_968}, SSC),
    },
    "transformer": {
        **sizes({"tiny": 112_384, "small": 834_304}, TEXT),
        **sizes({"opt-125m": 125_239_296}, OPT),
    },
    "bispikclm": {
        **sizes({"tiny": 111_872, "small": 832_256}, TEXT),
        **sizes({"opt-125m": 125_200_896}, OPT),
    },
    "we_spikingformer": {
        **sizes({"tiny": 113_024, "small": 836_864}, TEXT),
        **sizes({"bert-base": 108_936_192}, BERT),
    },
    "wd_spikingformer": {
        **sizes({"tiny": 113_024, "small": 836_864}, TEXT),
        **sizes({"bert-base": 108_936_192}, BERT),
    },
    "s2m_former": sizes({"tiny": 14_170, "paper": 59_826}, EEG),
    "svformer": {**sizes({"tiny": 24_851}, SMALL), **sizes({"ucf101": 13_801_612}, ((3, 224, 224), 101, 16))},
}


def facts() -> dict[str, dict[str, int]]:
    """Return the number of parameters of every size of every model."""
    return {name: {size: each.parameters for size, each in known.items()} for name, known in PUBLISHED.items()}
