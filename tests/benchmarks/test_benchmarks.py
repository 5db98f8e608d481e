"""The benchmark's statistics, its page, its processes in turns; the real thing is `make bench`."""

import json
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET

import pytest
import torch

from benchmarks import memory, page, peak, picture, results, task, teacher, text_task
from benchmarks.__main__ import Options, main
from benchmarks.command import write
from benchmarks.turns import Side
from distill.utils.errors import UserError
from jobs import ROOT

CPU = {"device": "cpu", "cpu": "AMD EPYC", "cores": 2, "threads": 2, "amx": False, "units": "AVX512-BF16"}
STAMP = {
    "hardware": CPU, "versions": {"torch": "2.15.0", "torchdistill": "1.1.5"}, "commit": "0123456789", "rounds": 3,
    "date": "2026-01-31", "task": "CIFAR-10", "quick": False,
}  # fmt: skip
GB = 10**9


def live(**changes):
    return {
        "turns": {"peer": [[2.0, 4.0], [4.0, 8.0], [2.0, 4.0]], "ours": [[1.0, 2.0], [1.0, 2.0], [2.0, 4.0]]},
        "images": {"peer": 128, "ours": 256},
        "peak": {"peer": {"process": GB, "all": 2 * GB}, "ours": {"process": 1.05 * GB, "all": 2.4 * GB}},
        **STAMP,
        **changes,
    }


def cached():
    turns = {"peer": [[4.0, 8.0]] * 3, "cached": [[1.03, 2.0], [1.08, 2.0], [1.06, 2.0]], "alone": [[1.0, 2.0]] * 3,
             "bare": [[0.98, 2.0]] * 3}  # fmt: skip
    return {"turns": turns, "images": dict.fromkeys(turns, 64), "peak": {}, **STAMP}


def row(start):
    return next(found for found in results.ROWS if found.name.startswith(start))


def test_ratios_are_taken_round_by_round():
    # 64, 32 and 64 images/s of the peer; 256, 256 and 128 of ours
    assert row("live").ratios(live()) == [4.0, 8.0, 2.0]
    assert results.Spread.of([4.0, 8.0, 2.0]) == (4.0, 2.0, 8.0)
    assert row("a step").ratios(cached()) == pytest.approx([1.03, 1.08, 1.06])
    assert row("our trainer").ratios(cached()) == pytest.approx([1 / 0.98] * 3)
    assert row("peak").ratios(live()) == [1.05]
    sweep = {"points": 12, "peer": [10.0, 20.0], "ours": [12.0]}
    assert row("a T").ratios(sweep) == pytest.approx([0.1, 0.05])


@pytest.mark.parametrize(
    ("hardware", "target"),
    [(CPU, None), (CPU | {"amx": True}, 6.5), (CPU | {"device": "NVIDIA H100", "amx": True}, 4.0)],
)
def test_a_target_is_that_of_the_machine(hardware, target):
    assert row("live").target(hardware) == target
    assert row("live").meets(5.0, hardware) is (None if target is None else target <= 5.0)
    assert row("our trainer").meets(1.04, hardware) is False


