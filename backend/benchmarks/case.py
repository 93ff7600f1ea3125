"""One line of a benchmark: the call that is timed and the one it is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Case:
    """A call of public functions, with every gradient and feature the trainers use (``trainer_calls`` reads the source and compares).

    name: short and unique, such as "meshes.ids_depth.512". title: one line for the table.
    run: does the whole work once, forward and backward where ``title`` says so. Everything that trainers prepare once
        (topology, tables, targets) was prepared before.
    reference: the same work by other means, timed alternately in the same process; None when there is none.
    reference_name: what ``reference`` is, such as "prototype" or "dense torch".
    reach: the largest wanted run / reference; None when nothing is promised. For ``at_least`` = True it is the smallest
        wanted reference / run (a speed-up).
    cost_of: name of the case of which this one is a variant; the table shows the difference.
    size: what the cost should grow with (pixels, splats ...), for the curve; None leaves the case out of it.
    curve: cases with the same curve are points of one line.
    """

    name: str
    title: str
    run: Callable[[], object]
    reference: Callable[[], object] | None = None
    reference_name: str = ""
    reach: float | None = None
    at_least: bool = False
    cost_of: str = ""
    size: int | None = None
    curve: str = ""
