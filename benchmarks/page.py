"""The page ``docs/benchmarks.md`` from what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import text_page
from benchmarks.results import ROWS, Over, Row, Spread, highest, measured, missed, rates, undisturbed
from benchmarks.tables import number, spread, table

TITLES = {"peer": "torchdistill, live teacher", "live": "ours, live teacher", "cached": "ours, cached teacher",
          "alone": "ours, the student alone", "bare": "bare loop, the student alone",
          "peer-32": "torchdistill, without bf16 units", "live-32": "ours, without bf16 units"}  # fmt: skip
INTRO = """# Benchmarks

This page is written by `make bench` from the numbers in [benchmarks/](benchmarks). Both sides learn the same task on
the same machine: resnet32x4 teaches resnet8x4 on 32×32 images in batches of 64, random crop and flip, SGD, logits with
T = 4. The peer is [torchdistill](https://github.com/yoshitomo-matsubara/torchdistill) from the package registry, run
as its recipes run it: its `DistillationBox` and `KDLoss`, its loaders over torchvision's transforms with a worker per
core, float32. It gets our model objects. Ours is `train.py` as a user types it, with its defaults and `compile=true`,
which is what a long run takes by itself; the sweep and the start are measured without that.

Sides are processes of their own that train **in turns**: some steps of one, some of the next, several rounds. A ratio
is taken within a round; shown are its median and, in brackets, its smallest and largest value, and beside them the
ratio of both sides' best rounds. A round in which a side runs below half of its own best, or in which other processes
use more than 15 % of the machine, is repeated (up to half as many rounds again) and left out. Warm-up and compilation
are not in a ratio; data, metrics, logging and the loop are.

```bash
make bench                                  # everything
make bench ARGS="only=live,cached rounds=3" # some of it; the rest of the page stays
make bench ARGS="data=<folder>"             # with CIFAR-10 from train.parquet and test.parquet of a folder
```
"""


def page(machines: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page.

    Args:
        machines: what was measured, by the kind of device: group by group, each with ``hardware``, ``versions``,
            ``commit``, ``date``, ``task`` and its numbers.
    """
    return INTRO + "".join(_machine(name, groups) for name, groups in machines.items())


def _machine(name: str, groups: Mapping[str, Any]) -> str:
    parts = [f"\n## {'GPU' if name != 'cpu' else 'CPU'}\n", _about(groups), _targets(groups)]
    parts.append(f"![images per second](images/benchmarks-{name}.svg)\n")
    parts += [
        _speeds(groups),
        _teacher(groups),
        text_page.section(groups),
        _sweep(groups),
        _start(groups),
        _sizes(groups),
    ]
    parts.append(_why(groups))
    return "\n".join(part for part in parts if part)


def _about(groups: Mapping[str, Any]) -> str:
    """Hardware and versions; where groups were measured at different times, each set with its groups."""
    sets: dict[str, list[str]] = {}
    for name, group in groups.items():
        hardware, versions = group["hardware"], group["versions"]
        device = "" if hardware["device"] == "cpu" else f"{hardware['device']}; "
        packages = ", ".join(f"{package} {version}" for package, version in versions.items())
        rounds = f"{group['rounds']} rounds" + (", `quick`: too short to mean much" if group["quick"] else "")
        line = (
            f"{device}{hardware['cpu']}, {hardware['cores']} cores ({hardware['units']}), "
            f"{hardware['threads']} threads; {packages}; {group['task']}; {rounds}; "
            f"{group['date']}, commit {group['commit']}"
        )
        sets.setdefault(line, []).append(name)
    if len(sets) == 1:
        return f"Measured on: {next(iter(sets))}.\n"
    return "Measured on:\n\n" + "".join(f"- {', '.join(names)}: {line}\n" for line, names in sets.items())


def _targets(groups: Mapping[str, Any]) -> str:
    rows, found = [], measured(groups)
    for row in ROWS:
        if row not in found:
            rows.append([row.name, "", "not measured", "", ""])
            continue
        group, ratios = groups[row.group], found[row]
        best = f"{row.ratios.best(group):.{row.digits}f}" if isinstance(row.ratios, Over) else ""
        rows.append([row.name, _target(row, group), spread(ratios, row.digits), best, _verdict(row, ratios, group)])
    return table(["ratio", "target", "measured", "of the best rounds", "met"], rows) + _left_out(groups)


def _left_out(groups: Mapping[str, Any]) -> str:
    """How many rounds were disturbed."""
    parts = []
    for name, group in groups.items():
        rounds = min(map(len, group["turns"].values())) if "turns" in group else 0
        kept = len(undisturbed(group)) if rounds else 0
        if rounds and not kept:
            parts.append(f"all {rounds} of {name} were disturbed and are shown, as the machine was busy")
        elif kept < rounds:
            parts.append(f"{rounds - kept} of {rounds} of {name}")
    return f"\nRounds left out as disturbed: {'; '.join(parts)}.\n" if parts else ""


def _target(row: Row, group: Mapping[str, Any]) -> str:
    sign, target = {">=": "≥", "<=": "≤"}[row.bound], row.target(group["hardware"])
    if target is not None:
        return f"{sign} {number(target)}"
    return ", ".join(f"{sign} {number(value)} with {kind.upper()}" for kind, value in row.targets.items())


def _verdict(row: Row, ratios: Sequence[float], group: Mapping[str, Any]) -> str:
    return {True: "yes", False: "**no**", None: "no target here"}[
        row.meets(Spread.of(ratios).median, group["hardware"])
    ]


def sides(groups: Mapping[str, Any]) -> dict[str, list[float]]:
    """Images per second of every side in turns, by what the page calls it."""
    found: dict[str, list[float]] = {}
    if "live" in groups:
        found[TITLES["peer"]] = rates(groups["live"], "peer")
        found[TITLES["live"]] = rates(groups["live"], "ours")
    if "cached" in groups:
        found.setdefault(TITLES["peer"], rates(groups["cached"], "peer"))
        found |= {TITLES[side]: rates(groups["cached"], side) for side in ("cached", "alone", "bare")}
    if "float32" in groups:
        found[TITLES["peer-32"]] = rates(groups["float32"], "peer")
        found[TITLES["live-32"]] = rates(groups["float32"], "ours")
    return found


def _work(side: str, groups: Mapping[str, Any]) -> tuple[float, float] | None:
    """Multiply-accumulates per second of a side, and its share of the highest rate in the same precision.

    A sample's training step counts as three forwards of the student, and one of a live teacher. None where the two
    were measured on different machines.
    """
    if "peak" not in groups:
        return None
    with_teacher = {"live": "live", "peer": "live" if "live" in groups else "cached"} | dict.fromkeys(
        ("peer-32", "live-32"), "float32"
    )  # the groups that measured them
    machines = [
        [groups[group]["hardware"][key] for key in ("device", "cpu", "cores", "threads")]
        for group in ("peak", with_teacher.get(side, "cached"))
    ]
    if machines[0] != machines[1]:
        return None
    macs, hardware = groups["peak"]["macs"], groups["peak"]["hardware"]
    without = hardware["device"] == "cpu" and hardware["units"] == "no bf16 units"
    kind = "float32" if without or side in ("peer", "peer-32", "live-32") else "bf16"
    done = Spread.of(sides(groups)[TITLES[side]]).median * (
        3 * macs["student"] + (side in with_teacher) * macs["teacher"]
    )
    return done, done / highest(groups["peak"], kind)


def _fastest(group: Mapping[str, Any]) -> str:
    """The shapes and forms that the highest rates are of."""
    if not isinstance(group["rates"]["bf16"], Mapping):
        return "a wide convolution's forward"
    forms = [max(found, key=lambda form: Spread.of(found[form]).median) for found in group["rates"].values()]
    count = len(group["rates"]["bf16"])
    return f"the best of {count} shapes and forms of a layer's forward ({'; '.join(dict.fromkeys(forms))})"


def _speeds(groups: Mapping[str, Any]) -> str:
    rows = [[name, spread(values, 0)] for name, values in sides(groups).items()]
    header, text = ["side", "images/s"], ""
    if "peak" in groups:
        header += ["multiply-accumulates, 10⁹/s", "of the highest rate"]
        keys = {title: key for key, title in TITLES.items()}
        for row in rows:
            found = _work(keys[row[0]], groups)
            row += ["", ""] if found is None else [f"{found[0] / 1e9:,.0f}", f"{100 * found[1]:.0f} %"]
        hardware = groups["peak"]["hardware"]
        best = {kind: highest(groups["peak"], kind) / 1e9 for kind in ("float32", "bf16")}
        text = (
            "\nA training step counts as three forwards of the student, and one of a live teacher. The highest rate is "
            f"that of {_fastest(groups['peak'])} on this machine, for each side in the precision it computes in: "
            f"{best['float32']:,.0f} · 10⁹/s in float32{' or TF32' if hardware['device'] != 'cpu' else ''} "
            f"(torchdistill, and sides without bf16 units), {best['bf16']:,.0f} · 10⁹/s in bf16 (all others).\n"
        )
    text = table(header, rows) + text if rows else ""
    if "live" in groups:
        peaks = groups["live"]["peak"]
        rows = [
            [
                TITLES["peer" if side == "peer" else "live"],
                *(f"{peaks[side][kind] / 1e9:.2f} GB" for kind in ("process", "all")),
            ]
            for side in ("peer", "ours")
        ]
        text += "\n" + table(["peak memory", "process", "with helpers"], rows)
    return text


def _teacher(groups: Mapping[str, Any]) -> str:
    if "teacher" not in groups:
        return ""
    seconds = {name: Spread.of(found).median for name, found in groups["teacher"]["seconds"].items()}
    plain, images = next(iter(seconds.values())), groups["teacher"]["images"]
    rows = [[name, f"{images / found:,.0f}", f"{plain / found:.2f}"] for name, found in seconds.items()]
    said = f"resnet32x4 without autograd, batches of {images}; medians.\n\n"
    return "### The teacher's forward pass\n\n" + said + table(["form", "images/s", "over the first"], rows)


def _sweep(groups: Mapping[str, Any]) -> str:
    if "sweep" not in groups:
        return ""
    g = groups["sweep"]
    peer, ours = Spread.of(g["peer"]).median, Spread.of(g["ours"]).median
    jobs = g["jobs"]
    return (
        f"### A sweep of {g['points']} points\n\n"
        f"{g['images']} images, {g['epochs']} epoch(s) each, validated after every epoch, both models tested last: "
        "a scaled-down sweep, in which what happens once per process or job weighs more than in a long one. One "
        f"multirun of ours took {ours:.0f} s; a single torchdistill run {peer:.0f} s ({len(g['peer'])} run, to stand "
        f"for {g['points']}: {g['points'] * peer:.0f} s). Our first job took {jobs[0]:.0f} s (imports and live "
        f"teacher), the others {Spread.of(jobs[1:]).median:.1f} s (median).\n"
    )


def _start(groups: Mapping[str, Any]) -> str:
    rows = []
    if "start" in groups:
        names = {"peer": "torchdistill", "ours": "ours", "alone": "ours, the student alone"}
        rows += [[names[side], spread(values, 1)] for side, values in groups["start"]["seconds"].items()]
    if "sweep" in groups:
        rows.append(["ours, later jobs of a sweep", spread(groups["sweep"]["first_step"]["later"], 1)])
    if not rows:
        return ""
    said = "From the command to the end of the first training step; of later jobs, from the end of the job before.\n\n"
    return "### Start-up\n\n" + said + table(["", "seconds"], rows)


def _sizes(groups: Mapping[str, Any]) -> str:
    if "sizes" not in groups:
        return ""
    titles = {"batch": "samples per batch", "image": "image side in pixels, batch 16", "student": "student",
              "data": "training images"}  # fmt: skip
    text = (
        "### Cost against size\n\nDistillation with a live teacher, not compiled, made-up images; what is not named: "
        "batch 64, 32×32 pixels, resnet8x4. Peak memory is the process's.\n"
    )
    for axis, points in groups["sizes"]["axes"].items():
        rows = [
            [
                f"{p['value']:,}" if isinstance(p["value"], int) else _with_parameters(p["value"]),
                f"{1000 * p['step_s']:.0f}", f"{p['images'] / p['step_s']:.0f}", f"{p['peak'] / 1e9:.2f}",
                f"{p['first_step_s']:.1f}",
            ]
            for p in points
        ]  # fmt: skip
        text += "\n" + table([titles[axis], "ms per step", "images/s", "memory, GB", "to the first step, s"], rows)
    return text


def _with_parameters(name: str) -> str:
    millions = {"resnet8": 0.08, "resnet8x4": 1.2, "resnet18": 11.2, "resnet50": 23.5}  # at 10 classes
    return f"{name} ({millions[name]:g} M parameters)" if name in millions else name


def _why(groups: Mapping[str, Any]) -> str:
    rows = missed(groups)
    if not rows:
        return ""
    text = "### Why targets are missed\n\n"
    profiles = groups.get("profile", {}).get("sides", {})
    for row in rows:
        text += f"- {row.name}: "
        if row.profiled is None:
            text += {
                "sweep": "see the seconds of the first and the later jobs above.\n",
                "live": "see the peaks above; helpers compile, and exist during the first steps only.\n",
                "texts": "[speed.md](speed.md#texts) says what is known.\n",
            }[row.group]
            continue
        if row.bound == ">=" and (done := _work(row.profiled, groups)) is not None:
            text += f"our side does {100 * done[1]:.0f} % of the highest rate (above); "
        if row.profiled in profiles:
            text += f"the profile `{row.profiled}` below.\n"
        else:
            text += "no profile was taken by this command; [speed.md](speed.md) says what is known.\n"
    for side, found in profiles.items():
        pairs = list(zip(found["operators"], found["functions"], strict=False))
        cells = [
            [f"`{op[:60]}`", f"{100 * a:.1f} %", f"`{function[:60]}`", f"{100 * b:.1f} %"]
            for (op, a), (function, b) in pairs[:8]
        ]
        text += (
            f"\n`{side}`: own time of torch's operators (`torch.profiler`) and of Python's functions (`cProfile`)\n\n"
        )
        text += table(["operator", "share", "function", "share"], cells)
    return text
