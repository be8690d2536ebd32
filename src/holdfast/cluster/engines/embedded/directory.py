"""The directory in which the processes of a machine meet: which one it is, who owns it, and who may use it.

    state.db        the database
    s/              the files of the sessions

A user who can open one of its files can stop all changes with a lock on that file, and one who can write to the
directory can end sessions. So everything in it belongs to one user and is for that user alone, whatever the umask. The
path to it has no symlink of another user, and no directory that everybody may write to.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

from . import mounts

DATABASE = "state.db"
SESSIONS = "s"
_BESIDE_DATABASE = "", "-wal", "-shm", "-journal"
"""The suffixes of the files that SQLite makes. It gives all of them the mode of the first."""
_NETWORK_FILE_SYSTEMS = (
    *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "davfs"),
    *("ceph", "glusterfs", "lustre", "beegfs", "gpfs", "orangefs", "ocfs2", "gfs2"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.cephfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse"),
)
_MOST_SYMLINKS = 40
"""How many symlinks a path may have; as many as the kernel allows."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def default_directory() -> Path:
    """The directory that is used if none is named.

    It depends on the user only. If it depended on an environment variable, cron and a shell might use different ones.
    """
    return Path(f"/tmp/holdfast-{os.geteuid()}")


def prepare(path: Path) -> None:
    """Make what is missing, and check that all of it is for this user alone.

    Raises OSError, with a message that says what is wrong and what to do.
    """
    real = _make(path)
    _check_owner(os.lstat(real))
    if os.lstat(real).st_mode & _OTHERS_WRITE:
        raise PermissionError(f"others may write to it, and so end sessions; run: chmod 700 {path}")
    mount = mounts.covering(real, mounts.OWN)
    if mount is not None and mount.kind in _NETWORK_FILE_SYSTEMS:
        raise OSError(
            f"it is on a network file system ({mount.kind}), where locks cannot be relied on; name a local one"
        )
    _make_sessions(real / SESSIONS)
    _make_database(real / DATABASE)


def touch(path: Path) -> None:
    """Make the directory and its database look used, for cleaners that remove what has not been used for long.

    This is done by name: opening and closing the database would drop the locks that SQLite has on it in this process.
    """
    for each in (path, path / SESSIONS, *_database_files(path / DATABASE)):
        try:
            os.utime(each)
        except FileNotFoundError:
            continue


def _database_files(database: Path) -> list[Path]:
    return [database.with_name(database.name + suffix) for suffix in _BESIDE_DATABASE]


# The way there


def _make(path: Path) -> Path:
    """Check the path from the root on, and make what is missing; return the path without symlinks."""
    here, rest, symlinks = Path("/"), [*reversed(path.absolute().parts[1:])], 0
    _check_on_the_way(here, os.lstat(here))
    while rest:
        name = rest.pop()
        if name == "..":
            here = here.parent
            continue
        here /= name
        found = _lstat(here)
        if found is None:
            found = _make_one(here, 0o755 if rest else 0o700)
        if stat.S_ISLNK(found.st_mode):
            symlinks += 1
            _check_symlink(here, found, symlinks)
            target = Path(os.readlink(here))
            here = Path("/") if target.is_absolute() else here.parent
            rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        elif not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(here))
        elif rest:
            _check_on_the_way(here, found)
    return here


def _make_one(path: Path, mode: int) -> os.stat_result:
    try:
        path.mkdir(mode)
    except FileExistsError:  # another process has just made it
        return os.lstat(path)
    made = os.lstat(path)
    if made.st_mode & stat.S_IRWXU != stat.S_IRWXU:  # the umask has taken rights from the owner as well
        path.chmod(stat.S_IMODE(made.st_mode) | stat.S_IRWXU)
    return os.lstat(path)


def _check_symlink(path: Path, found: os.stat_result, symlinks: int) -> None:
    if symlinks > _MOST_SYMLINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    root = os.lstat("/").st_uid  # in a user namespace it may not be 0
    if found.st_uid not in (0, root, os.geteuid()):
        raise PermissionError(
            f"{path} is a symlink of user {found.st_uid}, who may let it lead elsewhere at any time; name the "
            "directory by a path without it"
        )


def _check_on_the_way(path: Path, found: os.stat_result) -> None:
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise PermissionError(
            f"everybody may write to {path}, and so put another directory into its place; run: chmod o-w {path} "
            "(or chmod +t, as /tmp has it), or name another one: sqlite:///DIRECTORY"
        )


def _check_owner(found: os.stat_result, what: str = "it") -> None:
    """Raise PermissionError unless it belongs to this user.

    Two users could not see whether each other's sessions are alive, and one could end the sessions of the other.
    """
    if found.st_uid != os.geteuid():
        raise PermissionError(
            f"{what} belongs to user {found.st_uid}, not to {os.geteuid()}; run as that user, or name another "
            "directory: sqlite:///DIRECTORY"
        )


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


# What is in it


def _make_sessions(path: Path) -> None:
    found = _lstat(path) or _make_one(path, 0o700)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{path} is {_kind(found)}, where holdfast keeps its sessions; remove it")
    _check_owner(found, str(path))
    if found.st_mode & _OTHERS:
        path.chmod(0o700)


def _make_database(path: Path) -> None:
    with _making:
        if _lstat(path) is None:
            _make_file(path)
    for each in _database_files(path):
        found = _lstat(each)
        if found is None:
            continue
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{each} is {_kind(found)}, where holdfast keeps its database; remove it")
        _check_owner(found, str(each))
        if found.st_mode & _OTHERS:
            each.chmod(0o600)


def _make_file(path: Path) -> None:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:  # another process has just made it
        return
    try:
        os.fchmod(file, 0o600)
    finally:
        os.close(file)


def _kind(found: os.stat_result) -> str:
    return (
        "a symlink"
        if stat.S_ISLNK(found.st_mode)
        else "a directory"
        if stat.S_ISDIR(found.st_mode)
        else "a file"
        if stat.S_ISREG(found.st_mode)
        else "something other than a file"
    )


_making = threading.Lock()
"""Held while the database's file is made and closed. Closing it would drop the locks of a connection of this process,
so none may open it meanwhile."""


def _renew_after_fork() -> None:
    """Another thread of the parent may have held it, and does not exist in the child."""
    global _making
    _making = threading.Lock()


os.register_at_fork(after_in_child=_renew_after_fork)
