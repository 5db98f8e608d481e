"""What belongs to images alone, and what to texts: options of the data, models. Known before anything heavy loads."""

from dataclasses import asdict
from typing import Any

from distill.config.default_teacher import is_alone, starts_from_teacher
from distill.config.schema import AugmentConfig, DataConfig, Node, TrainConfig
from distill.config.weights_files import models
from distill.utils.errors import UserError, require_package
from distill.utils.hub import locate, locate_tokenizer

OF_IMAGES = ("image", "image_size", "in_memory", "memory_gb", "augment", "transform", "mean", "std")
OF_TEXTS = ("text", "text_pair", "tokenizer", "teacher_tokenizer", "max_length", "teacher_max_length")
_TEXT_MODELS = {"hf_model": "hf", "bert_model": "a BERT (bert_tiny, …)", "from_teacher": "from_teacher",
                "llama_model": "a Llama (llama_tiny)"}  # fmt: skip
_OURS = "distill.models."
_NAME = "<folder or name on the Hugging Face Hub>"
_TAKE_TEXTS = "hf, from_teacher, bert_tiny, bert_mini, bert_small and llama_tiny do"


def check(cfg: TrainConfig) -> None:
    """Checks that data and models are of one kind, and that texts can be read.

    Raises:
        UserError: an option of the other kind, a model of it, or no texts or tokenizer.
    """
    data = cfg.data
    _options(data)
    for key, node in models(cfg):
        _model(key, node, data)
    if data.kind == "text":
        require_package("transformers", f"data={data.name}", "transformers", "text", load=False)
        _texts(cfg)


def takes_texts(node: Node) -> bool:
    """Whether a model's node names a function of this package that builds a text model."""
    package, _, name = str(node.get("_target_", "")).rpartition(".")
    return f"{package}." == _OURS and name in _TEXT_MODELS


def _options(data: DataConfig) -> None:
    """A UserError for an option that only data of the other kind have."""
    usual, is_text = asdict(DataConfig()), data.kind == "text"
    for name in OF_IMAGES if is_text else OF_TEXTS:
        value = getattr(data, name)
        if value == usual[name] or (name == "augment" and not value):
            continue
        key = f"data.{name}"
        if name == "augment":
            usual_view = asdict(AugmentConfig())
            key, value = next((f"{key}.{k}", v) for k, v in _as_dict(value).items() if v != usual_view.get(k))
        kinds = ("texts", "images") if is_text else ("images", "texts")
        raise UserError(f"{key}={value} is an option of {kinds[1]}, and data={data.name} has {kinds[0]}")


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else asdict(value)


def _model(key: str, node: Node, data: DataConfig) -> None:
    """A UserError for a model of this package that takes samples of the other kind."""
    package, _, name = str(node.get("_target_", "")).rpartition(".")
    if f"{package}." != _OURS:
        return
    if data.kind == "text" and not takes_texts(node):
        raise UserError(f"{key}: {name} takes images, and data={data.name} has texts, which {_TAKE_TEXTS}")
    if data.kind == "images" and takes_texts(node):
        raise UserError(
            f"{key}: {_TEXT_MODELS[name]} takes texts, and data={data.name} has images: choose a model of images"
        )


def _texts(cfg: TrainConfig) -> None:
    data, source = cfg.data, str(cfg.data.source)
    if cfg.compile is True:
        raise UserError(
            "compile=true compiles for one shape, and texts differ in length; code for all lengths gained nothing "
            "(docs/text.md): leave compile=auto"
        )
    named = [(key, node) for key, node in models(cfg) if not (key == "teacher" and is_alone(cfg))]
    for key, node in sorted(named, key=lambda entry: entry[0] != "teacher"):  # whose name a student may follow
        _named(key, node, data)
    if data.tokenizer is None:
        key = "model" if "tokenizer" in cfg.model else "data"
        raise UserError(f"data={data.name} needs a tokenizer: {key}.tokenizer={_NAME}")
    locate_tokenizer(data.tokenizer, tokenizer_key(cfg))
    if data.teacher_tokenizer is not None:
        locate_tokenizer(data.teacher_tokenizer, tokenizer_key(cfg, of_teacher=True))
    if data.root is None and "None" in source:
        raise UserError(f"data={data.name} needs the texts: data.root=<file or folder>")
    student, teacher = cfg.model, cfg.teacher
    if starts_from_teacher(cfg) and student.get("name") != teacher.get("name"):
        raise UserError(
            f"model.name={student.get('name')}: model=from_teacher takes its layers from the teacher, which is "
            f"{teacher.get('name') or 'no model by name'}; leave model.name out"
        )


def _named(key: str, node: Node, data: DataConfig) -> None:
    """A UserError for a model of transformers without a name, or with one of a folder that is none."""
    if not takes_texts(node) or "name" not in node:
        return
    wanted = "teacher" if str(node["_target_"]) == f"{_OURS}from_teacher" else key
    if node["name"] is None:
        what = "teacher, an encoder of transformers" if wanted == "teacher" else "model, an encoder of transformers"
        raise UserError(f"data={data.name} needs a {what}: {wanted}.name={_NAME}")
    locate(node["name"], f"{wanted}.name")


def tokenizer_key(cfg: TrainConfig, of_teacher: bool = False) -> str:
    """The key that the user gave a tokenizer by: that of a model where its folder has the tokenizer as well."""
    name = cfg.data.teacher_tokenizer if of_teacher else cfg.data.tokenizer
    own = ("teacher",) if of_teacher else ("model", "teacher")
    nodes = {"model": cfg.model, "teacher": cfg.teacher}
    is_cut = str(cfg.model.get("_target_")) == f"{_OURS}from_teacher"
    for field in ("name", "tokenizer"):
        for key in reversed(own) if is_cut else own:
            if nodes[key].get(field) == name:
                return f"{key}.{field}"
    return "data.teacher_tokenizer" if of_teacher else "data.tokenizer"
