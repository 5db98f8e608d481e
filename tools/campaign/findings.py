"""What a campaign found."""

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Findings:
    """Trials, and those of them that went wrong.

    Attributes:
        trials: their number by campaign.
        events: kills, failed writes, damaged files: their number by campaign.
        faults: of each trial that went wrong, the campaign, what was tried and what was wrong.
        quiet: print no line per trial.
    """

    trials: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str, list[str]]] = field(default_factory=list)
    quiet: bool = False

    def add(self, campaign: str, tried: str, problems: list[str], events: int = 1) -> None:
        """Counts a trial."""
        self.trials[campaign] += 1
        self.events[campaign] += events
        if problems:
            self.faults.append((campaign, tried, problems))
        if not self.quiet:
            outcome = f"FAULT: {'; '.join(problems[:3])}" if problems else "right"
            print(f"{campaign} {self.trials[campaign]}: {tried}: {outcome}", file=sys.stderr, flush=True)

    def table(self) -> str:
        """A line per campaign, in Markdown."""
        wrong = Counter(campaign for campaign, _, _ in self.faults)
        lines = ["| campaign | trials | disturbances | right |", "| --- | --- | --- | --- |"]
        for name, count in self.trials.items():
            lines.append(f"| {name} | {count} | {self.events[name]} | {count - wrong[name]} |")
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """All of it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        faults = [{"campaign": c, "tried": tried, "problems": problems} for c, tried, problems in self.faults]
        content = {"trials": self.trials, "disturbances": self.events, "faults": faults}
        path.write_text(json.dumps(content, indent=1) + "\n")
