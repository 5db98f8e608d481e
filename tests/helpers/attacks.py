"""What a run's configuration must not be able to do: nodes that leave a file behind when they are instantiated."""

ATTACKS = ("torch_hub", "module", "exec", "run", "system", "partial", "get_method", "escape", "own_escape", "compiled")


def attack(name, tmp_path):
    """A node that creates ``tmp_path/marker``, as a stranger would write it."""
    marker = tmp_path / "marker"
    code = f"open({str(marker)!r}, 'w').close()"
    (tmp_path / "hub").mkdir(exist_ok=True)
    (tmp_path / "hub" / "hubconf.py").write_text(f"{code}\ndef net(*args, **kwargs): return None\n")
    (tmp_path / "strangers_module.py").write_text(f"{code}\nclass Net: ...\n")
    hub = {"repo_or_dir": str(tmp_path / "hub"), "model": "net", "source": "local"}
    return {
        "torch_hub": {"_target_": "torch.hub.load", **hub},
        "module": {"_target_": "strangers_module.Net"},  # importing it is enough
        "exec": {"_target_": "builtins.exec", "_args_": [code]},
        "run": {"_target_": "subprocess.run", "args": ["touch", str(marker)]},
        "system": {"_target_": "os.system", "command": f"touch {marker}"},
        "partial": {"_target_": "functools.partial", "_args_": [{"_target_": "torch.hub.load", **hub}]},
        "get_method": {"_target_": "hydra.utils.call", "config": {"_target_": "torch.hub.load", **hub}},
        "escape": {"_target_": "torchvision.datasets.utils.os.system", "command": f"touch {marker}"},
        "own_escape": {"_target_": "distill.models.hub.vision.torch.hub.load", **hub},
        "compiled": {"_target_": "torch.nn.modules.module.torch.hub.load", **hub},
    }[name]


def put(config, key, node):
    """Sets a dotted key of a plain configuration; what is no node yet becomes one, lists grow."""
    *path, last = key.split(".")
    for part in path:
        if isinstance(config, list):
            config = config[int(part)]
            continue
        if not isinstance(config.get(part), dict | list):
            config[part] = {}
        config = config[part]
    if last == "0":
        raise ValueError("set the list instead")
    config[last] = node
