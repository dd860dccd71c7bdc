"""What a disk may look like after a power cut, from a recording of what was done to its files.

The rules, of a journaling file system with a page cache:

- What was synced is there, and so is all that was written before some moment: the kernel writes
  by itself what is half a minute old.
- Of later writes, each block of 4,096 bytes is as it was after any number of them; torn, each
  sector of 512 bytes is. The size of a file is one that it has had.
- Names are made, changed and removed in the order in which that was done, up to any point at or
  after the last sync of a directory.
- Shared memory has never been synced: a file of it is as it was at any time, or zeros.
"""

from __future__ import annotations

import bisect
import os
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random as Chance

HEAD = struct.Struct("=QQqII")
BLOCK, SECTOR = 4096, 512
ZLIB = b"x"


class File:
    """A file, by whatever names: what was written to it, and when it was synced."""

    def __init__(self, inode: int, base: bytes = b"") -> None:
        self.inode = inode
        self.base = base
        self.changes: list[tuple[int, str, int, bytes]] = []
        self.syncs: list[int] = []

    def content(self, last: int, sure: int, chance: Chance, torn: bool) -> bytes:
        """Return what a disk may have of it that lost its power before the last call."""
        sure = max([sure, *(call for call in self.syncs if call < last)])
        kept = [change for change in self.changes if change[0] < sure]
        open_ = [change for change in self.changes if sure <= change[0] < last]
        data = bytearray(self.base)
        _apply(data, kept)
        if not open_:
            return bytes(data)
        stages = sorted({0, len(open_), *(chance.randrange(len(open_) + 1) for _ in range(3))})
        versions, done = [], 0
        for stage in stages:
            _apply(data, open_[done:stage])
            done = stage
            versions.append(bytes(data))
        mode = chance.choice(["none", "all", "mixed", "mixed"])
        if mode != "mixed":
            return versions[0 if mode == "none" else -1]
        size = len(chance.choice(versions))
        unit = SECTOR if torn else BLOCK
        parts = []
        for start in range(0, size, unit):
            part = chance.choice(versions)[start : start + unit]
            parts.append(part.ljust(min(unit, size - start), b"\0"))
        return b"".join(parts)


def _apply(data: bytearray, changes: list[tuple[int, str, int, bytes]]) -> None:
    for _, call, number, written in changes:
        if call == "w":
            data.extend(bytes(max(0, number - len(data))))
            data[number : number + len(written)] = written
        elif call == "t":
            del data[number:]
        data.extend(bytes(max(0, number - len(data))))


class Folder:
    """A directory."""

    def __init__(self, inode: int) -> None:
        self.inode = inode


