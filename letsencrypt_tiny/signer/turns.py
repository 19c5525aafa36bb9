"""Whose turn it is: users take turns, within each its processes, within each its connections.

So none gets more by asking more often, or on more connections, or with more processes than others.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Turns(Generic[_Item]):
    """Items that wait, below the path of who owns them; all paths are of the same length."""

    def __init__(self) -> None:
        self._items: deque[_Item] = deque()            # where a path ends
        self._owners: deque[Hashable] = deque()        # that have items
        self._below: dict[Hashable, "Turns[_Item]"] = {}

    def __bool__(self) -> bool:
        return bool(self._items or self._owners)

    def add(self, path: Sequence[Hashable], item: _Item) -> None:
        """Have ``item`` wait behind those of the same owner."""
        if not path:
            self._items.append(item)
            return
        owner = path[0]
        if owner not in self._below:
            self._below[owner] = Turns()
            self._owners.append(owner)
        self._below[owner].add(path[1:], item)

    def take(self) -> _Item:
        """Remove the item whose turn it is; its owner's next one comes after all others'.

        Raises IndexError if there is none.
        """
        if self._items:
            return self._items.popleft()
        owner = self._owners.popleft()
        below = self._below[owner]
        item = below.take()
        if below:
            self._owners.append(owner)
        else:
            del self._below[owner]
        return item
