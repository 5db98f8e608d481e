"""The commands whose results ``parity.py`` records.

In arguments, {out} is the command's folder, {all} that of all, {last} the key that keeps the last epoch, as versions
before that key did.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """One process: a script of the checkout, its arguments, and the exit status it must end with."""

    script: str
    arguments: tuple[str, ...]
    status: int = 0


@dataclass(frozen=True)
class Command:
    """One or more calls, one after the other; ``needs`` names commands whose folders they read.

    ``printed`` says that the numbers of the tables that the last call prints are results, too.
    """

    name: str
    calls: tuple[Call, ...]
    needs: tuple[str, ...] = ()
    printed: bool = False


BASE = (
    "{last}", "threads=1", "trainer.max_epochs=2", "logger=csv", "teacher.recipe.max_epochs=6",
    "optimizer@teacher.recipe.optimizer=adamw", "teacher.recipe.optimizer.lr=0.005", "trainer.accelerator=cpu",
)  # fmt: skip
DIGITS = ("data.subset=400",)
OWN = ("teachers_dir={out}/teachers", "cache.dir={out}/cache")  # nothing is shared unless a command means to
CONF = "{all}/inputs/conf"

# Runs of one multirun: option of the group experiment -> what it overrides
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "schedules": {
        "kd": {"alpha": {"schedule": "cosine", "start": 0.9, "end": 0.1, "epochs": 2},
               "T": {"schedule": "linear", "start": 8, "end": 2}},
    },
    "mixing": {"data": {"augment": {"mixup": 0.2, "cutmix": 1.0, "cutout": 2}}},
    "smoothing": {"kd": {"label_smoothing": 0.1}, "teacher": {"recipe": {"label_smoothing": 0.1}}},
    "accumulate": {"trainer": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5}},
    "bf16": {"defaults": [{"override /kd": "rkd"}], "trainer": {"precision": "bf16-mixed"}},
    "standardize": {"kd": {"standardize": True, "T": 2}},
    "two_methods": {"defaults": [{"override /kd": ["dkd", "sp"]}], "kd": {"terms": {"sp": {"weight": 1000}}}},
    "adamw_multistep": {"defaults": [{"override /optimizer": "adamw"}, {"override /scheduler": "multistep"}]},
    "adam_cosine": {"defaults": [{"override /optimizer": "adam"}, {"override /scheduler": "cosine"}]},
    "early_stopping": {
        "defaults": [{"override /callbacks": "early_stopping"}, {"override /scheduler": "none"}],
        "callbacks": {"early_stopping": {"patience": 0, "min_delta": 1}},
    },
    "top_k": {"cache": {"enabled": True, "top_k": 3, "cycle": 1}},
    "no_cache": {"cache": {"enabled": False}, "seed": 1},
    "contiguous": {"channels_last": False, "data": {"eval_batch_size": 100}},
    "only_teacher": {"defaults": [{"override /teacher": "wrn_16_1"}], "only": "teacher"},
    "chain": {"defaults": [{"override /kd": "takd"}], "kd": {"assistants": ["resnet14", "wrn_16_1"]}},
    "peers": {
        "defaults": [{"override /kd": "dml"}],
        "kd": {"peers": ["resnet14", {"model": "wrn_16_1"}]},
    },
    # Enlarged, as their last maps would have one pixel: there the bf16 gradient of a strided 3 x 3 convolution (torch
    # 2.15, oneDNN) keeps whatever lay in memory at kernel positions [1, 0] and [1, 2], which only see padding.
    "timm": {"defaults": [{"override /model": "timm"}], "model": {"name": "resnet10t"}, "data": {"image_size": 32}},
    "torchvision": {"defaults": [{"override /model": "torchvision"}], "model": {"name": "mobilenet_v3_small"},
                    "data": {"image_size": 32}},
}  # fmt: skip
COSINE = {"weight": 2.0, "loss": {"_target_": "user_code.cosine_loss", "_partial_": True}}
PRESETS = {f"experiment/{name}": preset for name, preset in EXPERIMENTS.items()}
PRESETS["kd/cosine"] = {"alpha": 0.1, "terms": {"cosine": COSINE}}

LOGITS = ("none", "kd", "dkd", "dist", "nkd", "ttm", "wttm", "mlkd", "tfkd")
FEATURES = ("fitnet", "at", "nst", "fsp", "ab", "ft", "vid", "ofd", "reviewkd", "simkd")
RELATIONS = ("rkd", "pkt", "sp", "cc", "crd", "crd_inbatch", "ickd", "combined")
FLOWS = ("ban", "takd", "multi_teacher", "dml")
MODELS = ("mobilenetv2", "shufflenetv1", "shufflenetv2", "vgg8", "wrn_16_1", "resnet8x4")


def train(name: str, *arguments: str, own: tuple[str, ...] = OWN, needs: tuple[str, ...] = ()) -> Command:
    """One run of train.py in {out}/run."""
    return Command(name, (Call("train.py", (*BASE, *own, "hydra.run.dir={out}/run", *arguments)),), needs)


def sweep(name: str, group: str, options: tuple[str, ...], *arguments: str) -> Command:
    """One process that runs train.py with every option of a group, in {out}/sweep/<option>."""
    where = ("hydra.sweep.dir={out}/sweep", "hydra.sweep.subdir=${hydra:runtime.choices." + group + "}")
    swept = f"{group}={','.join(options)}"
    return Command(name, (Call("train.py", (*BASE, *DIGITS, *OWN, "-m", swept, *where, *arguments)),))


def script(name: str, file: str, *arguments: str, needs: tuple[str, ...], printed: bool = False) -> Command:
    """One call of another script."""
    return Command(name, (Call(file, arguments),), needs, printed)


KEPT = ("teachers_dir={all}/run/teachers", "cache.dir={all}/run/cache")  # those of the command `run`
STOP = ("trainer.max_epochs=3", "kd=combined", "+callbacks.stop._target_=user_code.InterruptOnce",
        "+callbacks.stop.epochs=3", "+callbacks.stop.step=10", "+callbacks.stop.marker={out}/stopped")  # fmt: skip
# Large enough blocks to be sharded, and no BatchNorm.
SHARDED = ("model._target_=user_code.mlp", "+model.width=1024", "teacher._target_=user_code.mlp",
           "+teacher.width=1100", "trainer=fsdp", "trainer.devices=2", "kd=fitnet", "kd.terms.fitnet.student=1.inner",
           "kd.terms.fitnet.teacher=1.inner", "kd.alpha={schedule:linear,start:0.9,end:0.1}",
           "trainer.gradient_clip_val=1.0", "teacher.recipe.max_epochs=1")  # fmt: skip
IMAGES = ("data=imagefolder", "data.root={all}/inputs/images", "data.image_size=16", "data.batch_size=16",
          "teacher=resnet14")  # fmt: skip
OWN_DATA = ("data.name=stripes", "data.source._target_=user_code.stripes", "+data.source.size=16")
WORKERS = ("data.in_memory=false", "data.num_workers=2", "data.augment.scale=null", "data.augment.crop_padding=2",
           "+data.transform={_target_:torchvision.transforms.RandomCrop,size:16}")  # fmt: skip
SEARCH = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "kd.T=interval(1,10)", "kd.alpha=0.1,0.5")

COMMANDS = (
    train("run", *DIGITS),
    train("cached", *DIGITS, "kd.T=2", own=KEPT, needs=("run",)),
    sweep("logits", "kd", LOGITS),
    sweep("features", "kd", FEATURES),
    sweep("relations", "kd", RELATIONS),
    sweep("flows", "kd", FLOWS),
    sweep("options", "experiment", tuple(EXPERIMENTS), "--config-dir", CONF),
    sweep("models", "model", MODELS, "trainer.max_epochs=1", "kd=combined"),
    train("int8", *DIGITS, "init={all}/run/run", "quantize=int8", "optimizer.lr=0.02", needs=("run",)),
    Command("resume", (
        Call("train.py", (*BASE, *DIGITS, *OWN, *STOP, "hydra.run.dir={out}/run"), status=130),
        Call("train.py", ("resume={out}/run", "trust=user_code", STOP[-1])),  # a path that is not repeated unasked
    )),
    train("ddp", *DIGITS, "trainer=ddp", "trainer.devices=2", "kd=rkd", "kd.terms.rkd.loss.gather=true"),
    train("fsdp", *DIGITS, *SHARDED),
    train("compiled", *DIGITS, "compile=true", "trainer.max_epochs=1", "teacher=resnet8", "teacher.checkpoint="
          "{all}/run/run/student.safetensors", needs=("run",)),
    train("user_code", *OWN_DATA, "model._target_=user_code.mlp", "teacher=resnet14", "kd=cosine", "--config-dir",
          CONF),
    train("images", *IMAGES, "model=resnet18"),
    train("images_by_workers", *IMAGES, *WORKERS),
    train("parquet", "data=parquet", "data.root={all}/inputs/parquet", "data.batch_size=16", "teacher=resnet14"),
    Command("search", (Call("train.py", (*BASE, *DIGITS, *OWN, *SEARCH, "hydra.sweep.dir={out}/sweep")),)),
    script("evaluate", "evaluate.py", "run={all}/run/run", "output={out}", needs=("run",)),
    script("evaluate_against", "evaluate.py", "checkpoint={all}/run/run/student.safetensors", "split=val", "map=pca",
           "against={all}/logits/sweep/none", "output={out}", needs=("run", "logits")),
    script("evaluate_chain", "evaluate.py", "run={all}/flows/sweep/takd", "output={out}", "map=none", needs=("flows",)),
    script("evaluate_images", "evaluate.py", "run={all}/images/run", "data=imagefolder", "root={all}/inputs/images",
           "teacher=false", "report=false", "output={out}", needs=("images",)),
    script("export", "export.py", "run={all}/run/run", "format=onnx,torch_export,safetensors", "quantize=int8",
           "seconds=0", "output={out}/export", needs=("run",)),
    script("export_int8", "export.py", "run={all}/int8/run", "quantize=int8", "against={all}/run/run", "seconds=0",
           "preprocess=described", "output={out}/export", needs=("run", "int8")),
    script("predict", "predict.py", "run={all}/images/run", "{all}/inputs/images", "top=3", "device=cpu",
           "output={out}/predictions.csv", needs=("images",)),
    Command("predict_broken", (
        Call("predict.py", ("run={all}/run/run", "{all}/inputs/images/a", "{all}/inputs/broken.png", "format=json",
                            "device=cpu", "output={out}/predictions.json"), status=3),
    ), ("run",)),
    script("compare", "compare.py", "{all}/run/run", "{all}/logits/sweep/none", "{all}/flows/sweep/takd",
           "output={out}/compare.html", needs=("run", "logits", "flows"), printed=True),
    script("report", "report.py", "{all}/logits/sweep", "output={out}", needs=("logits",), printed=True),
)  # fmt: skip
