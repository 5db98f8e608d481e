"""Every architecture through one interface: the outputs of plain transformers, stages, projections, padding, files."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

pytest.importorskip("transformers")

from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification

from distill.distillation.feature_extractor import FeatureExtractor, extract
from distill.models import from_teacher, hf_model
from distill.utils.checkpoints import load_weights, save_weights
from text_models import batch, padded, save_model

KINDS = ["bert", "roberta", "electra", "distilbert", "mpnet", "deberta-v2", "modernbert"]
HEADS = {
    "text": ("SequenceClassification", AutoModelForSequenceClassification),
    "tokens": ("TokenClassification", AutoModelForTokenClassification),
}
FUSED = ("modernbert",)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folders(tmp_path_factory, kind):
    """The model's folders by output, made when asked for."""
    root, made = tmp_path_factory.mktemp(kind), {}

    def folder(output):
        if output not in made:
            head = HEADS[output][0] if output in HEADS else ""
            made[output] = save_model(root / output, kind, head, **({"num_labels": 3} if head else {}))
        return str(made[output])

    return folder


def plain(model, inputs):
    with torch.no_grad():
        return model.eval()(**inputs)


@pytest.mark.parametrize("output", ["text", "tokens"])
def test_logits_are_those_of_transformers(folders, output):
    model = hf_model(folders(output), 3, output)
    assert model.training
    theirs = HEADS[output][1].from_pretrained(folders(output))
    inputs = batch()
    expected = plain(theirs, inputs).logits
    assert expected.shape == ((3, 3) if output == "text" else (3, 8, 3))
    with torch.no_grad():
        assert torch.equal(model.eval()(inputs), expected)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_embeddings_are_pooled(folders, pooling):
    model = hf_model(folders("embedding"), 1, "embedding", pooling=pooling).eval()
    inputs = batch()
    hidden = plain(AutoModel.from_pretrained(folders("embedding")), inputs).last_hidden_state
    expected = [h[:n].mean(0) if pooling == "mean" else h[0] for h, n in zip(hidden, (5, 3, 8), strict=True)]
    outputs = extract(model, [], inputs, model.head_path)
    torch.testing.assert_close(outputs.logits, torch.stack(expected))
    assert torch.equal(outputs.embedding, outputs.logits)


@pytest.mark.parametrize("output", ["text", "tokens", "embedding"])
def test_more_padding_changes_nothing(folders, output):
    model = hf_model(folders(output), 3, output).eval()
    inputs = batch()
    with torch.no_grad():
        shorter, longer = model(inputs), model(padded(inputs))
    if output == "tokens":
        valid = inputs["attention_mask"].bool()
        shorter, longer = shorter[valid], longer[:, :8][valid]
    torch.testing.assert_close(shorter, longer, atol=1e-6, rtol=1e-5)


def test_stages_and_projections(folders, kind, monkeypatch):
    model = hf_model(folders("text"), 3).eval()
    assert len(model.stages) == 5
    assert len(model.attention) == 4
    inputs, calls = batch(), []
    attend = torch.nn.functional.scaled_dot_product_attention

    def counting(*args, **kwargs):
        calls.append(args[0].shape)
        return attend(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counting)
    paths = [*model.stages, *(path for layer in model.attention for path in layer)]
    outputs = extract(model, paths, inputs, model.head_path)
    has_sdpa = kind not in ("mpnet", "deberta-v2")
    assert model.config._attn_implementation == ("sdpa" if has_sdpa else "eager")
    assert calls == [(3, 4, 8, 8)] * 4 * has_sdpa
    hidden = plain(
        AutoModelForSequenceClassification.from_pretrained(folders("text")),
        {**inputs, "output_hidden_states": True},
    ).hidden_states
    for path, state in list(zip(model.stages, hidden, strict=True))[1:-1]:
        torch.testing.assert_close(outputs.features[path], state)
    if kind in FUSED:
        assert model.attention == ((),) * 4
    else:
        assert all(outputs.features[path].shape == (3, 8, 32) for path in paths[5:])
        assert [path.rpartition(".")[2][0] for path in model.attention[0]] == ["q", "k", "v"]
    head = model.get_submodule(model.head_path)
    torch.testing.assert_close(head(outputs.embedding), outputs.logits)


