"""Disturbs small runs, and compares what comes out with undisturbed ones; see docs/reliability.md.

python -m campaign [kills,writes,reads,views,fuzz] [--kills 100] [--repeats 4] [--commands 10000] [--small] [--seed 0]
[--output FILE]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from campaign import fuzz, kills, reads, views, writes
from campaign.findings import Findings
from campaign.forked import preload
from campaign.works import Bench

CAMPAIGNS = ("kills", "writes", "reads", "views", "fuzz")


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
    parser.add_argument("--output", type=Path, default=Path("outputs/campaign.json"), help="the file of findings")
    chosen = parser.parse_args()
    names = chosen.campaigns.split(",")
    if unknown := set(names) - set(CAMPAIGNS):
        parser.error(f"no campaign {', '.join(sorted(unknown))}; there are {', '.join(CAMPAIGNS)}")
    preload()
    findings, begun = Findings(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder))
        for name in names:
            if name == "kills":
                kills.campaign(bench, findings, chosen.kills, chosen.seed)
            elif name == "writes":
                writes.campaign(bench, findings, not chosen.small)
            elif name == "reads":
                reads.campaign(bench, findings, chosen.repeats, chosen.seed)
            elif name == "fuzz":
                fuzz.campaign(Path(folder) / "fuzz", findings, fuzz.numbers(chosen.commands), chosen.seed)
            else:
                views.campaign(Path(folder) / "views", findings)
            findings.write(chosen.output)
    print(f"{findings.table()}\n\n{time.monotonic() - begun:.0f} s; {chosen.output}")
    return 1 if findings.faults else 0


if __name__ == "__main__":
    sys.exit(main())
