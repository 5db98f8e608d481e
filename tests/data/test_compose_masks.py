"""Sets of masks composed of real data."""

import pytest

from tools.compose_masks import main


@pytest.mark.parametrize(("option", "value"), [("size", 107), ("size", 7), ("classes", 0), ("images", 5), ("seed", -1)])
def test_a_set_that_cannot_be_composed_is_refused(tmp_path, monkeypatch, capsys, option, value):
    monkeypatch.setattr("sys.argv", ["compose_masks", str(tmp_path / "set"), f"--{option}", str(value)])
    with pytest.raises(SystemExit):
        main()
    assert f"--{option} must be in " in capsys.readouterr().err
    assert not (tmp_path / "set").exists()