def test_the_page_says_what_was_measured_and_what_was_not(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    profile = {"sides": {"cached": {"operators": [["aten::conv", 0.5]], "functions": [["loop.py:run", 0.25]]}}, **STAMP}
    groups = {"live": live(), "cached": cached(), "profile": profile}
    (tmp_path / "benchmarks" / "cpu.json").write_text(json.dumps(groups))
    write(tmp_path)
    text = (tmp_path / "benchmarks.md").read_text()
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert lines[row("live").name].endswith(
        "| ≥ 6.5 with AMX, ≥ 4 with CUDA | **4.00** (2.00 … 8.00; the machine was busy) | 4.00 | no target here |"
    )
    assert lines[row("a step").name].endswith("| ≤ 1.05 | **1.060** (1.030 … 1.080) | 1.030 | **no** |")
    assert lines[row("our trainer").name].endswith("| ≤ 1.03 | **1.020** (1.020 … 1.020) | 1.020 | yes |")
    assert lines[row("peak").name].endswith("| ≤ 1.1 | **1.05** |  | yes |")
    assert lines[row("a T").name].endswith("|  | not measured |  |  |")
    assert "`aten::conv` | 50.0 % | `loop.py:run` | 25.0 %" in text
    assert "AMD EPYC, 2 cores (AVX512-BF16)" in text
    assert "torchdistill 1.1.5; CIFAR-10; 3 rounds; 2026-01-31" in text
    svg = ET.fromstring((tmp_path / "images" / "benchmarks-cpu.svg").read_text())
    assert [t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")][:4] == [
        "torchdistill, live teacher", "64", "ours, live teacher", "256",
    ]  # fmt: skip


def test_rates_are_set_against_the_highest_of_the_machine():
    macs = {"teacher": 10**9, "student": 10**8}
    peak = {"rates": {"float32": [1e11, 2e11, 3e11], "bf16": [4e11]}, "macs": macs, **STAMP}
    groups = {"live": live(), "cached": cached(), "float32": live(turns={"peer": [[1.0, 2.0]], "ours": [[2.56, 2.0]]})}
    text = page.page({"cpu": groups | {"peak": peak}})
    # a live teacher: 1.3 · 10⁹ per image; 64 images/s in float32, of 200; 256 in bf16, of 400
    assert "| torchdistill, live teacher | **64** (32 … 64) | 83 | 42 % |" in text
    assert "| ours, live teacher | **256** (128 … 256) | 333 | 83 % |" in text
    # a cached one: 0.3 · 10⁹
    assert "| bare loop, the student alone | **65** (65 … 65) | 20 | 5 % |" in text
    # without bf16 units ours computes in float32 as well: 100 images/s
    assert "| ours, without bf16 units | **100** | 130 | 65 % |" in text
    assert "without bf16 units: live teacher, images/s over torchdistill: our side does 65 % of the highest" in text
    elsewhere = page.page({"cpu": groups | {"peak": peak | {"hardware": CPU | {"cpu": "Intel"}}}})
    assert "| ours, live teacher | **256** (128 … 256) |  |  |" in elsewhere
    none = {"hardware": CPU | {"units": "no bf16 units"}}
    text = page.page({"cpu": {"live": live(), "peak": peak | none}})
    assert "| ours, live teacher | **256** (128 … 256) | 333 | 166 % |" in text


def test_the_teachers_forms_are_compared_with_the_first():
    seconds = {"float32, eager": [4.0, 2.0, 1.0], "compiled": [0.5]}
    text = page.page({"cpu": {"teacher": {"seconds": seconds, "images": 64, **STAMP}}})
    assert "| float32, eager | 32 | 1.00 |" in text
    assert "| compiled | 128 | 4.00 |" in text


def test_texts_have_targets_where_there_are_bf16_units():
    turns = {"peer": [[8.0, 8.0], [4.0, 4.0]], "peer-batch": [[4.0, 4.0]] * 2, "live": [[2.0, 2.0]] * 2,
             "cached": [[1.0, 1.0]] * 2, "alone": [[0.8, 0.8]] * 2}  # fmt: skip
    peaks = {side: {"process": GB, "all": GB} for side in turns}
    images = dict.fromkeys(turns, 64) | {"peer": 32}
    lengths = {"mean": 21.25, "longest": 128}
    group = {"turns": turns, "images": images, "peak": peaks, "lengths": lengths, **STAMP, "task": "glosses.jsonl"}
    assert row("texts: live teacher, texts/s").ratios(group) == [8.0, 4.0]
    assert row("texts: cached teacher, over").ratios(group) == [4.0, 4.0]
    assert row("texts: cached teacher, texts/s").meets(7.0, CPU) is True
    assert row("texts: cached teacher, texts/s").meets(7.0, CPU | {"units": "no bf16 units"}) is None
    assert row("texts: a step").ratios(group) == [1.25, 1.25]
    text = page.page({"cpu": {"texts": group}})
    assert "glosses.jsonl, 21.2 tokens on average, 128 at most" in text
    assert "| ours, cached teacher | **64** (64 … 64) | 1.00 GB |" in text
    assert "texts: a step with a cached teacher over a plain step of the student: [speed.md](speed.md#texts)" in text


def test_made_up_texts_are_as_long_as_sentences():
    rows = text_task.made_up(400)
    words = sorted(len(row["text"].split()) for row in rows)
    assert words[200] == pytest.approx(17, abs=3)
    assert words[-1] <= 90
    assert {row["label"] for row in rows} == {f"class {i}" for i in range(4)}
    assert rows == text_task.made_up(400)


def test_groups_that_were_measured_apart_say_so():
    text = page.page({"cpu": {"live": live(), "cached": cached() | {"quick": True, "date": "2026-02-01"}}})
    assert "- live: AMD EPYC" in text
    assert "- cached: AMD EPYC" in text
    assert "too short to mean much; 2026-02-01" in text


def test_the_longest_bar_fits():
    svg = ET.fromstring(picture.picture({"torchdistill": [10.0], "ours": [100.0, 300.0, 200.0]}))
    xs = [float(e.get("x", 0)) for e in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert max(xs) < picture.WIDTH - 40


PLAYER = """
import sys, time
from benchmarks.player import Player
player = Player({fd}, 2)
for _ in range({steps}):
    time.sleep(0.02)
    player.step()
sys.exit("nothing left to train")
"""


def player(steps):
    return lambda fd: ["-c", textwrap.dedent(PLAYER.format(fd=fd, steps=steps))]


def test_a_side_works_in_its_turns_and_says_why_it_ended(tmp_path):
    with Side(player(12), tmp_path / "one.log") as one:
        seconds, used = one.turn(5)
        assert 0.1 < seconds < 5
        assert used < seconds
        assert one.peak > 10**7
        assert one.most > 10**7
        with pytest.raises(UserError, match="one has ended: nothing left to train"):
            one.turn(10)
    with (
        Side(player(4), tmp_path / "two.log") as two,
        pytest.raises(UserError, match="two failed: nothing left to train"),
    ):
        two.finish()
    assert two.process.returncode == 1


def test_a_side_that_cannot_start_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"three has ended: .*no such thing"):
        Side(lambda fd: ["-c", "raise SystemExit('no such thing')"], tmp_path / "three.log")


def test_memory_counts_what_is_below():
    code = "import time; kept = bytearray(b'x' * 50_000_000); print(flush=True); time.sleep(60)"
    inner = [sys.executable, "-c", code]
    outer = f"import subprocess, time; p = subprocess.Popen({inner!r}, stdout=1); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE) as process:
        process.stdout.read(1)
        below = memory.children(process.pid)
        try:
            assert len(below) == 1
            assert memory.peak(below[0]) > 50_000_000
            assert memory.tree(process.pid) > 50_000_000 > memory.peak(process.pid)
        finally:
            for pid in below:
                subprocess.run(["kill", str(pid)], check=True)
            process.kill()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(only="live,cache"), "only=cache is unknown.*cached"),
        (Options(rounds=0), "rounds must be at least 1, got 0"),
        (Options(data="nowhere"), "data=nowhere: no train"),
    ],
)
def test_mistakes_are_one_line(options, said):
    with pytest.raises(UserError, match=said):
        main(options)


