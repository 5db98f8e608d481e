"""Failed writes: every file that is written fails once, with each error; also a limit on the size of files."""

import errno
import resource
import shutil
from collections.abc import Callable, Sequence

from campaign.disk import failing, noting
from campaign.findings import Findings
from campaign.works import WORKS, Bench, Work

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT)
LIMITS = (0, 300, 3_000, 30_000, 300_000)  # bytes; a run's files have 100 bytes to 1 MB


def limited(size: int) -> Callable[[], None]:
    """No file grows beyond a size, whoever writes it; as on a full disk, the write in C fails."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def writes_of(bench: Bench, work: Work) -> list[str]:
    """What the work does to its folder, in order: files opened to be written or renamed into place, new folders."""
    at, record = bench.begin(work, f"noted-{work.name}"), bench.folder / f"noted-{work.name}.txt"
    bench.call(work, at, noting(record, deletes=False))
    shutil.rmtree(at)
    return record.read_text().splitlines()


def trial(bench: Bench, work: Work, what: str, disturb: Callable[[], None], findings: Findings) -> None:
    """The work ends in an error line, or with the right results; done again undisturbed, with the right results."""
    at = bench.begin(work, f"failed-{work.name}")
    done, problems = bench.call(work, at, disturb), []
    if done.complaint:
        problems.append(done.complaint)
    elif done.status == 0:
        problems += [f"differs without an error: {key}" for key in bench.wrong(work, at)]
    done = bench.call(work, at)
    if done.complaint or done.error:
        problems.append(f"done again: {done.complaint or done.error}")
    else:
        problems += [f"done again, differs: {key}" for key in bench.wrong(work, at)]
    findings.add("writes", what, problems, work=work.name)
    shutil.rmtree(at)


def campaign(
    bench: Bench, findings: Findings, whole: bool, names: Sequence[str] = tuple(WORKS), most: int | None = None
) -> None:
    """Every write of every work, with every error (``whole``) or the errors in turn, the first to a file's name.

    ``most``: so many of them, from all over the work.
    """
    for work in (WORKS[name] for name in names):
        bench.reference(work)
        every = writes_of(bench, work)
        writes = [(number, what) for number, what in enumerate(every, 1) if whole or what not in every[: number - 1]]
        step = max(1, len(writes) // most) if most else 1
        for turn, (number, what) in enumerate(writes[::step]):
            for code in ERRORS if whole else (ERRORS[turn % len(ERRORS)],):
                tried = f"{number} ({what}): {errno.errorcode[code]}"
                trial(bench, work, tried, failing(number, code), findings)
        for size in LIMITS if whole else LIMITS[1::2]:
            trial(bench, work, f"no file above {size} bytes", limited(size), findings)
