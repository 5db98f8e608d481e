"""Disturbs small runs, and compares what comes out with undisturbed ones; see docs/reliability.md.

python -m campaign [kills,writes,reads,views,fuzz] [--kills 100] [--repeats 4] [--commands 10000] [--small] [--seed 0]
[--works run,export] [--output FILE]
"""

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from campaign import fuzz, kills, reads, views, writes
from campaign.findings import Findings
from campaign.forked import preload
from campaign.works import WORKS, Bench
from distill.utils.errors import nearest

CAMPAIGNS = ("kills", "writes", "reads", "views", "fuzz")
WITH_WORKS = ("kills", "writes")


def known(text: str, allowed: Sequence[str], what: str) -> list[str]:
    """The names in a text with commas; a ValueError that shows the nearest one for one that is not there."""
    names = text.split(",")
    for name in names:
        if name not in allowed:
            raise ValueError(f"no {what} {name!r}; {nearest(name, allowed)}")
    return names


def main() -> int:
    """Runs the campaigns; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaigns", nargs="?", default=",".join(CAMPAIGNS), help="names with commas (default: all)")
    parser.add_argument("--kills", type=int, default=100, help="how often a process is killed (default: 100)")
    parser.add_argument("--repeats", type=int, default=4, help="damages of each kind to each file (default: 4)")
    parser.add_argument(
        "--commands", default="10000", help="mutated commands: how many, or 17-18,20-20: those (default: 10000)"
    )
    parser.add_argument("--small", action="store_true", help="one of the errors per file that is written, not each")
    parser.add_argument("--seed", type=int, default=0, help="of the instants and damages (default: 0)")
    parser.add_argument(
        "--works", help=f"names with commas, of those that are killed or cannot write (default: {','.join(WORKS)})"
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/campaign.json"), help="the file of findings")
    chosen = parser.parse_args()
    try:
        names = known(chosen.campaigns, CAMPAIGNS, "campaign")
        works = known(chosen.works, tuple(WORKS), "work") if chosen.works is not None else list(WORKS)
    except ValueError as error:
        parser.error(str(error))
    if chosen.works is not None and (others := [name for name in names if name not in WITH_WORKS]):
        parser.error(f"{others[0]} has no works; {' and '.join(WITH_WORKS)} have")
    preload()
    findings, begun = Findings(shlex.join(sys.argv[1:])), time.monotonic()
    try:
        disturb(names, works, chosen, findings)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        findings.write(chosen.output)
        print(f"{findings.table()}\n\n{time.monotonic() - begun:.0f} s; {chosen.output}")
    return 0 if findings.parts and all(part.ended and not part.faults for part in findings.parts.values()) else 1


def disturb(names: Sequence[str], works: Sequence[str], chosen: argparse.Namespace, findings: Findings) -> None:
    """Runs the campaigns in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder))
        for name in names:
            if name == "kills":
                kills.campaign(bench, findings, chosen.kills, chosen.seed, works)
            elif name == "writes":
                writes.campaign(bench, findings, not chosen.small, works)
            elif name == "reads":
                reads.campaign(bench, findings, chosen.repeats, chosen.seed)
            elif name == "fuzz":
                fuzz.campaign(Path(folder) / "fuzz", findings, fuzz.numbers(chosen.commands), chosen.seed)
            else:
                views.campaign(Path(folder) / "views", findings)
            findings.ended(name)
            findings.write(chosen.output)


if __name__ == "__main__":
    sys.exit(main())
