"""Encoders of transformers by name, and small ones from sizes."""

from collections.abc import Sequence
from typing import Any

from distill.models.checks import check_sizes
from distill.models.text.causal import check_causal
from distill.models.text.configuration import apply_settings, read_config
from distill.models.text.encoder import OUTPUTS, Output, TextModel
from distill.models.text.pooling import Pooling, read_pooling
from distill.models.text.weights import build, load, load_causal, model_class, set_labels
from distill.utils.errors import UserError, check_choice
from distill.utils.hub import locate, read_json, read_tokenizer, require_transformers

_BERT, _LLAMA = "a BERT from sizes", "a Llama from sizes"


def hf_model(
    name: str | None,
    num_classes: int,
    output: Output = "text",
    class_names: Sequence[str] | None = None,
    pretrained: bool = True,
    tokenizer: str | None = None,  # noqa: ARG001 - of the data
    pooling: str | None = None,
    **config: Any,
) -> TextModel:
    """A text encoder of transformers, fitted to the data's classes.

    Weights are read from safetensors only, and no code of a repository is run (``trust_remote_code`` is never set).
    The last layer of the weights is kept where it has ``num_classes`` outputs and, if it has names, those of
    ``class_names``, in whose order its rows are put; otherwise it is new, and the model's ``note`` says so.

    Args:
        name: a folder with ``config.json`` and ``model.safetensors`` (also in shards), or a name on the Hugging Face
            Hub, taken from its cache where it is there.
        num_classes: C, at least 1; of no matter for embeddings.
        output: "text": one answer per text, (N, C); "tokens": one per token, (N, L, C); "embedding": (N, D); "causal":
            a language model.
        class_names: the classes' names in order, kept in the model's ``config.id2label``.
        pretrained: load the weights; False: the structure of ``config.json`` alone, with random weights.
        tokenizer: folder or name of its tokenizer; the data read it, the model does not.
        pooling: of embeddings, "mean" over the tokens of the attention mask, or "cls", the first token's state; None:
            as the folder's ``1_Pooling/config.json`` says, else "mean". Embeddings are normalised if ``modules.json``
            of the folder says so.
        config: attributes of the architecture's configuration, e.g. ``hidden_dropout_prob=0``.

    Raises:
        UserError: transformers is not installed; a name that is found nowhere; an architecture that transformers does
            not have, or not for this output; weights that are pickled, not whole or of another task; unknown or
            unfitting arguments.

    Example:
        >>> hf_model("./minilm", num_classes=2)  # doctest: +SKIP
    """
    model_name, model_config, cls = prepare(name, num_classes, output, class_names, config)
    if output == "causal":
        causal = load_causal(cls, model_config, model_name) if pretrained else build(cls, model_config, model_name)
        check_causal(causal, model_name)
        return TextModel(causal, output)
    pooled, note = find_pooling(model_name, output, pooling), ""
    if pretrained:
        model, note = load(cls, model_config, model_name, output, num_classes, class_names)
    else:
        set_labels(model_config, num_classes, class_names)
        model = build(cls, model_config, model_name)
    set_labels(model.config, num_classes, class_names)
    return TextModel(model, output, pooled, note)


def prepare(
    name: str | None,
    num_classes: int,
    output: Output,
    class_names: Sequence[str] | None,
    settings: dict[str, Any],
    option: str = "hf",
) -> tuple[str, Any, Any]:
    """Checks what every model by name is given: its name, its configuration and its class of transformers.

    Raises:
        UserError: see :func:`hf_model`.
    """
    require_transformers(f"model={option}")
    check_arguments(num_classes, output, class_names)
    if not name:
        raise UserError(
            f"{option} needs a name, a folder or a name on the Hugging Face Hub: teacher.name=..., model.name=..."
        )
    located = locate(name, "name")
    config = read_config(located, settings)
    return located, config, model_class(config, output, located)


def check_arguments(num_classes: int, output: str, class_names: Sequence[str] | None) -> None:
    """A UserError unless outputs and names fit one another."""
    check_choice("output", output, OUTPUTS)
    check_sizes(num_classes, 1)
    if class_names is not None and len(class_names) != num_classes:
        raise UserError(f"class_names has {len(class_names)} names, and num_classes is {num_classes}")


def _pools(output: Output, pooling: str | None) -> bool:
    if pooling is not None and output != "embedding":
        raise UserError(
            f"pooling={pooling} is of embeddings (task=embedding): a head of another task reads its own token"
        )
    return output == "embedding"


def find_pooling(name: str, output: Output, pooling: str | None) -> Pooling | None:
    """The pooling of a model's files, for embeddings.

    Raises:
        UserError: one that is not supported, or where there are no embeddings to pool.
    """
    if not _pools(output, pooling):
        return None
    modules = read_json(name, "modules.json")
    folders = [
        m.get("path") for m in modules or () if isinstance(m, dict) and str(m.get("type", "")).endswith(".Pooling")
    ]
    described = read_json(name, f"{(folders or ['1_Pooling'])[0]}/config.json") if folders or modules is None else None
    return read_pooling(name, modules, described, pooling)


