"""The data sets by name: what reads each, and what its images look like. Imports nothing heavy.

To add one: a function in a module here that reads it, and an entry below.
"""

from dataclasses import dataclass

SIZE = 32  # pixels on each side of a prepared image, unless it is as published
PER_CHANNEL = tuple[float, float, float]


@dataclass(frozen=True)
class DataSet:
    """A data set as an entry of the table.

    `read` is the `module:function` that takes a folder (Path) and gives training and test images: pairs of
    pixels (n, size, size) or (n, size, size, 3), uint8, and labels (n,). Where `size` is not 32, `enlarge` is
    the `module:function` that brings pixels (n, size, size) to (n, 32, 32). `grey` says that there is one
    channel. `mean` and `std`, by which each channel of
    pixels / 255 is normalised, are those that published networks expect, where there are such; None:
    measured on the training images. An experiment may ask for others, see normalisation.py. `class_names` is
    the `module:function` that takes the folder and gives the names of the classes, in the order of their
    labels, where the folder tells them.
    """

    read: str
    description: str
    num_classes: int | None = None  # None: counted
    size: int = SIZE  # pixels on each side, as they are published
    enlarge: str | None = None
    grey: bool = False
    mean: PER_CHANNEL | None = None
    std: PER_CHANNEL | None = None
    class_names: str | None = None


DATA_SETS = {
    "digits": DataSet(
        "fusionscope.training.digits:digits",
        "1,797 handwritten digits that come with scikit-learn",
        num_classes=10,
        size=8,
        enlarge="fusionscope.training.digits:enlarge",
        grey=True,
    ),
    "cifar10": DataSet(
        "fusionscope.training.torchvision_sets:cifar10",
        "60,000 photographs of 10 kinds of things",
        num_classes=10,
        mean=(0.4914, 0.4822, 0.4465),  # these and the next are the study's
        std=(0.2023, 0.1994, 0.2010),
    ),
    "cifar100": DataSet(
        "fusionscope.training.torchvision_sets:cifar100",
        "60,000 photographs of 100 kinds of things",
        num_classes=100,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
    ),
    "fashion_mnist": DataSet(
        "fusionscope.training.torchvision_sets:fashion_mnist",
        "70,000 images of clothes",
        num_classes=10,
        size=28,
        enlarge="fusionscope.training.torchvision_sets:pad",
        grey=True,
        mean=(0.2860,) * 3,
        std=(0.3530,) * 3,
    ),
    "image_folder": DataSet(
        "fusionscope.training.image_folder:image_folder",
        "images of one's own, from the path under image_folder",
        class_names="fusionscope.training.image_folder:class_names",
    ),
}
