import numpy as np
import pytest

from distill.cli.table import Options, show
from distill.utils.errors import UserError
from summaries import epoch, student, write_summary


def write(folder, seed, acc, terms, T=4.0, agreement=0.5):
    kd = {"alpha": 0.1 if terms else 1.0, "T": T, "terms": {name: {"weight": 1.0} for name in terms}}
    last = epoch(test=acc, **({"agreement": agreement} if terms else {}))
    write_summary(folder, student=student(last=last), seed=seed, config={"seed": seed, "kd": kd})


def test_mean_and_std_over_seeds(tmp_path, capsys):
    values = [0.70, 0.72, 0.77]
    for seed, acc in enumerate(values):
        write(tmp_path / "sweep" / f"{seed}", seed, acc, [])
        write(tmp_path / "sweep" / f"kd{seed}", seed, acc + 0.05, ["kd"])
    write(tmp_path / "one", 0, 0.9, ["kd"], T=2.0)
    show(Options([str(tmp_path / "sweep"), str(tmp_path / "one")]))
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 5
    spread = f"{np.mean(values) * 100:.2f} ± {np.std(values, ddof=1) * 100:.2f}"
    assert "CE alone" in lines[2]
    assert spread in lines[2]
    assert "0 1 2" in lines[2]
    assert f"{np.mean(values) * 100 + 5:.2f} ± " in lines[3]
    assert "| 2.0 |" in lines[4]
    assert "90.00" in lines[4]


def test_rows_are_named_by_the_strategy_that_the_command_chose(tmp_path, capsys):
    for i, name in enumerate(["crd", "crd_inbatch"]):
        write(tmp_path / name, 0, 0.5 + i / 10, ["crd"])
        (tmp_path / name / "command.yaml").write_text(f"overrides: ['data.subset=9', 'kd={name}']\n")
    show(Options([str(tmp_path)]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| crd: CE + crd |")
    assert lines[3].startswith("| crd_inbatch: CE + crd |")


def test_nothing_to_show_is_one_line(tmp_path):
    with pytest.raises(UserError, match=f"no summary.json of a finished run below {tmp_path}"):
        show(Options([str(tmp_path)]))


@pytest.mark.parametrize("n", [1000])
def test_many_runs_are_read_quickly(tmp_path, n):
    import time

    for i in range(n):
        write(tmp_path / str(i), i % 5, 0.5, ["kd"], T=float(i // 5))
    start = time.process_time()
    show(Options([str(tmp_path)]))
    assert time.process_time() - start < 5
