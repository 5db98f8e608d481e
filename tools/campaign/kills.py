"""Kills (-9) at random instants: whatever was killed and then continued or repeated ends as if undisturbed."""

import random
import shutil
from collections.abc import Sequence
from itertools import cycle

from campaign.disk import killing, noting
from campaign.findings import Findings
from campaign.forked import KILLED
from campaign.works import WORKS, Bench, Work

MOST = 5  # kills of one trial


def changes(bench: Bench, work: Work) -> int:
    """How often the undisturbed work changes its folder: files opened to be written, renamed, deleted, folders."""
    at, record = bench.begin(work, f"noted-{work.name}"), bench.folder / f"noted-{work.name}.txt"
    bench.call(work, at, noting(record, deletes=True))
    shutil.rmtree(at)
    return len(record.read_text().splitlines())


def trial(bench: Bench, work: Work, most: int | None, at_random: random.Random, findings: Findings) -> int:
    """Kills one work up to ``MOST`` times, lets it end, and compares the results; the number of kills.

    Each kill is at an instant of the CPU time that the undisturbed work takes; with ``most``, the number of its
    changes of the folder, it is between one of them and the next.
    """
    bench.reference(work)
    at = bench.begin(work, f"killed-{work.name}")
    instants: list[str] = []
    for _ in range(at_random.randint(1, MOST)):
        if most is None:
            instant = at_random.uniform(0, bench.seconds[work.name])
            done, when = bench.call(work, at, kill_at=instant), f"{instant:.2f} s"
        else:
            change = at_random.randint(1, most)
            done, when = bench.call(work, at, killing(change)), f"change {change}"
        if done.status != KILLED:
            break  # it was quicker
        instants.append(when)
    done = bench.call(work, at)
    problem = done.complaint or done.error
    problems = [problem] if problem else [f"differs: {key}" for key in bench.wrong(work, at)]
    findings.add("kills", f"killed at {', '.join(instants) or 'no instant'}", problems, len(instants), work.name)
    shutil.rmtree(at)
    return len(instants)


def campaign(bench: Bench, findings: Findings, kills: int, seed: int, names: Sequence[str] = tuple(WORKS)) -> None:
    """At least so many kills at random instants, of the works in turn, and as many between two changes of a folder."""
    at_random = random.Random(seed)
    for aimed in (False, True):
        turns, left = cycle(names), kills
        counts = {name: changes(bench, WORKS[name]) for name in names} if aimed else {}
        while left > 0:
            name = next(turns)
            left -= trial(bench, WORKS[name], counts.get(name), at_random, findings)
