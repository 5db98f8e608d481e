"""The quota of control groups, in folders as Linux lays them out."""

import pytest

from distill.utils import cgroup, processes


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Sets the groups of this process: the lines of its membership, and files by path."""

    def have(membership, **files):
        (tmp_path / "membership").write_text(membership)
        for path, text in files.items():
            file = tmp_path / "cgroup" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        monkeypatch.setattr(cgroup, "MOUNT", tmp_path / "cgroup")
        monkeypatch.setattr(cgroup, "MEMBERSHIP", tmp_path / "membership")

    return have


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),  # a container sees its group as the root
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),  # the root of a machine has no such file
        ("0::/job/step\n", {"job/step/cpu.max": "max 100000\n", "job/cpu.max": "300000 100000\n"}, 3),
        ("0::/job/step\n", {"job/step/cpu.max": "50000 100000\n", "job/cpu.max": "300000 100000\n"}, 0.5),
        ("0::/of/the/host\n", {"cpu.max": "200000 100000\n"}, 2),
        (
            "4:cpu,cpuacct:/docker/1\n1:name=systemd:/\n",
            {"cpu,cpuacct/docker/1/cpu.cfs_quota_us": "250000", "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000"},
            2.5,
        ),
        ("1:cpu:/host/1\n", {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ("1:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("3:cpuset:/\n0::/a\n", {"unified/a/cpu.max": "700000 100000"}, 7),
        ("0::/\n", {"cpu.max": "100000"}, None),
        ("0::/\n", {"cpu.max": "100000 0"}, None),
    ],
)
def test_the_least_quota_of_a_group_and_those_above_it(machine, membership, files, quota):
    machine(membership, **files)
    assert cgroup.cpu_quota() == quota


@pytest.mark.parametrize(("quota", "cores"), [("50000", 1), ("100000", 1), ("290000", 2), ("900000", 4), ("max", 4)])
def test_no_more_cores_than_the_quota(machine, monkeypatch, quota, cores):
    monkeypatch.setattr(processes, "allowed_cores", lambda: 4)
    machine("0::/\n", **{"cpu.max": f"{quota} 100000"})
    assert processes.usable_cores() == cores


def test_a_system_without_control_groups(tmp_path):
    assert cgroup.cpu_quota(tmp_path, tmp_path / "no such file") is None
