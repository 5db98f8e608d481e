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


SLOW, FOREIGN = 0.5, 0.15  # of a side's own best rate; of the machine's cores


def _every_rate(group: Mapping[str, Any], side: str) -> list[float]:
    return [group["images"][side] / seconds for seconds, _ in group["turns"][side]]


def undisturbed(group: Mapping[str, Any]) -> list[int]:
    """The rounds in which no side ran below half of its own best, and others used at most 15 % of the machine."""
    by_side = [_every_rate(group, side) for side in group["turns"]]
    rounds = range(min(map(len, by_side)))
    foreign = group.get("foreign") or [0.0] * len(rounds)
    return [i for i in rounds if foreign[i] <= FOREIGN and all(found[i] >= SLOW * max(found) for found in by_side)]


def rates(group: Mapping[str, Any], side: str) -> list[float]:
    """Images per second of a side's turns in the rounds that nothing disturbed; in all, where each was disturbed."""
    found = _every_rate(group, side)
    return [found[i] for i in undisturbed(group) or range(len(found))]


@dataclass(frozen=True)
class Over:
    """A side's images per second over another's; nothing where a side was not measured."""

    side: str
    other: str

    def __call__(self, group: Mapping[str, Any]) -> list[float]:
        """Round by round."""
        if not {self.side, self.other} <= set(group["turns"]):
            return []
        return [a / b for a, b in zip(rates(group, self.side), rates(group, self.other), strict=True)]

    def best(self, group: Mapping[str, Any]) -> float:
        """Of the best round of each, whatever the other did in it."""
        return max(_every_rate(group, self.side)) / max(_every_rate(group, self.other))


def highest(group: Mapping[str, Any], kind: str) -> float:
    """Multiply-accumulates per second of the fastest shape and form in a precision."""
    found = group["rates"][kind]
    forms = found.values() if isinstance(found, Mapping) else [found]  # one form, measured before there were several
    return max(Spread.of(rounds).median for rounds in forms)


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


ANYWHERE = ("cuda", "cpu")
ROWS = (
    Row("live teacher, images/s over torchdistill", "live", Over("ours", "peer"), ">=",
        {"amx": 6.5, "cuda": 4.0}, profiled="live"),
    Row("cached teacher, images/s over torchdistill", "cached", Over("cached", "peer"), ">=",
        {"amx": 10.0}, profiled="cached"),
    Row("a step with a cached teacher over a plain step of the student", "cached",
        Over("alone", "cached"), "<=", dict.fromkeys(ANYWHERE, 1.05), digits=3, profiled="cached"),
    Row("our trainer over a bare loop with the same fast path", "cached", Over("bare", "alone"),
        "<=", dict.fromkeys(ANYWHERE, 1.03), digits=3, profiled="alone"),
    Row("a T × α sweep, wall time over single torchdistill runs", "sweep", _sweep, "<=",
        {"cpu": 1 / 10, "cuda": 1 / 15}, digits=3),
    Row("without bf16 units: live teacher, images/s over torchdistill", "float32", Over("ours", "peer"),
        ">=", {"cpu": 1.5}, profiled="live-32"),
    Row("texts: live teacher, texts/s over torchdistill", "texts", Over("live", "peer"), ">=",
        {"amx": 3.0, "bf16": 3.0}),
    Row("texts: cached teacher, texts/s over torchdistill", "texts", Over("cached", "peer"), ">=",
        {"amx": 6.0, "bf16": 6.0}),
    Row("texts: live teacher, over torchdistill that pads to the longest of a batch", "texts",
        Over("live", "peer-batch"), ">=", {}),
    Row("texts: cached teacher, over torchdistill that pads to the longest of a batch", "texts",
        Over("cached", "peer-batch"), ">=", {}),
    Row("texts: a step with a cached teacher over a plain step of the student", "texts",
        Over("alone", "cached"), "<=", dict.fromkeys(ANYWHERE, 1.05), digits=3),
    Row("texts: peak memory of the process over torchdistill's", "texts", _memory("process", "live"), "<=",
        dict.fromkeys(ANYWHERE, 1.1)),
    Row("several students in one process under a live teacher pass, students × images/s over one with a free cache",
        "together", Over("live", "one"), ">=", {}),
    Row("the same, their teacher's answers free as well", "together", Over("kept", "one"), ">=", {}),
    Row("the same, each on a CUDA stream of its own", "together", Over("beside", "one"), ">=", {}),
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
