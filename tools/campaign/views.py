"""The same samples: 1, 2 and 4 processes and any number of workers see the same views in every epoch."""

import hashlib
import json
import multiprocessing
import random
import warnings
from collections.abc import Sequence
from pathlib import Path

from campaign.findings import Findings
from parity_inputs import png

EPOCHS = 3
AUGMENT = ("data.augment.mixup=0.2", "data.augment.cutmix=1.0")
IMAGES = ("data=imagefolder", "data.image_size=16", "data.in_memory=false")
Seen = dict[str, str]  # "split epoch index" -> digest of the view and its target


def folder_of_images(root: Path, each: int = 32) -> None:
    """Noise in three classes, in several sizes."""
    noise = random.Random(0)
    for name in "abc":
        for number in range(each):
            size = 16 + number % 5
            png(root / name / f"{number:02}.png", size, lambda *_: [noise.randrange(256) for _ in range(3)])


def seen_by_one(overrides: Sequence[str]) -> Seen:
    """What this process's part of every batch holds."""
    from distill.config.compose import compose
    from distill.config.schema import typed
    from distill.training.load_data import load_data

    warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores, on purpose
    settings = typed(compose(list(overrides), ()))
    data = load_data(settings.data, settings.seed)
    seen: Seen = {}
    for split, loader in (("train", data.train_dataloader()), ("val", data.val_dataloader())):
        for epoch in range(EPOCHS if split == "train" else 1):
            loader.sampler.set_epoch(epoch)
            for batch in loader:
                for image, target, index in zip(batch.inputs, batch.target, batch.index, strict=True):
                    content = hashlib.sha256(image.numpy().tobytes() + target.numpy().tobytes())
                    seen[f"{split} {epoch} {int(index)}"] = content.hexdigest()
    return seen


def _process(rank: int, world: int, folder: Path, overrides: Sequence[str]) -> None:
    """One of ``world`` connected processes: writes what it has seen."""
    if world > 1:
        from torch import distributed

        distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    (folder / f"{rank}.json").write_text(json.dumps(seen_by_one(overrides)))


def seen(world: int, folder: Path, overrides: Sequence[str]) -> list[Seen]:
    """What each of so many processes has seen."""
    folder.mkdir(parents=True)
    # not os.fork: multiprocessing also clears what the parent's loaders share with their workers
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_process, args=(rank, world, folder, overrides)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"a process of {folder.name} failed")
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


def digests(views: Seen) -> dict[str, str]:
    """A digest per split and epoch."""
    parts: dict[str, list[str]] = {}
    for key, value in sorted(views.items()):
        parts.setdefault(key.rpartition(" ")[0], []).append(f"{key} {value}")
    return {part: hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] for part, lines in parts.items()}


def campaign(
    folder: Path,
    findings: Findings,
    worlds: Sequence[int] = (1, 2, 4),
    workers: Sequence[int] = (0, 1, 3),
    data: Sequence[str] = ("digits", "images", "mixed images"),
) -> None:
    """Digits in memory and a folder of images, by every number of processes and of workers."""
    folder_of_images(folder / "images")
    images = (*IMAGES, f"data.root={folder / 'images'}", "data.batch_size=16")
    digits = ("data.subset=200", "data.batch_size=32")
    overrides_of = {"digits": digits, "images": images, "mixed images": (*images, *AUGMENT)}
    for name in data:
        expected: dict[str, str] = {}
        for world in worlds:
            for count in workers if name != "digits" else (0,):
                what = f"{name}, {world} processes, {count} workers"
                part_of = folder / what.replace(" ", "-")
                by_process = seen(world, part_of, (*overrides_of[name], f"data.num_workers={count}"))
                together = {key: value for part in by_process for key, value in part.items()}
                actual = digests(together)
                problems = [f"{part}: other views" for part in actual if expected and actual[part] != expected[part]]
                if sum(map(len, by_process)) != len(together):
                    problems.append("a view was seen by two processes")
                expected = expected or actual
                findings.add("views", f"{what}: {' '.join(actual.values())}", problems)