class Recording:
    """What filters did to a directory, and what they answered meanwhile."""

    def __init__(self, root: Path) -> None:
        """Take what is there now as the base, which is on the disk."""
        self.root = root
        self.calls = 0
        self.positions: list[int] = []
        self.names: list[tuple[int, str, str, File | Folder | str | None]] = []
        self.synced_names: list[int] = []
        self.shown: dict[int, list[tuple[int, bytes]]] = {}
        self.answers: list[tuple[int, bytes, bool]] = []
        self.tree: dict[str, File | Folder] = {}
        for path in sorted(root.rglob("*")):
            name, inode = str(path.relative_to(root)), path.stat().st_ino
            self.tree[name] = Folder(inode) if path.is_dir() else File(inode, path.read_bytes())
        self._base = dict(self.tree)

    def read(self, log: Path) -> None:
        """Read what the recorder wrote."""
        data = log.read_bytes()
        self.by_inode = {file.inode: file for file in self.tree.values() if isinstance(file, File)}
        at = 0
        while at < len(data):
            call, inode, number, one, other = HEAD.unpack_from(data, at)
            at += HEAD.size
            first, second = data[at : at + one], data[at + one : at + one + other]
            at += one + other
            if chr(call) in "wtas":
                self._take_data(chr(call), inode, number, first)
            else:
                self._take_name(chr(call), inode, number, self._name(first), second)
            self.calls += 1
            self.positions.append(at)

    def _take_data(self, call: str, inode: int, number: int, data: bytes) -> None:
        if call == "s" and number:
            self.synced_names.append(self.calls)
        elif inode in self.by_inode:
            file = self.by_inode[inode]
            if call == "s":
                file.syncs.append(self.calls)
            else:
                file.changes.append((self.calls, call, number, data))

    def _take_name(self, call: str, inode: int, number: int, name: str, other: bytes) -> None:
        if call == "c":
            if name not in self.tree:
                self.by_inode[inode] = File(inode)
                self._rename("link", name, self.by_inode[inode])
            if number:
                self._take_data("t", inode, 0, b"")
        elif call == "m":
            self._rename("link", name, Folder(inode))
        elif call == "r":
            self._rename("rename", name, self._name(other))
        else:
            self._rename("unlink", name, None)

    def _name(self, path: bytes) -> str:
        return os.path.relpath(os.path.normpath(path.decode()), self.root)

    def _rename(self, how: str, name: str, what: File | Folder | str | None) -> None:
        self.names.append((self.calls, how, name, what))
        change_names(self.tree, how, name, what)

    def call_at(self, position: int) -> int:
        """Return how many calls the recorder had written when its file had this size."""
        return bisect.bisect_right(self.positions, position)

    def interesting(self) -> list[int]:
        """Return the calls after which most can go wrong: on names, syncs, and on the database."""
        found = {call for call, *_ in self.names} | set(self.synced_names)
        for file in [*self._base.values(), *self.tree.values()]:
            if isinstance(file, File):
                found.update(file.syncs)
        return sorted(found)

    def after_power_cut(
        self, last: int, sure: int, chance: Chance, torn: bool
    ) -> dict[str, tuple[int, bytes | None]]:
        """Return the inode of each file, and what a disk may have of it; none for a directory."""
        floor = max([sure, *(call for call in self.synced_names if call < last)])
        end = chance.choice([floor, last, chance.randint(floor, last)])
        tree = dict(self._base)
        for call, how, name, what in self.names:
            if call < end:
                change_names(tree, how, name, what)
        state: dict[str, tuple[int, bytes | None]] = {}
        for name, file in tree.items():
            if isinstance(file, Folder):
                content = None
            elif file.inode in self.shown:
                content = self._shown(file, last, sure, chance)
            elif "__db.0" in name:
                content = bytes(BLOCK)
            else:
                content = file.content(last, sure, chance, torn)
            state[name] = file.inode, content
        return state

    def _shown(self, file: File, last: int, sure: int, chance: Chance) -> bytes:
        """Return what may be on the disk of shared memory."""
        seen = list(self.shown[file.inode])
        if len(file.base) < BLOCK:  # the record, which recovery writes whole
            seen += [(call, data) for call, how, _, data in file.changes if how == "w"]
        seen = sorted(one for one in seen if one[0] < last)
        sure = max([0, *(call for call in file.syncs if call < last)])
        fixed = [one for one in seen if one[0] <= sure][-1:]
        late = [one for one in seen if one[0] > sure]
        zeros = [] if fixed and sure else [(0, bytes(256))]
        _, data = chance.choice(
            [*zeros, *fixed, *late[-40:], *late[-1:] * len(late[-40:])] or [(0, b"")]
        )
        return zlib.decompress(data) if data[:1] == ZLIB else data


def change_names(tree: dict[str, File | Folder], how: str, name: str, what) -> None:
    """Bring a tree of names up to date."""
    if how == "link":
        tree[name] = what
    elif how == "unlink":
        tree.pop(name, None)
    else:
        moved = {
            one: file for one, file in tree.items() if one == name or one.startswith(name + "/")
        }
        for one, file in moved.items():
            del tree[one]
            tree[what + one[len(name) :]] = file
