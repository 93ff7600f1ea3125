"""Decoding the next pictures while the present one is looked at."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")
_WAIT_S = 0.1


def prefetched(items: Iterator[Item], depth: int = 4) -> Iterator[Item]:
    """Yields ``items`` in order; a second thread works up to ``depth`` items ahead.

    Errors of ``items`` are raised here, at their place. Leaving the loop early stops the thread and closes ``items``.
    """
    waiting: queue.Queue[tuple[bool, Item | BaseException | None]] = queue.Queue(depth)
    is_over = threading.Event()

    def put(entry: tuple[bool, Item | BaseException | None]) -> bool:
        while not is_over.is_set():
            try:
                waiting.put(entry, timeout=_WAIT_S)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
            put((False, None))
        except BaseException as error:  # handed to the reader, whatever it is
            put((False, error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            is_item, entry = waiting.get()
            if is_item:
                yield entry  # type: ignore[misc]
            elif entry is None:
                return
            else:
                raise entry  # type: ignore[misc]
    finally:
        is_over.set()
        thread.join()
