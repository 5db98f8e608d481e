"""The model card: README.md in the layout of the Hugging Face Hub."""

from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from distill.evaluation.runs import Run
from distill.export.report import ExportReport
from distill.export.student import Use
from distill.export.table import cells, columns, note
from distill.utils.console import markdown_table, markdown_text
from distill.utils.units import percent, short

TEMPLATES = Path(__file__).parent / "templates"


def metadata(run: Run, report: ExportReport, use: Use) -> ModelCardData:
    """The card's YAML front matter."""
    data, student = run.summary.data.name, run.student_result.name
    task = use.pipeline or "other"
    metric = "accuracy" if report.metric.name == "acc" else report.metric.name
    formats = {str(row.file).rpartition(".")[2] for row in report.files} & {"onnx", "safetensors"}
    test = EvalResult(
        task_type=task, dataset_type=data, dataset_name=data, dataset_split="test", metric_type=metric,
        metric_name=f"test {report.metric.label}", metric_value=round(report.files[0].score, 6),
    )  # fmt: skip
    return ModelCardData(
        model_name=f"{student}-{data}",
        license=report.license,
        library_name=use.library,
        pipeline_tag=use.pipeline,
        tags=[use.pipeline or run.task.name, "knowledge-distillation", "distill", *sorted(formats)],
        metrics=[metric],
        eval_results=[test],
    )


def _load_arguments(run: Run) -> str:
    """Those of ``distill.load`` that open the run as it was opened here."""
    named = {"trust": list(run.trust) or None, "code": run.code}
    return ", ".join(
        [repr(run.repo or str(run.folder)), *(f"{key}={value!r}" for key, value in named.items() if value)]
    )


def card(run: Run, report: ExportReport, use: Use) -> str:
    """The whole card."""
    templates = Environment(  # Markdown, whose texts are escaped by the filter "text"
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters.update(text=markdown_text, short=short, percent=percent)
    rows = [(row.model, f"`{row.file}`" if row.file else "", *cells(row, report)) for row in report.rows]
    return templates.get_template("card.md").render(
        metadata=metadata(run, report, use),
        summary=run.summary,
        data=run.summary.data,
        student=run.student_result,
        classes=run.classes,
        epoch=run.tested.epoch,
        kd=run.settings.kd,
        report=report,
        files=[row.file for row in report.files],
        use=use.template,
        **use.values,
        load=_load_arguments(run),
        train_command=run.summary.command,
        note=note(report),
        table=markdown_table([("model", "file", *columns(report)), *([text or "–" for text in row] for row in rows)]),
    )
