"""Networks that pictures are compared in, by the names that people give them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seedbed.core.errors import unknown
from seedbed.evaluate.estimator import Estimator
from seedbed.experiments.files import is_in_file, read_file, split_name

if TYPE_CHECKING:
    from seedbed.data.dataset import Dataset
    from seedbed.evaluate.features.known import Features


def looked_up(way: Estimator, options: Mapping[str, Any], data: "Dataset") -> dict[str, Any]:
    """The options of an estimator with the features that a name stands for, where it has such an option."""
    if "features" not in {option.name for option in way.options}:
        return dict(options)
    given = options.get("features", "")
    return {**options, "features": features_of(given, data.shape, data.name) if isinstance(given, str) else given}


def features_of(name: str, shape: Sequence[int], data: str = "") -> "Features":
    """The network of a name; of an empty one that which suits the pictures.

    Args:
        name: ``mnist``, ``fashion``, ``cifar10``, ``inception``, or ``my_net.py:net``, a file which is then executed.
        shape: of a picture.
        data: what they are called.

    Raises:
        SeedbedError: for an unknown one, one of pictures of another size, or a file that does not run.
    """
    from seedbed.evaluate.features import known

    if not name:
        return known.suited(shape, data)
    if is_in_file(name):
        path, variable = split_name(name)
        file = read_file(path)
        public = {key: value for key, value in vars(file.module).items() if callable(value) and not key.startswith("_")}
        if variable not in public:
            raise unknown(f"network of {path.name}", variable, public)
        return known.own(f"{path.stem}.{variable}", public[variable], shape)
    found = known.inception() if name == known.INCEPTION else known.shipped(name)
    found.check(shape, data or "this set")
    return found
