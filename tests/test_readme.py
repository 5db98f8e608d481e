"""Every command of the README and of the first pages runs, made short; data that cannot be downloaded stand in."""

import json
import re
import shlex

import numpy as np
import pytest
import torch
from hydra.utils import get_object
from PIL import Image

from distill.config import command_line
from distill.config.compose import compose
from distill.sweeps import hydra_callback
from jobs import ROOT, command, run_job
from text_jobs import write_texts

README = (ROOT / "README.md").read_text()
FIRST = ("start_images", "start_text", "choose", "train", "teachers", "data", "extend", "methods")
PAGES = [*(ROOT / "docs" / f"{name}.md" for name in FIRST), *sorted((ROOT / "docs" / "methods").glob("*.md"))]
DOCS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = sorted(
    {
        match.group(0).strip()
        for text in (README, *(page.read_text() for page in PAGES))
        for match in re.finditer(
            r"(?:^|(?<=`))(?:[A-Z]+=\S+ )?(?:python|make|source|tensorboard) [^`\n#]+", text, re.MULTILINE
        )
    }
)
SHORT = ["data.subset=100", "trainer.max_epochs=1", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1",
         "trainer.limit_train_batches=2", "logger=none"]  # fmt: skip
TRAIN = [c for c in COMMANDS if "train.py" in c]


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(path):
    text = path.read_text()
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (path.parent / link).exists(), link
    for named in re.findall(r"`((?:tests|src|docs|benchmarks)/[\w./-]+)`", text):
        assert (ROOT / named).exists(), named


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_the_package_exist(path):
    text = path.read_text() if path.name != "CHANGELOG.md" else ""  # which has those of before, too
    for name in set(re.findall(r"\bdistill(?:\.[A-Za-z_]\w*)+", text)):
        assert get_object(name) is not None, name


def test_the_lock_pins_every_version_and_names_no_address():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and line[0] != "#"]
    assert all("==" in line and "://" not in line for line in lines)
    assert {"torch", "lightning", "hydra-core", "pytest"} <= {line.partition("==")[0] for line in lines}


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in {word for c in COMMANDS if c.startswith("make") for word in c.split()[1:]}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("line", [c for c in TRAIN if "resume=" not in c])
def test_a_command_composes(line, tmp_path):
    """Also with the YAML files that a page shows, and every job of a grid."""
    write_shown_files(tmp_path)
    words = shlex.split(line)
    flags, overrides = command_line.split(words[words.index("train.py") + 1 :])
    own = command_line.config_dir(flags)
    jobs = hydra_callback.grid(overrides, {}) if "-m" in flags else [overrides]
    searched = [o for o in overrides if "interval(" not in o]  # a range takes values when its sweeper has chosen them
    for job in jobs or [searched]:
        assert compose(job, [tmp_path / own] if own else [], return_hydra_config=True).model._target_


def write_shown_files(folder):
    """The user's own code and YAML files that docs/extend.md shows."""
    page = (ROOT / "docs" / "extend.md").read_text()
    for match in re.finditer(r"```(?:python|yaml)\n# (\S+\.(?:py|yaml)).*?\n(.*?)```", page, re.DOTALL):
        path = folder / match.group(1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(match.group(2))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """What the commands speak of: photos, a table, parquet files, a teacher, one's own code."""
    import datasets
    import timm
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("user")
    generator = np.random.default_rng(0)
    for i in range(40):
        path = folder / "photos" / ("cats" if i % 2 else "dogs") / f"{i}.{'png' if i % 3 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (40 + i, 50, 3), dtype=np.uint8)).save(path)
    files = sorted(str(path.relative_to(folder)) for path in (folder / "photos").rglob("*.*"))
    lines = ["file,age", *(f"{file},{20 + i}" for i, file in enumerate(files))]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    photo = {"bytes": (folder / "photos" / "cats" / "1.png").read_bytes(), "path": None}
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=list("abcd"))})
    (folder / "my_parquet").mkdir()
    for split, n in (("train", 200), ("test", 40)):
        rows = {"img": [photo] * n, "label": [i % 4 for i in range(n)]}
        datasets.Dataset.from_dict(rows, features).to_parquet(folder / "my_parquet" / f"{split}.parquet")
    from distill.models import resnet20

    torch.save({"model": resnet20(10, in_channels=1).state_dict()}, folder / "teacher.pt")
    save_file(timm.create_model("resnet10t", num_classes=7).state_dict(), folder / "resnet10t.safetensors")
    write_shown_files(folder)
    return write_texts(folder)


