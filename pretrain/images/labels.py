"""The class of every image: kept beside the images, or else their folders' names."""

import bisect
import os

import numpy as np

from benchmark.core.errors import UserError
from pretrain.images.collection import Images, Labels


def find_labels(images: Images) -> Labels:
    """Return the classes of a list: those kept beside the images, where there are any, or else their folders.

    Raises:
        UserError: there is no class for some image, or one class for all of them.
    """
    return images.own_labels() or labels_from_folders(images)


def labels_from_folders(paths: Images) -> Labels:
    """Return the classes of images that lie in one folder a class, as torchvision's ImageFolder reads them.

    The class is the first folder below the root.

    Raises:
        UserError: an image lies directly in the root, or all images lie in one class folder.
    """
    begins, names = [0], []
    while begins[-1] < len(paths):
        first = paths.name(begins[-1])
        folder, slash, _ = first.partition(os.sep)
        if not slash:
            raise UserError(
                f"the image {first} lies directly in {paths.root}, so it has no class; put the images into one folder "
                "a class (in shards: in their keys, or add .cls files), or choose a method that needs no labels."
            )
        names.append(folder)
        # Paths are sorted, so those of a class follow each other: the end is found in a few look-ups.
        inside = lambda i, start=folder + slash: not paths.name(i).startswith(start)  # noqa: E731
        begins.append(bisect.bisect_left(range(len(paths)), True, lo=begins[-1], key=inside))
    if len(names) < 2:
        raise UserError(f"{paths.root} has only the class {names[0]!r}; labels need two or more class folders.")
    classes = tuple(sorted(names))
    order = [classes.index(name) for name in names]
    return Labels(classes, np.repeat(np.array(order, np.int32), np.diff(begins)))
