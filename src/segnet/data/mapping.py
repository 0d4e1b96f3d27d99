"""Other classes than a data set's own: merged, ignored, or a part of them.

The mapped class table names, for each class, those of the data set that it stands for (``ClassTable.members``). A model
file keeps the table, so the same mapping is found again when the model is evaluated.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from segnet.errors import ConfigError, list_names
from segnet.labels import CAMVID, ClassTable, Color

__all__ = ["MAPPINGS", "map_classes", "matching_classes", "same_mapping"]

_IGNORE = "ignore"

MAPPINGS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "camvid11": {
        "Sky": ("Sky",),
        "Building": ("Building", "Archway", "Bridge", "Tunnel", "Wall"),
        "Pole": ("Column_Pole", "TrafficCone", "Pole"),
        "Road": ("Road", "LaneMkgsDriv", "LaneMkgsNonDriv"),
        "Pavement": ("Sidewalk", "ParkingBlock", "RoadShoulder"),
        "Tree": ("Tree", "VegetationMisc", "vegetation", "terrain"),
        "SignSymbol": ("SignSymbol", "Misc_Text", "TrafficLight", "traffic sign", "traffic light"),
        "Fence": ("Fence",),
        "Car": ("Car", "SUVPickupTruck", "Truck_Bus", "Train", "OtherMoving", "truck", "bus"),
        "Pedestrian": ("Pedestrian", "Child", "CartLuggagePram", "Animal", "person"),
        "Bicyclist": ("Bicyclist", "MotorcycleScooter", "rider", "motorcycle", "bicycle"),
    }
}
"""Ready-made mappings: ``camvid11`` maps the 32 classes of CamVid, and those of Cityscapes, to the paper's eleven."""


def map_classes(labels: ClassTable, rules: str = "", only: Sequence[str] = ()) -> ClassTable:
    """The class table after a mapping, with the classes of the data set that each class stands for.

    Args:
        labels: the classes of the data set.
        rules: ``"car,truck,bus=vehicle; sky=ignore"``, or the name of one of ``MAPPINGS``. Classes that no rule
            names stay. ``truck=car`` adds truck to the class car. Capitals do not count. A name that holds a comma
            stands in double quotes.
        only: names of the classes, after the rules, that are kept; all others are ignored. Empty: all.

    Returns:
        The classes in the order of their first members, with values 0, 1, 2 and so on.

    Raises:
        ConfigError: a name is no class, stands in two rules, or a rule has another form; or nothing is left.
    """
    colors: Mapping[str, Color] = {}
    if rules.strip() in MAPPINGS:
        groups = _ready_made(labels, MAPPINGS[rules.strip()])
        colors = dict(zip(CAMVID.names, CAMVID.colors, strict=True))
    else:
        groups = _grouped(labels, _parse(rules, labels))
    if only:
        chosen = [_find(name, groups, "--only") for name in only]
        groups = {name: members for name, members in groups.items() if name in chosen}
    return _table(labels, groups, colors)


def same_mapping(labels: ClassTable, mapped: ClassTable) -> ClassTable | None:
    """The mapped class table, if it has members among these classes and other names; else None."""
    if not mapped.members or labels.names == mapped.names:
        return None
    known = set(labels.names)
    return mapped if any(known & set(members) for members in mapped.members) else None


def matching_classes(labels: ClassTable, onto: ClassTable, rules: str = "") -> ClassTable:
    """The classes ``onto`` with those of another data set as members: of the same name, or of the name of a member.

    Capitals do not count. Classes that match none are members of none, and so ignored.

    Args:
        labels: the classes of the other data set.
        onto: the classes to which they become.
        rules: the mapping from which ``onto`` comes; one of ``MAPPINGS`` names the classes of other data sets, too.

    Raises:
        ConfigError: no class matches.
    """
    ready = MAPPINGS.get(rules.strip(), {})
    groups = onto.members or ((),) * onto.classes
    wanted = [
        {one.lower() for one in (name, *members, *ready.get(name, ()))}
        for name, members in zip(onto.names, groups, strict=True)
    ]
    found = tuple(tuple(name for name in labels.names if name.lower() in names) for names in wanted)
    if not any(found):
        raise ConfigError(
            f"none of its classes {list_names(labels.names)} has the name of one of {list_names(onto.names)}; rename "
            "them in a data.yaml"
        )
    return replace(onto, members=found)


def _ready_made(labels: ClassTable, groups: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    target_of = {name.lower(): target for target, names in groups.items() for name in names}
    found: dict[str, tuple[str, ...]] = {
        target: tuple(name for name in labels.names if target_of.get(name.lower()) == target) for target in groups
    }
    if not any(found.values()):
        raise ConfigError(f"the mapping is for other classes than {list_names(labels.names)}; write the rules out")
    return {target: members for target, members in found.items() if members}


def _parse(rules: str, labels: ClassTable) -> dict[str, str]:
    """Target by the name of each class that a rule names."""
    targets: dict[str, str] = {}
    for rule in filter(None, (part.strip() for part in rules.split(";"))):
        names, sign, target = rule.rpartition("=")
        if not sign or not target.strip() or not names.strip() or len(rule.splitlines()) > 1:
            raise ConfigError(
                f'--map {rule[:60]!r} is no rule; write "car,truck=vehicle; sky=ignore", or {" or ".join(MAPPINGS)}'
            )
        for name in next(csv.reader([names], skipinitialspace=True)):
            found = _find(name.strip(), labels.names, "--map")
            if found in targets:
                raise ConfigError(f"--map names the class {found} twice; name it once")
            targets[found] = target.strip().strip('"')
    kept = {name.lower(): name for name in (*labels.names, _IGNORE) if name not in targets}
    return {
        name: target if target in labels.names else kept.get(target.lower(), target) for name, target in targets.items()
    }


def _find(name: str, names: Iterable[str], flag: str) -> str:
    """The class of this name, in capitals or not."""
    known = list(names)
    if name in known:
        return name
    alike = [one for one in known if one.lower() == name.lower()]
    if len(alike) != 1:
        hint = "a name that holds a comma stands in double quotes; " if any("," in one for one in known) else ""
        raise ConfigError(
            f"{flag}: there is no class {name[:60]!r}; {hint}the classes are {list_names(known, most=40)}"
        )
    return alike[0]


def _grouped(labels: ClassTable, targets: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Members by class, in the order of the first member."""
    groups: dict[str, tuple[str, ...]] = {}
    for name in labels.names:
        target = targets.get(name, name)
        if target != _IGNORE:
            groups[target] = (*groups.get(target, ()), name)
    return groups


def _table(labels: ClassTable, groups: Mapping[str, tuple[str, ...]], colors: Mapping[str, Color]) -> ClassTable:
    if not groups:
        raise ConfigError("the mapping leaves no class; keep at least two")
    own = dict(zip(labels.names, labels.colors, strict=True))
    chosen = [colors.get(name) or own.get(name) or own[members[0]] for name, members in groups.items()]
    return ClassTable(names=tuple(groups), colors=tuple(chosen), members=tuple(groups.values()))
