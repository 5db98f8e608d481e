"""From measured numbers to ratios, and whether they meet their targets."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Spread(NamedTuple):
    """Median, smallest and largest of some numbers.

    Example:
        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.0, high=3.0)
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one number."""
        return cls(statistics.median(values), min(values), max(values))


def rates(group: Mapping[str, Any], side: str) -> list[float]:
    """Images per second of every turn of a side."""
    return [group["images"][side] / seconds for seconds, _ in group["turns"][side]]


def _over(group: Mapping[str, Any], side: str, other: str) -> list[float]:
    """A side's images per second over another's, turn by turn."""
    return [a / b for a, b in zip(rates(group, side), rates(group, other), strict=True)]


def _memory(kind: str, side: str = "ours") -> Callable[[Mapping[str, Any]], list[float]]:
    return lambda group: [group["peak"][side][kind] / group["peak"]["peer"][kind]]


@dataclass(frozen=True, eq=False)
class Row:
    """One ratio of the table.

    Args:
        name: what it is.
        group: that measured it.
        ratios: of that group's numbers; none where it was not measured there.
        bound: ">=" or "<=".
        targets: by machine: "cuda", "amx" (a CPU with AMX), "bf16" (with AVX512-BF16), "cpu" (any CPU); where none
            fits, there is none.
        digits: that are shown.
        profiled: the side whose profile says why it is missed; None: the text below the table does.
    """

    name: str
    group: str
    ratios: Callable[[Mapping[str, Any]], list[float]]
    bound: str
    targets: Mapping[str, float]
    digits: int = 2
    profiled: str | None = None

    def target(self, hardware: Mapping[str, Any]) -> float | None:
        """The target on this machine."""
        return next((self.targets[kind] for kind in kinds(hardware) if kind in self.targets), None)

    def meets(self, measured: float, hardware: Mapping[str, Any]) -> bool | None:
        """Whether the median meets the target; None: there is none.

        Example:
            >>> ROWS[2].meets(1.2, {"device": "cpu"}), ROWS[0].meets(9.0, {"device": "cpu", "amx": True})
            (False, True)
        """
        target = self.target(hardware)
        if target is None:
            return None
        return measured >= target if self.bound == ">=" else measured <= target


def kinds(hardware: Mapping[str, Any]) -> tuple[str, ...]:
    """What a machine is to the targets, the most special first."""
    if hardware["device"] != "cpu":
        return ("cuda",)
    if hardware.get("amx"):
        return ("amx", "cpu")
    return ("bf16", "cpu") if hardware.get("units") == "AVX512-BF16" else ("cpu",)


def _sweep(group: Mapping[str, Any]) -> list[float]:
    return [ours / (group["points"] * peer) for ours in group["ours"] for peer in group["peer"]]


def _together(side: str) -> Callable[[Mapping[str, Any]], list[float]]:
    return lambda group: _over(group, side, "one") if side in group["turns"] else []


ANYWHERE = ("cuda", "cpu")
ROWS = (
    Row("live teacher, images/s over torchdistill", "live", lambda g: _over(g, "ours", "peer"), ">=",
        {"amx": 6.5, "cuda": 4.0}, profiled="live"),
    Row("cached teacher, images/s over torchdistill", "cached", lambda g: _over(g, "cached", "peer"), ">=",
        {"amx": 10.0}, profiled="cached"),
    Row("a step with a cached teacher over a plain step of the student", "cached",
        lambda g: _over(g, "alone", "cached"), "<=", dict.fromkeys(ANYWHERE, 1.05), digits=3, profiled="cached"),
    Row("our trainer over a bare loop with the same fast path", "cached", lambda g: _over(g, "bare", "alone"),
        "<=", dict.fromkeys(ANYWHERE, 1.03), digits=3, profiled="alone"),
    Row("a T × α sweep, wall time over single torchdistill runs", "sweep", _sweep, "<=",
        {"cpu": 1 / 10, "cuda": 1 / 15}, digits=3),
    Row("without bf16 units: live teacher, images/s over torchdistill", "float32", lambda g: _over(g, "ours", "peer"),
        ">=", {"cpu": 1.5}, profiled="live-32"),
    Row("texts: live teacher, texts/s over torchdistill", "texts", lambda g: _over(g, "live", "peer"), ">=",
        {"amx": 3.0, "bf16": 3.0}),
    Row("texts: cached teacher, texts/s over torchdistill", "texts", lambda g: _over(g, "cached", "peer"), ">=",
        {"amx": 6.0, "bf16": 6.0}),
    Row("texts: live teacher, over torchdistill that pads to the longest of a batch", "texts",
        lambda g: _over(g, "live", "peer-batch"), ">=", {}),
    Row("texts: cached teacher, over torchdistill that pads to the longest of a batch", "texts",
        lambda g: _over(g, "cached", "peer-batch"), ">=", {}),
    Row("texts: a step with a cached teacher over a plain step of the student", "texts",
        lambda g: _over(g, "alone", "cached"), "<=", dict.fromkeys(ANYWHERE, 1.05), digits=3),
    Row("texts: peak memory of the process over torchdistill's", "texts", _memory("process", "live"), "<=",
        dict.fromkeys(ANYWHERE, 1.1)),
    Row("several students in one process under a live teacher pass, students × images/s over one with a free cache",
        "together", _together("live"), ">=", {}),
    Row("the same, their teacher's answers free as well", "together", _together("kept"), ">=", {}),
    Row("the same, each on a CUDA stream of its own", "together", _together("beside"), ">=", {}),
    Row("peak memory of the process over torchdistill's", "live", _memory("process"), "<=",
        dict.fromkeys(ANYWHERE, 1.1)),
    Row("the same with helpers (compilers, data workers)", "live", _memory("all"), "<=",
        dict.fromkeys(ANYWHERE, 1.1)),
)  # fmt: skip


def measured(groups: Mapping[str, Any]) -> dict[Row, list[float]]:
    """The ratios of every row, where there are any."""
    found = {row: row.ratios(groups[row.group]) for row in ROWS if row.group in groups}
    return {row: ratios for row, ratios in found.items() if ratios}


def missed(groups: Mapping[str, Any]) -> list[Row]:
    """The rows that were measured and miss their target."""
    return [
        row
        for row, ratios in measured(groups).items()
        if row.meets(Spread.of(ratios).median, groups[row.group]["hardware"]) is False
    ]
