"""Tasks, one file each, with fixed splits and checksums; encoders to sequences. Imports `rules`."""

from sandbox.tasks.attention_eeg import AttentionEEG
from sandbox.tasks.auditory_attention import DTU, KUL
from sandbox.tasks.base import ArrayTask, Dataset, LazySplit, Samples, Split, Task
from sandbox.tasks.cifar10 import CIFAR10, CIFAR10Head
from sandbox.tasks.cifar10_dvs import CIFAR10DVS
from sandbox.tasks.copying import Copying
from sandbox.tasks.cue_accumulation import CueAccumulation
from sandbox.tasks.delayed_xor import DelayedXOR
from sandbox.tasks.digits import Digits
from sandbox.tasks.dvs_gesture import DVSGesture
from sandbox.tasks.flips import label_flips
from sandbox.tasks.fsdd import FSDD
from sandbox.tasks.gsc import GSC
from sandbox.tasks.heidelberg import SHD, SSC
from sandbox.tasks.key_value_recall import KeyValueRecall
from sandbox.tasks.mnist import MNIST, MNISTSample
from sandbox.tasks.mnist1d import MNIST1D
from sandbox.tasks.moving_digits_events import MovingDigitsEvents
from sandbox.tasks.moving_digits_video import MovingDigitsVideo
from sandbox.tasks.nmnist import NMNIST, NMNISTSmall
from sandbox.tasks.pattern_generation import PatternGeneration
from sandbox.tasks.randman import Randman
from sandbox.tasks.sequential_mnist import SequentialMNIST
from sandbox.tasks.spoken_espeak import SpokenEspeak
from sandbox.tasks.store_recall import StoreRecall
from sandbox.tasks.text.python_docs import PythonDocs
from sandbox.tasks.text.shakespeare import TinyShakespeare
from sandbox.tasks.text.text_file import TextFile
from sandbox.tasks.ucr import BasicMotions, JapaneseVowels
from sandbox.tasks.yinyang import YinYang

TASKS: dict[str, type[Task]] = {
    "yinyang": YinYang,
    "digits": Digits,
    "mnist1d": MNIST1D,
    "mnist": MNIST,
    "mnist_sample": MNISTSample,
    "cifar10": CIFAR10,
    "cifar10_head": CIFAR10Head,
    "fsdd": FSDD,
    "shd": SHD,
    "ssc": SSC,
    "gsc": GSC,
    "spoken_espeak": SpokenEspeak,
    "cue_accumulation": CueAccumulation,
    "delayed_xor": DelayedXOR,
    "store_recall": StoreRecall,
    "pattern_generation": PatternGeneration,
    "randman": Randman,
    "sequential_mnist": SequentialMNIST,
    "nmnist": NMNIST,
    "nmnist_small": NMNISTSmall,
    "cifar10_dvs": CIFAR10DVS,
    "dvs_gesture": DVSGesture,
    "moving_digits_events": MovingDigitsEvents,
    "moving_digits_video": MovingDigitsVideo,
    "japanese_vowels": JapaneseVowels,
    "basic_motions": BasicMotions,
    "tiny_shakespeare": TinyShakespeare,
    "python_docs": PythonDocs,
    "text_file": TextFile,
    "key_value_recall": KeyValueRecall,
    "copying": Copying,
    "attention_eeg": AttentionEEG,
    "kul": KUL,
    "dtu": DTU,
}

__all__ = ["TASKS", "ArrayTask", "Dataset", "LazySplit", "Samples", "Split", "Task", "label_flips"]
