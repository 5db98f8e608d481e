"""The model card: README.md in the layout of the Hugging Face Hub."""

from huggingface_hub import EvalResult, ModelCardData

from distill.evaluation.runs import Run
from distill.export import standalone
from distill.export.report import ExportReport
from distill.export.table import COLUMNS, NOTE, cells
from distill.utils import environment
from distill.utils.console import markdown_table
from distill.utils.units import percent, short

TASK = "image-classification"


def metadata(run: Run, report: ExportReport) -> ModelCardData:
    """The card's YAML front matter."""
    data, student = run.summary.data.name, run.student_result.name
    formats = {str(row.file).rpartition(".")[2] for row in report.files} & {"onnx", "safetensors"}
    test = EvalResult(
        task_type=TASK, dataset_type=data, dataset_name=data, dataset_split="test",
        metric_type="accuracy", metric_name="test top-1", metric_value=round(report.files[0].accuracy, 6),
    )  # fmt: skip
    return ModelCardData(
        model_name=f"{student}-{data}",
        license=report.license,
        library_name=standalone.library(run.settings.model) or "pytorch",
        pipeline_tag=TASK,
        tags=[TASK, "knowledge-distillation", "distill", *sorted(formats)],
        metrics=["accuracy"],
        eval_results=[test],
    )


def _method(run: Run) -> list[str]:
    """How the student learnt, in a few lines."""
    kd, teacher = run.settings.kd, run.summary.teacher
    last, epoch = run.student_result.last.epoch, run.tested.epoch
    best = "" if epoch == last else f" These are the weights of epoch {epoch}, the best on validation."
    lines = [f"Trained for {last} epochs, seed {run.summary.seed}.{best}"]
    if not kd.terms:
        return [*lines, "It learnt from the labels alone."]
    if teacher:
        lines.append(
            f"Its teacher: {teacher.name}, {short(teacher.size.parameters)} parameters, test top-1 "
            f"{percent(teacher.test.acc)}."
        )
    lines.append(f"α (weight of the loss with the labels): {kd.alpha}. T: {kd.T}.")
    terms = [
        f"- `{name}`: `{term.loss['_target_'].rpartition('.')[2]}`, weight {term.weight}"
        for name, term in kd.terms.items()
    ]
    return [*lines, "", "Terms beside the cross-entropy:", "", *terms]


def _table(report: ExportReport) -> str:
    rows = [(row.model, f"`{row.file}`" if row.file else "", *cells(row)) for row in report.rows]
    return markdown_table([("model", "file", *COLUMNS), *([text or "–" for text in row] for row in rows)])


def _use(report: ExportReport, code: str | None) -> list[str]:
    """How each file is opened."""
    files = [row.file for row in report.files]
    embedded = report.preprocess == "embedded"
    takes = "raw pixels and normalises them itself" if embedded else "normalised images"
    lines = [f"A graph (`.onnx`, `.pt2`) takes {takes}; `preprocess.json` says what comes before.", ""]
    if "model.onnx" in files:
        lines += ["```python", "import onnxruntime", "", 'session = onnxruntime.InferenceSession("model.onnx")',
                  '(logits,) = session.run(None, {"images": images})  # N×C×H×W', "```", ""]  # fmt: skip
    if "model.pt2" in files:
        lines += ["```python", "import torch", "", 'model = torch.export.load("model.pt2").module()',
                  "logits = model(images)  # N×C×H×W", "```", ""]  # fmt: skip
    if "model.safetensors" in files:
        lines += [
            "`model.safetensors` holds weights; this model takes images normalised as `preprocess.json` says.",
            "",
        ]
        lines += ["```python", code, "```", ""] if code else [
            "Its architecture is defined by the training project, so the weights load there:", "",
            "```python", "import distill", "", 'model = distill.load("<run folder>")', "```", ""]  # fmt: skip
    return lines


def card(run: Run, report: ExportReport, code: str | None) -> str:
    """The whole card; ``code`` loads the weights without this project (None: no other library has the model)."""
    data, student, hardware = run.summary.data, run.student_result, report.hardware
    tested = report.tested
    names = list(run.classes)
    shown = ", ".join(names[:20]) + (f", … (all {len(names)} in `classes.json`)" if len(names) > 20 else "")
    rest = [
        f"# {student.name} on {data.name}",
        "",
        f"An image classifier of {short(student.size.parameters)} parameters and {short(student.size.macs)} "
        f"multiply-accumulates, for {data.image_size}-pixel images of {data.channels} channel(s). "
        f"Classes: {shown}.",
        "",
        "## Use",
        "",
        *_use(report, code),
        "## Data",
        "",
        f"`{data.name}`: {data.train} training, {data.val} validation and {data.test} test images"
        + (f" ({', '.join(data.carved)} carved out of the training images)." if data.carved else "."),
        "",
        "## Method",
        "",
        *_method(run),
        "",
        "```text",
        environment.portable(run.summary.command),
        report.command,
        "```",
        "",
        "## Measured",
        "",
        f"Top-1 on {report.rows[0].images} test images in float32; the run's own test in "
        f"{tested['precision']} gave {percent(tested['accuracy'])}. The difference is the largest of any logit "
        f"from PyTorch's. Speed after warm-up on {hardware['cpu']} with {hardware['threads']} thread(s); {NOTE}.",
        *([f"Other: the student of `{report.against}`, for comparison."] if report.against else []),
        "",
        _table(report),
        "",
    ]  # fmt: skip
    return f"---\n{metadata(run, report)}\n---\n\n" + "\n".join(rest)
