"""Which store a database's name means; only that kind's modules are loaded."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from greylist.log import Log
    from greylist.settings import Settings
    from greylist.store import Inspection, Maintenance, Rules, Store, Wording


def opener(database: str) -> Callable[[Settings, Log, Rules, Callable[[], None]], Store]:
    """Return the function that opens a database's kind of store for a filter.

    Its arguments: the settings; the log, which hears of trouble; the rules; and what loads the
    modules that cannot be loaded any more should the process become another user. Only that
    kind's modules are loaded here.

    Args:
        database: the setting of that name.
    """
    if is_url(database):
        from greylist.store.valkey.store import open_store as open_valkey

        return open_valkey
    from greylist.store.berkeley.store import open_store

    return open_store


def maintenance(settings: Settings, log: Log, rules: Rules) -> Maintenance:
    """Return what the commands ask of the store that the settings name.

    Args:
        settings: name the database.
        log: is told of recoveries.
        rules: tell what is stale, and merge what was salvaged.
    """
    if is_url(settings.database):
        from greylist.store.valkey.maintenance import ValkeyMaintenance

        return ValkeyMaintenance(settings)
    from greylist.store.berkeley.maintenance import BerkeleyMaintenance

    return BerkeleyMaintenance(settings, log, rules)


def inspection(
    settings: Settings,
    user: str,
    acting: Callable[[], AbstractContextManager[None]],
    wording: Wording,
) -> Inspection:
    """Return a look at the database that the settings name, for people.

    Args:
        settings: name the database.
        user: the filter's, who may have to own what is missing.
        acting: has root be that user for a while, to read what the filter has to read.
        wording: how sizes and times are written.
    """
    if is_url(settings.database):
        from greylist.store.valkey.inspection import Inspection as ValkeyInspection

        return ValkeyInspection(settings, user, acting, wording)
    from greylist.store.berkeley.inspection import Inspection as BerkeleyInspection

    return BerkeleyInspection(settings.database, user, wording)


def is_url(database: str) -> bool:
    """Return whether a database, as the setting names it, is one that hosts share."""
    return not database.startswith("/")
