import pytest

from distill.config.help_text import help_text


@pytest.mark.parametrize(
    "choices",
    [
        [],
        ["model=timm", "data=imagefolder", "kd=[dkd,rkd]", "optimizer=adamw", "scheduler=cosine"],
        ["data=parquet", "kd=crd", "callbacks=early_stopping", "scheduler=multistep", "trainer=ddp", "logger=csv"],
        ["data=cifar10", "kd=ft", "experiment=cifar100", "kd.terms.ft.pretraining.epochs=3"],
    ],
)
def test_every_key_has_a_description(choices):
    text = help_text(choices, [])
    assert "argument of" not in text
    entries = [line for line in text.partition("\nseed, threads")[2].splitlines() if line.startswith("  ")]
    alone = [
        entry for entry, following in zip(entries, [*entries[1:], ""], strict=True)
        if not entry.startswith(" " * 34) and not entry[33:].strip() and not following.startswith(" " * 34)
    ]  # fmt: skip
    assert alone == []


def test_a_folder_of_the_users_is_listed(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine.yaml").write_text("_target_: mine.Net\nwidth: 8  # channels of the first layer\n")
    text = help_text(["model=mine"], [tmp_path])
    assert " mine, mobilenetv2, " in " ".join(text.split())
    assert "channels of the first layer" in text


@pytest.mark.parametrize("columns", [80, 100])
def test_lines_are_as_wide_as_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    widths = [len(line) for line in help_text([], []).splitlines()[5:]]
    assert columns - 8 < max(widths) <= columns
