"""Where the data of a run are now: as was typed, where they were found last, or where one says; their checksum decides."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from seedbed.core.errors import SeedbedError
from seedbed.data import found_at, has_path, loaded_once, rooted
from seedbed.experiments.experiment import Experiment
from seedbed.store.folder import Folder
from seedbed.store.manifest import Manifest


@contextmanager
def at_hand(folder: Folder, manifest: Manifest, experiment: Experiment, place: str | None = None) -> Iterator[None]:
    """While inside, the experiment of a run loads the run's own data, wherever they are.

    Args:
        folder: of the run, whose manifest keeps where they were found.
        manifest: of the run.
        experiment: of the run.
        place: where they are now, a name such as ``array:/new/place/x.npy``; else they are looked for by the name that was
            typed, then where they were found last.

    Raises:
        SeedbedError: if they are in none of these places, or have changed.
    """
    typed = str(manifest.config.get("data", ""))
    if not (has_path(typed) and "checksum" in manifest.data):
        if place is not None:
            raise SeedbedError(f"the data of {folder} are {typed}, which are found by that name; leave --data-at out")
        yield
        return
    with loaded_once():
        found = _found(folder, manifest, experiment, typed, place)
        if rooted(found) != manifest.data.get("place"):
            moved_to(folder, found)
        with found_at({typed: found} if found != typed else {}):
            yield


def _found(folder: Folder, manifest: Manifest, experiment: Experiment, typed: str, place: str | None) -> str:
    """The first of the places at which the run's data are."""
    why, read = [], False
    for name in [place] if place is not None else dict.fromkeys([typed, str(manifest.data.get("place", typed))]):
        try:
            if _checksum(experiment, typed, name) == manifest.data["checksum"]:
                return name
            read = True
            why.append(f"{name} have changed since it began")
        except SeedbedError as error:
            why.append(str(error))
    what = "not those that it was trained on" if read else "not there"
    new = f"{typed.partition(':')[0]}:PATH"
    raise SeedbedError(
        f"the data of {folder} are {what}: {'; '.join(why)}; restore them, or say where they are now: "
        f"`seedbed evaluate {folder} --data-at {new}`, or `seedbed run` with -d {new} and --name {folder.path.name}"
    )


def _checksum(experiment: Experiment, typed: str, place: str) -> str:
    with found_at({typed: place} if place != typed else {}):
        return experiment.data.load().checksum()


def moved_to(folder: Folder, place: str) -> None:
    """Write down where the data of a run were found."""
    folder.change(lambda manifest: replace(manifest, data={**manifest.data, "place": rooted(place)}))


def with_data_of(folder: Folder, experiment: Experiment) -> Experiment:
    """The experiment by the name that a run has for its data, where it has them by another: the same values elsewhere.

    An experiment on other data is returned as it is.
    """
    manifest = folder.manifest()
    typed, now = str(manifest.config.get("data", "")), experiment.data.data
    if typed == now or not (has_path(typed) and has_path(now)) or "checksum" not in manifest.data:
        return experiment
    if experiment.data.load().checksum() != manifest.data["checksum"]:
        return experiment
    moved_to(folder, now)
    return experiment.with_config({"data": typed})
