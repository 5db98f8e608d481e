"""What a campaign found."""

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

Fault = tuple[str, list[str]]


@dataclass
class Part:
    """A campaign, or one of its works.

    Attributes:
        arguments: of the command line.
        trials: their number.
        disturbances: kills, failed writes, damaged files: their number.
        right: trials that were.
        seconds: from the part before to its last trial.
        ended: False: stopped before its last trial.
        faults: of each trial that went wrong, what was tried and what was wrong.
    """

    arguments: str = ""
    trials: int = 0
    disturbances: int = 0
    right: int = 0
    seconds: float = 0.0
    ended: bool = False
    faults: list[Fault] = field(default_factory=list)


@dataclass
class Findings:
    """Trials, and those of them that went wrong.

    Attributes:
        arguments: of the command line.
        parts: by campaign, or by campaign and work: ``writes export``.
        quiet: print no line per trial.
    """

    arguments: str = ""
    parts: dict[str, Part] = field(default_factory=dict)
    quiet: bool = False
    _last: float = field(default_factory=time.monotonic)

    @property
    def faults(self) -> list[Fault]:
        """Of all parts."""
        return [fault for part in self.parts.values() for fault in part.faults]

    def add(self, campaign: str, tried: str, problems: list[str], events: int = 1, work: str | None = None) -> None:
        """Counts a trial, of a work if the campaign has some."""
        name = f"{campaign} {work}" if work else campaign
        part = self.parts.setdefault(name, Part(self.arguments))
        now = time.monotonic()
        part.seconds, self._last = round(part.seconds + now - self._last, 1), now
        part.trials, part.disturbances = part.trials + 1, part.disturbances + events
        part.right += not problems
        if problems:
            part.faults.append((tried, problems))
        if not self.quiet:
            outcome = f"FAULT: {'; '.join(problems[:3])}" if problems else "right"
            print(f"{name} {part.trials}: {tried}: {outcome}", file=sys.stderr, flush=True)

    def ended(self, campaign: str) -> None:
        """The last trial of all its parts is done."""
        for name, part in self.parts.items():
            part.ended |= name.split(" ")[0] == campaign

    def table(self) -> str:
        """A line per part, in Markdown."""
        lines = ["| campaign | trials | disturbances | right | seconds |", "| --- | --- | --- | --- | --- |"]
        for name, part in self.parts.items():
            stopped = "" if part.ended else ", stopped"
            lines.append(
                f"| {name}{stopped} | {part.trials} | {part.disturbances} | {part.right} | {part.seconds:.0f} |"
            )
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """All of it as JSON, beside the parts of earlier calls that the file has already."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            before = json.loads(path.read_text())
        except (OSError, ValueError):  # there is none, or it is damaged: what was found now counts
            before = {}
        before = {name: part for name, part in before.items() if isinstance(part, dict) and "trials" in part}
        parts = {name: asdict(part) for name, part in self.parts.items()}
        path.write_text(json.dumps(before | parts, indent=1) + "\n")