def shortened(line, folder):
    """The overrides of a command of the README, made short."""
    words = [w for w in shlex.split(line)[2:] if w != "--cfg" and w != "job"]
    swaps = {
        "data=cifar10": ["data=parquet", f"data.root={folder}/my_parquet", "data.image_size=32"],
        "data=huggingface": ["data=huggingface", "data.image_size=32"],
        "data=parquet": ["data=parquet", "data.image_size=32"],
        "data.root=photos": [f"data.root={folder}/photos"],
        "data.root=labels.csv": [f"data.root={folder}/labels.csv"],
        "data.root=my_parquet": [f"data.root={folder}/my_parquet"],
        "data.source.name=uoft-cs/cifar10": [f"data.source.name={folder}/my_parquet"],
        "teacher.backbone=resnet10t.safetensors": [f"teacher.backbone={folder}/resnet10t.safetensors"],
        "teacher.checkpoint=teacher.pt": [f"teacher.checkpoint={folder}/teacher.pt"],
        "data.root=reviews.jsonl": [f"data.root={folder}/reviews.jsonl"],
        "teacher.name=./minilm": [f"teacher.name={folder}/bert"],
        "model.name=./minilm": [f"model.name={folder}/bert"],
    }
    overrides = [new for word in words for new in swaps.get(word, [word])]
    epochs = [] if "teacher.checkpoint" in line else ["teacher.recipe.max_epochs=1"]
    short = [s for s in SHORT if not (s.startswith("data.subset") and re.search("photos|parquet|reviews|labels", line))]
    return overrides, [*short, *epochs]


# Not those that fetch weights, nor those with a test of their own.
IN_PROCESS = [
    c for c in TRAIN if not re.search(r"-m |resume=|--config-dir|--help|--cfg|trainer=ddp|pretrained=true", c)
]  # that fetches


@pytest.mark.slow
@pytest.mark.parametrize("line", IN_PROCESS)
def test_a_command_of_the_readme(line, place, tmp_path):
    overrides, short = shortened(line, place)
    report = run_job(tmp_path / "run", *overrides, *short)
    role = "teacher" if "only=teacher" in line else "student"
    assert 0 <= report[role]["test" if role == "teacher" else "last"].get("acc", 0) <= 1
    assert (tmp_path / "run" / "summary.json").is_file()


@pytest.mark.slow
def test_ones_own_code_from_outside_the_repository(place, tmp_path):
    line = next(c for c in TRAIN if "--config-dir" in c)
    words = shlex.split(line)
    assert words[:2] == ["python", "train.py"]
    done = command(*words[2:], "threads=1", "trainer.max_epochs=2", "teacher.recipe.max_epochs=1", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "\nepoch 2/2  " in done.stdout.partition("training student TinyNet")[2]
    run = next((place / "outputs").glob("2*/*/summary.json"))
    assert '"cosine"' in run.read_text()


@pytest.mark.slow
def test_multirun_and_help_and_cfg(place):
    line = next(c for c in TRAIN if " -m kd.T=2,4 " in c)
    done = command(*shlex.split(line)[2:], *SHORT, "teacher.recipe.max_epochs=1", "threads=1", cwd=place)
    assert done.returncode == 0, done.stderr
    summaries = (place / "outputs" / "sweeps").glob("*/*/*/summary.json")
    origins = [json.loads(path.read_text())["teacher"]["origin"] for path in summaries]
    assert sorted(origins) == ["found", "found", "found", "trained"]
    for line in [c for c in TRAIN if "--help" in c or "--cfg" in c]:
        assert command(*shlex.split(line)[2:]).returncode == 0


@pytest.mark.slow
def test_several_devices(place):
    """Two processes on a CPU stand in for the four GPUs."""
    (line,) = [c for c in TRAIN if "trainer=ddp" in c]
    words = [w.replace("trainer.devices=4", "trainer.devices=2") for w in shlex.split(line)[2:]]
    done = command(*words, *SHORT, "teacher.recipe.max_epochs=1", "trainer.accelerator=cpu", "threads=1", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "results: " in done.stdout


def test_what_the_resume_line_says_is_the_tested_form():
    """tests/test_resume.py runs it on a run that was stopped."""
    assert [c for c in TRAIN if " resume=" in c] == ["python train.py resume=outputs/2026-01-31/12-00-00"]
