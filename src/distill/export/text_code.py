"""Code that runs the exported files of texts without this project: the lines of the model card."""

from distill.data import TextPreprocess
from distill.evaluation.runs import Run
from distill.export import formats
from distill.export.standalone import shown
from distill.models.text.encoder import TextModel

FOLDER = "."  # of the export, as the lines name it
_GENERATES = f"""import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{FOLDER}")
model = AutoModelForCausalLM.from_pretrained("{FOLDER}")
inputs = tokenizer("your text", return_tensors="pt")
with torch.inference_mode():
    output = model.generate(**inputs, max_new_tokens=32)
print(tokenizer.decode(output[0], skip_special_tokens=True))"""


def code(run: Run) -> str | None:
    """Lines that load the folder into ``model`` and run it on a text; None of a model that transformers has not."""
    model = run.student.model
    if not isinstance(model, TextModel):
        return None
    if model.output == "causal":
        return _GENERATES
    auto = {"text": "AutoModelForSequenceClassification", "tokens": "AutoModelForTokenClassification"}
    name = auto.get(model.output, "AutoModel")
    lines = [
        "import torch",
        f"from transformers import {name}, AutoTokenizer",
        "",
        f'tokenizer = AutoTokenizer.from_pretrained("{FOLDER}")',
        f'model = {name}.from_pretrained("{FOLDER}")',
        f'inputs = tokenizer({_texts(run)}, padding=True, truncation=True, return_tensors="pt")',
        "with torch.inference_mode():",
        f"    output = model(**inputs){'' if model.output == 'embedding' else '.logits'}",
    ]
    if model.pooling is None:
        return "\n".join([*lines, "classes = model.config.id2label", *shown(run, "output")])
    if model.pooling.mode == "cls":
        lines.append("embeddings = output.last_hidden_state[:, 0]")
    else:
        lines.append('mask = inputs["attention_mask"][..., None]')
        lines.append("embeddings = (output.last_hidden_state * mask).sum(1) / mask.sum(1)")
    if model.pooling.normalize:
        lines.append("embeddings = torch.nn.functional.normalize(embeddings)")
    return "\n".join([*lines, *shown(run, "embeddings")])


def onnx_code(run: Run) -> str:
    """Lines that run the ONNX file on a text, beside the tokenizer and ``classes.json``."""
    return "\n".join(
        [
            "import json",
            "",
            "import onnxruntime",
            "from transformers import AutoTokenizer",
            "",
            f'tokenizer = AutoTokenizer.from_pretrained("{FOLDER}")',
            f'session = onnxruntime.InferenceSession("{formats.FILES["onnx"]}")',
            f'inputs = tokenizer({_texts(run)}, padding=True, truncation=True, return_tensors="np")',
            "(output,) = session.run(None, dict(inputs))",
            *(['with open("classes.json") as names:', "    classes = json.load(names)"] if run.classes else []),
            *shown(run, "output"),
        ]
    )


def _texts(run: Run) -> str:
    """The arguments of the tokenizer."""
    preprocess = run.preprocess
    assert isinstance(preprocess, TextPreprocess)
    if preprocess.words:
        return '[["your", "words"]], is_split_into_words=True'
    return '["your text"], ["and its second text"]' if preprocess.pairs else '["your text", "another"]'
