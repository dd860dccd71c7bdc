"""Is the database where it may be: in a directory of the filter's own, in nobody else's reach."""

from __future__ import annotations

import os
import stat

from greylist.store import StoreError
from greylist.store.berkeley.environment import home, is_part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def refuse_system(directory: str, status: os.stat_result) -> None:
    """See that this is a directory, and none that other programs use too.

    Args:
        directory: for the message.
        status: what stat(2) says of it.

    Raises:
        StoreError: it is.
    """
    if not stat.S_ISDIR(status.st_mode):
        raise StoreError(f"{directory} is not a directory")
    if status.st_uid != 0:  # root owns them all; a filter's own is its user's
        return
    from greylist.system import is_in_system, is_system  # cold, as below

    if is_system(status) or is_in_system(directory):
        raise StoreError(
            f"{directory} is a directory of the system, and the database needs one of its own; "
            "mend it: have database = name a file in another directory"
        )


def lock_path(path: str) -> str:
    """Return the lock file of a database."""
    return path + ".lock"


def check(path: str, load: Callable[[], None], adopt: bool = True, create: bool = True) -> None:
    """See that the database can be kept at this path, and that its lock file exists.

    Root acts as the owner of the directory from here on, so as to leave no file behind that
    the filter cannot open.

    Args:
        path: the database, which need not exist.
        load: loads the modules that lie where only root may read, before root changes.
        adopt: whether a BTree that has never been used here may be taken over.
        create: whether to make the lock file, if it is not there.

    Raises:
        StoreError: it cannot; the text names the command that mends it.
    """
    directory = os.path.dirname(path)
    try:
        status = os.stat(directory)
        refuse_system(directory, status)
        if status.st_mode & stat.S_IWOTH:
            raise StoreError(f"{directory} is world-writable; mend it: {_shut(path)}")
        if os.geteuid() == 0 and status.st_uid != 0:
            from greylist.privileges import become  # cold: a filter is not root

            load()
            become(status.st_uid)
        _check_directory(directory, status)
        for name in (path, lock_path(path)):
            _check_file(name)
        check_environment(path)
        if status.st_mode & stat.S_IXOTH:
            _check_modes(path)
        if not os.path.exists(os.path.join(home(path), "__db.001")):
            from greylist.store.berkeley.ownership import claim  # cold: it is not in use yet

            claim(path, adopt)
        if create:
            _create(lock_path(path))
    except FileNotFoundError:
        make = f"install -d -o {_user()} -m 0700 {_quoted(directory)}"
        raise StoreError(f"{directory} does not exist; mend it: {make}") from None
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror}") from error


def exists(path: str) -> bool:
    """Return whether there is a database, as far as this user is to know.

    Raises:
        StoreError: its directory is somebody else's.
    """
    directory = os.path.dirname(path)
    try:
        status = os.stat(directory)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreError(f"{directory}: {error.strerror}") from error
    refuse_system(directory, status)
    if status.st_uid != os.geteuid():
        text = not_ours(directory, status.st_uid)
        raise StoreError(f"{text}; mend it: run this as root, or as {_user(status.st_uid)}")
    return os.path.exists(path)


def _check_directory(directory: str, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        _refuse_owner(directory, status.st_uid)
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        if os.statvfs(directory).f_flag & os.ST_RDONLY:
            raise StoreError(
                f"{directory} is on a read-only file system; mend it: "
                f"mount -o remount,rw {_quoted(_mount_point(directory))}"
            )
        raise StoreError(f"{directory} is not writable; mend it: chmod u+rwx {_quoted(directory)}")


def _check_file(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a regular file"
        raise StoreError(f"{path} is {kind}; mend it: have database = name another file")
    if status.st_uid != os.geteuid():
        _refuse_owner(path, status.st_uid)
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise StoreError(
            f"{path} is not readable and writable; mend it: chmod u+rw {_quoted(path)}"
        )


def _check_modes(path: str) -> None:
    """See that other users, who can enter the directory, can write to nothing in it."""
    for name in (path, lock_path(path), home(path)):
        if os.path.lexists(name) and os.lstat(name).st_mode & stat.S_IWOTH:
            raise StoreError(f"{name} is world-writable; mend it: chmod o-w {_quoted(name)}")


def check_environment(path: str) -> None:
    """See that the database's environment is its own, and that libdb can open what is in there.

    A link would lead to another program's. On a FIFO libdb waits for ever. A DB_CONFIG can have it
    keep the log elsewhere, where nobody would look for it.

    Raises:
        StoreError: something else is there.
        OSError: it cannot be looked at.
    """
    directory = home(path)
    try:
        status = os.lstat(directory)
        if stat.S_ISLNK(status.st_mode):
            raise StoreError(
                f"{directory} is a symbolic link; mend it: have database = name another file"
            )
        if status.st_uid != os.geteuid():
            _refuse_owner(directory, status.st_uid)
        with os.scandir(directory) as entries:
            for entry in entries:
                _check_part(entry)
    except (FileNotFoundError, NotADirectoryError):
        pass


def _check_part(entry: os.DirEntry[str]) -> None:
    """See that a file of an environment is none that libdb would hang on, or obey."""
    if entry.name == "DB_CONFIG":
        raise StoreError(
            f"{entry.path} has libdb do other than greylist asks for; mend it: move it away"
        )
    if entry.is_file(follow_symlinks=False) or not is_part(entry.name.removeprefix("old.")):
        return
    if not _is_file_or_gone(entry.path):
        raise StoreError(f"{entry.path} is not a regular file; mend it: move it away")


def _is_file_or_gone(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return True


def _create(path: str) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    os.close(os.open(path, flags, 0o600))


def _refuse_owner(path: str, owner: int) -> None:
    raise StoreError(f"{not_ours(path, owner)}; mend it: chown {_user()} {_quoted(path)}")


def not_ours(path: str, owner: int) -> str:
    """Return that a file belongs to another user than the one that this process acts as."""
    return f"{path} belongs to {_user(owner)}, not to {_user()}"


def _user(uid: int | None = None) -> str:
    from greylist.privileges import user  # cold: for messages

    return user(uid)


def _shut(path: str) -> str:
    """Return what keeps others out of a database's directory, if it is not theirs as well."""
    from greylist.system import has_others  # cold, as above

    directory = os.path.dirname(path)
    if has_others(path):
        return "have database = name a file in another directory"
    return f"chmod 0700 {_quoted(directory)}"


def _quoted(path: str) -> str:
    from greylist.system import quoted  # cold, as above

    return quoted(path)


def _mount_point(path: str) -> str:
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