def bert_model(
    layers: int,
    width: int,
    heads: int,
    num_classes: int,
    tokenizer: str | None = None,
    output: Output = "text",
    class_names: Sequence[str] | None = None,
    pooling: str | None = None,
    **config: Any,
) -> TextModel:
    """A BERT from sizes with random weights, on the vocabulary of a tokenizer.

    Args:
        layers: encoder layers, at least 1.
        width: of the hidden states, a multiple of ``heads``; the feed-forward layers are four times as wide.
        heads: of the self-attention.
        num_classes: C, at least 1; of no matter for embeddings.
        tokenizer: folder or hub name of the tokenizer; its vocabulary is the model's. None needs ``vocab_size``.
        output: as of :func:`hf_model`.
        class_names: likewise.
        pooling: likewise; None: "mean".
        config: further attributes of transformers' ``BertConfig``, e.g. ``vocab_size`` or ``max_position_embeddings``.

    Raises:
        UserError: transformers is not installed, sizes that are too small or do not fit, a tokenizer that cannot be
            read.

    Source:
        Turc et al. 2019, Well-Read Students Learn Better (arXiv:1908.08962): 2 layers of 128 with 2 heads are
        BERT-Tiny, 4 of 256 with 4 BERT-Mini, 4 of 512 with 8 BERT-Small.

    Example:
        >>> model = bert_model(layers=2, width=128, heads=2, num_classes=3, vocab_size=100)  # doctest: +SKIP
    """
    require_transformers("a BERT")
    check_arguments(num_classes, output, class_names)
    _check_sizes(layers, width, heads)
    from transformers import BertConfig

    facts = {} if "vocab_size" in config else _vocabulary(tokenizer)
    model_config = BertConfig(
        num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width
    )
    apply_settings(model_config, {**facts, **config}, _BERT)
    set_labels(model_config, num_classes, class_names)
    pooled = read_pooling(_BERT, None, None, pooling) if _pools(output, pooling) else None
    model = build(model_class(model_config, output, _BERT), model_config, _BERT)
    return TextModel(model, output, pooled)


def llama_model(
    layers: int,
    width: int,
    heads: int,
    num_classes: int = 2,  # noqa: ARG001 - of other outputs
    tokenizer: str | None = None,
    output: Output = "causal",
    class_names: Sequence[str] | None = None,  # noqa: ARG001 - likewise
    **config: Any,
) -> TextModel:
    """A Llama from sizes with random weights, on the vocabulary of a tokenizer; input and output embeddings are one.

    Args:
        layers: at least 1.
        width: of the hidden states, a multiple of ``heads``; the feed-forward layers are 8 / 3 times as wide.
        heads: of the self-attention.
        num_classes: of no matter.
        tokenizer: folder or hub name of the tokenizer; its vocabulary is the model's. None needs ``vocab_size``.
        output: "causal", the only one it has.
        class_names: of no matter.
        config: further attributes of transformers' ``LlamaConfig``, e.g. ``vocab_size`` or ``num_key_value_heads``.

    Raises:
        UserError: transformers is not installed, sizes that do not fit, another output, no tokenizer.

    Source:
        Touvron et al. 2023, LLaMA (arXiv:2302.13971).

    Example:
        >>> model = llama_model(layers=2, width=64, heads=2, vocab_size=100)  # doctest: +SKIP
    """
    require_transformers("a Llama")
    if output != "causal":
        raise UserError("a Llama from sizes is a language model: set task=causal_lm")
    _check_sizes(layers, width, heads)
    from transformers import LlamaConfig

    facts = {} if "vocab_size" in config else _vocabulary(tokenizer)
    inner = -(-8 * width // 3 // 8) * 8
    model_config = LlamaConfig(
        num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, num_key_value_heads=heads,
        intermediate_size=inner, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    apply_settings(model_config, {**facts, **config}, _LLAMA)
    return TextModel(build(model_class(model_config, output, _LLAMA), model_config, _LLAMA), output)


def _check_sizes(layers: int, width: int, heads: int) -> None:
    for key, value in (("layers", layers), ("width", width), ("heads", heads)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"{key} must be an integer of at least 1, got {value!r}")
    if width % heads:
        raise UserError(f"width={width} must be a multiple of heads={heads}")


def _vocabulary(tokenizer: str | None) -> dict[str, Any]:
    """Size and padding token of a tokenizer's vocabulary."""
    read = read_tokenizer(tokenizer)
    return {"vocab_size": len(read), "pad_token_id": read.pad_token_id or 0}
