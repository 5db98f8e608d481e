"""A run's distillation strategy in a few words."""

from typing import Any


def strategy(config: dict[str, Any]) -> str:
    """The terms of a run's loss, and its flow.

    Example:
        >>> strategy({"kd": {"terms": {"kd": {}, "sp": {}}, "generations": 3}})
        'CE + kd + sp, 3 generations'
    """
    kd = config["kd"]
    flows = [f"{kd['generations']} generations"] if kd.get("generations", 1) > 1 else []
    for key, beside in (("assistants", 0), ("teachers", 1), ("peers", 1)):
        if kd.get(key):
            flows.append(f"{len(kd[key]) + beside} {'students' if key == 'peers' else key}")
    return ", ".join([" + ".join(["CE", *kd["terms"]]) if kd["terms"] else "CE alone", *flows])
