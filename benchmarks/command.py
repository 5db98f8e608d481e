"""Measures the groups that were asked for, keeps their numbers, writes page and picture."""

import datetime
import importlib.util
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import page, picture, results, settings, task, text_groups
from benchmarks.groups import Lab
from benchmarks.tables import spread
from distill.utils import environment
from distill.utils.errors import UserError

PACKAGES = ("python", "torch", "torchvision", "lightning")


def bench(
    chosen: Sequence[str],
    rounds: int | None,
    quick: bool,
    data: str | None,
    texts: Path | None,
    docs: Path,
    work: Path,
    many: tuple[int, ...] = (),
) -> None:
    """See ``__main__``.

    Raises:
        UserError: the peer is not installed, or a side failed.
    """
    if importlib.util.find_spec("torchdistill") is None and {*chosen} & {*settings.WITH_PEER}:
        raise UserError("torchdistill is not installed: make bench installs it, or pip install 'distill[bench]'")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    file = docs / "benchmarks" / f"{device.type}.json"
    groups: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    whole = settings.for_cuda() if device.type == "cuda" else settings.Settings()
    how = settings.quick(rounds) if quick else whole
    how = replace(how, rounds=rounds) if rounds else how
    how = replace(how, texts=many) if many else how
    lab = Lab(work.absolute(), lambda *counts: _images(data, *counts), how)
    stamp = {
        "hardware": _hardware(device), "versions": _versions(), "commit": _commit(), "rounds": how.rounds,
        "date": datetime.date.today().isoformat(), "task": _named(data), "quick": quick,
    }  # fmt: skip
    measured = [name for name in chosen if name != "page"]
    if measured:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    for name in [name for name in measured if name != "profile"]:
        if name == "float32" and device.type != "cpu":
            continue
        if name == "many_texts":
            groups[name] = _measured(partial(text_groups.many, lab), name) | stamp | {"task": "made-up texts"}
        elif name == "texts":
            run, named = partial(text_groups.texts, lab, texts), "made-up texts" if texts is None else texts.name
            groups[name] = _measured(run, name) | stamp | {"task": named}
        else:
            groups[name] = _measured(getattr(lab, name), name) | stamp
        _keep(file, groups)
    if "profile" in chosen or set(settings.GROUPS) <= set(chosen):
        wanted = dict.fromkeys(row.profiled for row in results.missed(groups) if row.profiled)
        if wanted:
            groups["profile"] = {"sides": {side: lab.profile(side) for side in wanted}} | stamp
        else:
            groups.pop("profile", None)
        _keep(file, groups)
    write(docs)


def _measured(run: Callable[[], dict[str, Any]], name: str) -> dict[str, Any]:
    begun = time.perf_counter()
    print(f"{name} ...", end=" ", flush=True)
    found = run()
    print(f"{time.perf_counter() - begun:.0f} s", flush=True)
    for row, ratios in results.measured({name: found}).items():
        print(f"  {row.name}: {spread(ratios, row.digits)}".replace("**", ""), flush=True)
    return found


def _keep(file: Path, groups: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(groups, indent=1) + "\n")


def write(docs: Path) -> None:
    """Page and pictures from what was measured, on all kinds of devices."""
    machines = {path.stem: json.loads(path.read_text()) for path in sorted((docs / "benchmarks").glob("*.json"))}
    if not machines:
        raise UserError(f"{docs / 'benchmarks'} holds no measurement")
    (docs / "images").mkdir(exist_ok=True)
    for name, groups in machines.items():
        if sides := page.sides(groups):
            (docs / "images" / f"benchmarks-{name}.svg").write_text(picture.picture(sides))
    (docs / "benchmarks.md").write_text(page.page(machines))
    print(f"page: {docs / 'benchmarks.md'}", flush=True)


def _hardware(device: torch.device) -> dict[str, Any]:
    machine = environment.hardware(device)
    amx = torch.cpu._is_amx_tile_supported()
    units = "AMX" if amx else "AVX512-BF16" if torch.cpu._is_avx512_bf16_supported() else "no bf16 units"
    kept = {key: getattr(machine, key) for key in ("device", "cpu", "cores", "threads", "platform")}
    return {**kept, "amx": amx, "units": units}


def _versions() -> dict[str, str]:
    found = environment.versions()
    beside = {name: version(name) for name in ("torchdistill", "transformers") if importlib.util.find_spec(name)}
    return {name: found[name] for name in PACKAGES if name in found} | beside


def _commit() -> str:
    found = environment.git_commit(Path(__file__).parent) or "unknown"
    commit, dash, dirty = found.partition("-")
    return commit[:10] + dash + dirty


def _named(data: str | None) -> str:
    return "made-up images" if data is None else "CIFAR-10"


def _images(data: str | None, *counts: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Pixels and labels of so many training, validation and test images."""
    names = ("train", "val", "test")
    if data is None:
        return {name: task.synthetic(n, seed=i) for i, (name, n) in enumerate(zip(names, counts, strict=True))}
    from distill.data.sources import parquet
    from distill.data.vision.pixels import to_tensor

    found = parquet(f"{data}/train*.parquet", f"{data}/test*.parquet")
    train, val, test = counts
    rows = {"train": (found.train, range(train)), "val": (found.train, range(len(found.train) - val, len(found.train)))}
    rows["test"] = (found.test, range(test))
    if train + val > len(found.train) or test > len(found.test):
        raise UserError(f"data={data}: {train + val} training and {test} test images are needed; fewer rounds=")
    return {
        name: (torch.stack([to_tensor(images.image(i)) for i in at]), images.labels[list(at)])
        for name, (images, at) in rows.items()
    }