@pytest.mark.slow
def test_the_machine_and_the_teachers_forms_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(peak, "SECONDS", 0.01)
    monkeypatch.setattr(peak, "SHAPES", ((32, 16, 3), (64, 8, 1)))
    peak.main(json.dumps({"rounds": 2, "report": str(tmp_path / "peak.json")}))
    found = json.loads((tmp_path / "peak.json").read_text())
    for forms in found["rates"].values():
        assert [*forms] == [
            f"{shape}{form}"
            for shape in ("3×3, 32 channels, 16×16", "1×1, 64 channels, 8×8")
            for form in ("", ", compiled")
        ]
        assert all(len(rates) == 2 and min(rates) > 1e7 for rates in forms.values())
    assert found["macs"] == {"teacher": 1_083_017_728, "student": 177_048_064}
    monkeypatch.setattr(teacher, "SECONDS", 0.01)
    monkeypatch.setattr(task, "TEACHER", "resnet8")
    monkeypatch.setattr(task, "BATCH", 4)
    teacher.main(json.dumps({"rounds": 2, "report": str(tmp_path / "teacher.json")}))
    seconds = json.loads((tmp_path / "teacher.json").read_text())["seconds"]
    assert [name.partition(", ")[2] for name in seconds] == [
        "eager", "channels_last", "channels_last, compiled", "channels_last, compiled, BatchNorm folded",
    ]  # fmt: skip
    assert all(len(found) == 2 for found in seconds.values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a CPU")
@pytest.mark.slow
def test_the_teachers_forms_give_the_same_logits(monkeypatch):
    monkeypatch.setattr(task, "TEACHER", "resnet8")
    monkeypatch.setattr(task, "BATCH", 4)
    logits = []
    for forward in teacher.forms(torch.device("cpu")).values():
        logits.append(forward().logits.float())
    for other in logits[1:]:
        assert (other - logits[0]).norm() < 0.2 * (logits[0] - logits[0].mean(0)).norm()


@pytest.mark.slow
def test_a_quick_benchmark_of_ours(tmp_path):
    arguments = ["quick=true", "only=sizes,many_texts", f"docs={tmp_path}", f"work={tmp_path / 'work'}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    groups = json.loads((tmp_path / "benchmarks" / "cpu.json").read_text())
    axes, (many,) = groups["sizes"]["axes"], groups["many_texts"]["points"]
    assert many["texts"] == 2_000
    assert many["peak"] > 2 * 10**8 > many["file"] > 2_000 * 40
    eight, sixteen = axes["batch"]
    assert (eight["images"], sixteen["images"]) == (8, 16)
    assert 0 < eight["step_s"] < eight["first_step_s"]
    assert eight["peak"] > 2 * 10**8
    text = (tmp_path / "benchmarks.md").read_text()
    assert "| samples per batch | ms per step |" in text
    assert "| 2,000 | 0 | " in text
    assert text.count("not measured") == len(results.ROWS)