def test_projections_are_what_attention_reads(tmp_path):
    """The scores that transformers returns come from these queries and keys."""
    model = hf_model(str(save_model(tmp_path, "bert", "SequenceClassification", num_labels=3)), 3).eval()
    inputs = batch((8, 8))
    q, k, _ = (extract(model, model.attention[1], inputs).features[path] for path in model.attention[1])
    q, k = (x.view(2, 8, model.num_heads, -1).transpose(1, 2) for x in (q, k))
    scores = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
    model.model.set_attn_implementation("eager")
    theirs = plain(model.model, {**inputs, "output_attentions": True}).attentions[1]
    torch.testing.assert_close(scores, theirs)


@pytest.mark.slow
def test_one_graph_with_all_features(folders, kind):
    """No graph breaks, with hooks on every layer and projection, and no graph more for lengths that follow."""
    output = "embedding" if kind in ("bert", "distilbert") else "text"
    model = hf_model(folders(output), 3, output).eval()
    paths = [*model.stages, *(path for layer in model.attention for path in layer)]
    extractor = FeatureExtractor(model, paths, model.head_path)
    torch._dynamo.reset()
    graphs = CompileCounter()
    compiled = torch.compile(extractor.eager, backend=graphs, fullgraph=True)
    for lengths in ((5, 3, 8), (16, 2, 3), (24, 7, 4), (8, 40, 8)):
        inputs = batch(lengths)
        expected = extractor.eager(inputs)
        outputs = compiled(inputs)
        torch.testing.assert_close(outputs.logits, expected.logits)
        assert outputs.features.keys() == expected.features.keys()
    assert graphs.frame_count <= 2


@pytest.mark.parametrize("output", ["text", "tokens", "embedding"])
def test_bf16_is_close_and_has_gradients(folders, output):
    model = hf_model(folders(output), 3, output).eval()
    inputs = batch()
    expected = model(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        result = model(inputs)
    assert result.dtype == (torch.float32 if output == "embedding" else torch.bfloat16)
    torch.testing.assert_close(result.float(), expected, atol=0.1, rtol=0.1)
    result.float().square().sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


def test_a_student_of_all_layers_is_its_teacher(folders):
    teacher = hf_model(folders("text"), 3)
    student = from_teacher(folders("text"), 4, 3, pretrained=False)
    inputs = batch()
    with torch.no_grad():
        expected = teacher.eval()(inputs)
        assert not torch.allclose(student.eval()(inputs), expected)
        student.adopt(teacher)
        assert torch.equal(student(inputs), expected)
        next(teacher.parameters()).zero_()
        assert torch.equal(student(inputs), expected)  # no aliases


def test_a_student_has_the_layers_that_were_chosen(folders, kind):
    if kind == "modernbert":
        pytest.skip("its first layer has no norm: the choice must begin with it")
    teacher = hf_model(folders("text"), 3).eval()
    student = from_teacher(folders("text"), [1, 3], 3).eval()
    layers = teacher.model.get_submodule(teacher.layer_list)
    teacher.model.set_submodule(teacher.layer_list, torch.nn.ModuleList([layers[1], layers[3]]))
    inputs = batch()
    with torch.no_grad():
        assert torch.equal(student(inputs), teacher(inputs))


def test_weights_go_to_a_file_and_back(folders, tmp_path):
    student = from_teacher(folders("text"), "even", 3).eval()
    again = from_teacher(folders("text"), "even", 3, pretrained=False).eval()
    save_weights(student, tmp_path / "student.safetensors")
    load_weights(again, tmp_path / "student.safetensors", "the student")
    inputs = batch()
    with torch.no_grad():
        assert torch.equal(student(inputs), again(inputs))


@pytest.mark.parametrize("output", ["text", "tokens", "embedding"])
def test_a_saved_folder_is_one_of_transformers(folders, tmp_path, output):
    model = from_teacher(folders(output), [0, 2], 3, output, class_names=["x", "y", "z"]).eval()
    model.save_pretrained(tmp_path)
    auto = HEADS[output][1] if output in HEADS else AutoModel
    theirs, inputs = auto.from_pretrained(tmp_path), batch()
    result, again = plain(theirs, inputs), hf_model(str(tmp_path), 3, output, class_names=["x", "y", "z"]).eval()
    with torch.no_grad():
        expected = model(inputs)
        assert torch.equal(again(inputs), expected)
    if output == "embedding":
        assert (tmp_path / "1_Pooling" / "config.json").is_file()
    else:
        assert torch.equal(result.logits, expected)
        assert theirs.config.id2label == {0: "x", 1: "y", 2: "z"}
