"""Which instances of which interfaces a session holds the datasets of, and which of them are wanted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from .errors import DatasetMissingError, UsageError
from .interfaces import interface_list
from .metadata_keys import describe_unknown
from .session import ALFSession


class Instances(NamedTuple):
    """What a session holds for the interfaces, by instance name.

    Attributes
    ----------
    available : dict of str to dict
        Constructor arguments of every instance that is complete, as JSON values.
    incomplete : dict of str to tuple of str
        Required datasets that the others lack.
    family_of : dict of str to str
        Family of every instance.
    """

    available: dict[str, dict[str, Any]]
    incomplete: dict[str, tuple[str, ...]]
    family_of: dict[str, str]


def find_instances(session: ALFSession) -> Instances:
    """What a session holds for the interfaces."""
    found = Instances({}, {}, {})
    given = {} if session.revision is None else {"revision": session.revision}
    for interface in interface_list:
        for instance in interface.get_instances(session):
            name = interface.get_instance_name(session, instance)
            url = interface.get_data_url(session, instance) if session.data_urls else None
            on_server = {} if url is None else {"data_url": url}
            found.available[name] = {"session_path": str(session.path), **instance, **given, **on_server}
            found.family_of[name] = interface.family
        for name, (_, missing) in interface.get_incomplete_instances(session).items():
            found.incomplete[name], found.family_of[name] = missing, interface.family
    return found


def find_source_data(
    session: ALFSession, *, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Source data of every interface that applies to a session.

    Parameters
    ----------
    session : ALFSession
        The session.
    include, exclude : iterable of str, optional
        Families or instances to convert only, or to leave out.

    Returns
    -------
    dict of str to dict
        Constructor arguments by instance name, as JSON values.

    Raises
    ------
    UsageError, DatasetMissingError
        As in :meth:`ibl_nwb.IBLConverter.from_session`.
    """
    found = find_instances(session)
    included, excluded = set(include or ()), set(exclude or ())
    wanted = _wanted_names(found.family_of, included, excluded)
    for name, missing in found.incomplete.items():
        if name in wanted:
            raise DatasetMissingError(
                f"{name} cannot be converted: '{session.path}' lacks {', '.join(missing)}. Add it, or leave it "
                f"out with --exclude {name}."
            )
    source_data = {name: source for name, source in found.available.items() if name in wanted}
    absent = included - {part for name in source_data for part in (name, found.family_of[name])}
    if absent:
        listed = ", ".join(found.available) or "nothing"
        raise DatasetMissingError(
            f"'{session.path}' holds nothing for {', '.join(sorted(absent))}. It holds: {listed}."
        )
    if not source_data:
        raise DatasetMissingError(
            f"'{session.path}' holds nothing to convert. To see what it holds and why not: "
            f"ibl-nwb inspect {session.path}"
        )
    return source_data


def _wanted_names(family_of: dict[str, str], included: set[str], excluded: set[str]) -> set[str]:
    """Instances that are asked for by their name or that of their family, or that are converted without being asked."""
    by_default = {interface.family: interface.by_default for interface in interface_list}
    known = {*family_of, *family_of.values(), *by_default}
    for name in sorted(included | excluded):
        if name not in known:
            raise UsageError(describe_unknown(name, known))
    return {
        name
        for name, family in family_of.items()
        if ({name, family} & included if included else by_default[family]) and not {name, family} & excluded
    }
