"""Names, architectures and arguments that the factories take, and one line for each that they do not."""

import json
import sys

import pytest
import torch

pytest.importorskip("transformers")

from distill.models import bert_model, from_teacher, hf_model
from distill.models.text.from_teacher import choose_layers
from distill.utils.errors import UserError
from text_models import WORDS, batch, save_model, save_pooling, save_tokenizer


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "bert", "bert")


def refused(match, build, *arguments, **named):
    with pytest.raises(UserError, match=match) as error:
        build(*arguments, **named)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("build", [
    lambda: hf_model("x", 2), lambda: from_teacher("x", 2, 2), lambda: bert_model(2, 32, 4, 2, vocab_size=9),
])  # fmt: skip
def test_without_transformers(monkeypatch, build):
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(r"needs transformers: pip install 'distill\[text\]'", build)


@pytest.mark.parametrize(("arguments", "match"), [
    ({"output": "txt"}, "output=txt is unknown; did you mean 'text'"),
    ({"num_classes": 0}, "num_classes must be an integer of at least 1, got 0"),
    ({"class_names": ["a"]}, "class_names has 1 names, and num_classes is 2"),
    ({"name": None}, "^hf needs a name, a folder or a name on the Hugging Face Hub: teacher.name=..., model.name=...$"),
    ({"output": "embedding", "pooling": "max"}, "pooling=max is unknown; Allowed: mean, cls"),
    ({"pooling": "mean"}, r"pooling=mean is of embeddings \(task=embedding\)"),
    ({"hiden_dropout_prob": 0}, r"\(bert\) takes no argument 'hiden_dropout_prob'; did you mean 'hidden_dropout_prob'"),
    ({"_attn_implementation": "x"}, "takes no argument '_attn_implementation'"),
    ({"attn_implementation": "x"}, "takes no argument 'attn_implementation'"),
    ({"trust_remote_code": True}, "takes no argument 'trust_remote_code'"),
    ({"hidden_dropout_prob": "much"}, "takes no hidden_dropout_prob='much': it is of another type"),
    ({"hidden_dropout_prob": 3}, "cannot build BertForSequenceClassification from its configuration .*between 0 and 1"),
    ({"hidden_act": "nix"}, "cannot build BertForSequenceClassification from its configuration"),
])  # fmt: skip
def test_arguments(bert, arguments, match):
    refused(match, hf_model, **{"name": str(bert), "num_classes": 2, **arguments})


def test_settings_reach_the_model(bert):
    model = hf_model(str(bert), 2, hidden_dropout_prob=0.3)
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.1, 0.3}


def test_folders(tmp_path, bert):
    (tmp_path / "empty").mkdir()
    refused(r"folder .*empty has no config.json$", hf_model, str(tmp_path / "empty"), 2)
    refused(rf"has no config.json; there is one in {bert}", hf_model, str(bert.parent), 2)
    refused(r"there is no folder .*brt; did you mean 'bert'", hf_model, str(bert.parent / "brt"), 2)
    refused("is a file: name its folder", hf_model, str(bert / "config.json"), 2)
    (tmp_path / "empty" / "config.json").write_text("{")
    refused(r"config.json cannot be read", hf_model, str(tmp_path / "empty"), 2)
    (tmp_path / "empty" / "config.json").write_text("{}")
    refused(r"config.json cannot be read", hf_model, str(tmp_path / "empty"), 2)


def test_unknown_architectures(tmp_path):
    def config(**content):
        (tmp_path / "config.json").write_text(json.dumps(content))

    config(model_type="brt")
    refused(r"transformers \d\S+ has no architecture 'brt'; did you mean .*'bert'", hf_model, str(tmp_path), 2)
    (tmp_path / "own.py").write_text("raise SystemExit('the code of a repository ran')")
    config(model_type="mine", auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"})
    refused("brings its own code .*which is never run", hf_model, str(tmp_path), 2)
    config(model_type="vit", hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    refused(
        "architecture 'vit', for which transformers has no class that gives one answer per text",
        hf_model,
        str(tmp_path),
        2,
    )
    refused("architecture 'vit', whose ViTModel takes no texts", hf_model, str(tmp_path), 2, "embedding")


def test_decoders(tmp_path):
    from text_models import tiny_config

    tiny_config("t5").save_pretrained(tmp_path / "t5")
    refused("'t5', an encoder with a decoder: model=hf takes encoders alone", hf_model, str(tmp_path / "t5"), 2)
    tiny_config("gpt2").save_pretrained(tmp_path / "gpt2")
    refused("'gpt2', a decoder, and has no padding token", hf_model, str(tmp_path / "gpt2"), 2, pretrained=False)
    model = hf_model(str(tmp_path / "gpt2"), 2, pretrained=False, pad_token_id=0).eval()
    assert model(batch()).shape == (3, 2)
    assert model.head_path is None
    config = {"model_type": "codegen", "n_embd": 32, "n_layer": 1, "n_head": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused("'codegen', for which transformers has no class that gives one answer per text", hf_model, str(tmp_path), 2)


def test_pooling_of_a_folder(tmp_path):
    def model(mode="mean_tokens", normalize=False, more="", **arguments):
        folder = tmp_path / f"{mode}{normalize}{more}"
        save_model(folder, "bert")
        save_pooling(folder, mode, normalize, more)
        return hf_model(str(folder), 1, "embedding", **arguments)

    for mode, name in (("cls_token", "cls"), ("mean_tokens", "mean")):
        pooling = model(mode, normalize=mode == "cls_token").pooling
        assert (pooling.mode, pooling.normalize) == (name, mode == "cls_token")
    normalised = model("cls_token", True).eval()
    assert torch.allclose(normalised(batch()).norm(dim=1), torch.ones(3))
    again = hf_model(str(tmp_path / "cls_tokenTrue"), 1, "embedding", pooling="mean").pooling
    assert (again.mode, again.normalize) == ("mean", True)
    refused("pools by max_tokens .*set pooling to one of mean, cls", model, "max_tokens")
    refused("has a module Dense after its pooling", model, "mean_tokens", more="Dense")


def test_bert_of_sizes(tmp_path):
    tokenizer = save_tokenizer(tmp_path)
    model = bert_model(2, 32, 4, 3, str(tokenizer), class_names=["a", "b", "c"])
    assert model.config.vocab_size == len(WORDS)
    assert model.config.intermediate_size == 128
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert model(batch()).shape == (3, 3)
    assert bert_model(2, 32, 4, 3, str(tokenizer), "tokens")(batch()).shape == (3, 8, 3)
    assert bert_model(2, 32, 4, 3, str(tokenizer), "embedding")(batch()).shape == (3, 32)
    assert bert_model(1, 32, 4, 3, vocab_size=50, max_position_embeddings=64).max_length == 64


@pytest.mark.parametrize(("arguments", "match"), [
    ({"layers": 0}, "layers must be an integer of at least 1, got 0"),
    ({"width": 30}, "width=30 must be a multiple of heads=4"),
    ({"heads": 2.5}, "heads must be an integer of at least 1, got 2.5"),
    ({"tokenizer": None}, "tokenizer must be a folder, or a name on the Hugging Face Hub, got None"),
    ({"tokenizer": "./nix"}, "tokenizer: there is no folder ./nix"),
    ({"hiden_act": "relu"}, "takes no argument 'hiden_act'; did you mean 'hidden_act'"),
])  # fmt: skip
def test_sizes_that_do_not_fit(tmp_path, arguments, match):
    given = {"layers": 2, "width": 32, "heads": 4, "num_classes": 2, "tokenizer": str(save_tokenizer(tmp_path))}
    refused(match, bert_model, **{**given, **arguments})


def test_a_folder_without_a_tokenizer(bert):
    refused("tokenizer: .*bert has no tokenizer", bert_model, 2, 32, 4, 2, str(bert))


@pytest.mark.parametrize(("spec", "chosen"), [
    (1, [5]), (2, [2, 5]), (3, [1, 3, 5]), (6, [0, 1, 2, 3, 4, 5]), ("even", [0, 2, 4]), ([0, -1], [0, 5]), ((4,), [4]),
])  # fmt: skip
def test_layers(spec, chosen):
    assert choose_layers(spec, 6, "minilm") == chosen


@pytest.mark.parametrize("total", range(1, 30))
def test_spread_layers_are_distinct_and_end_with_the_last(total):
    for count in range(1, total + 1):
        layers = choose_layers(count, total, "x")
        assert layers[-1] == total - 1
        assert sorted(set(layers)) == layers
        assert len(layers) == count


@pytest.mark.parametrize(("spec", "match"), [
    (0, "layers=0: minilm has 6 layers: at least 1 and at most 6 can be taken"),
    (7, "layers=7: minilm has 6 layers"),
    ([0, 6], r"layers=\[0, 6\]: minilm has no layer 6; its layers are 0 to 5"),
    ([-7], "minilm has no layer -7"),
    ([1, 1], r"layers=\[1, 1\] names a layer twice"),
    ([5, -1], "names a layer twice"),
    ([], r"layers takes a number \(3\), a list \(\[0,2,4\]\) or even, got \[\]"),
    ("odd", "or even, got 'odd'"),
    (True, "or even, got True"),
    (2.0, "or even, got 2.0"),
    (None, "or even, got None"),
    (["a"], r"or even, got \['a'\]"),
])  # fmt: skip
def test_layers_that_there_are_not(spec, match):
    refused(match, choose_layers, spec, 6, "minilm")


def test_only_its_own_teacher_initialises_a_student(bert, tmp_path):
    student = from_teacher(str(bert), 2, 3)
    other = hf_model(str(save_model(tmp_path / "r", "roberta")), 3)
    refused(
        "cut from a BertForSequenceClassification, and its teacher is RobertaForSequenceClassification",
        student.adopt,
        other,
    )
    refused(
        "cut from a BertForSequenceClassification, and its teacher is Linear",
        student.adopt,
        torch.nn.Linear(2, 2),
    )
    refused(
        r"its classifier.weight is \(3, 32\), and the teacher has \(2, 32\)",
        student.adopt,
        hf_model(str(bert), 2),
    )
    shallow = hf_model(str(save_model(tmp_path / "s", "bert", num_hidden_layers=2)), 3)
    refused("and the teacher has none", student.adopt, shallow)
    wide = hf_model(str(save_model(tmp_path / "w", "bert", hidden_size=64)), 3)
    refused(r"and the teacher has \(20, 64\)", student.adopt, wide)


def test_layers_that_lie_in_no_list(tmp_path):
    folder = save_model(tmp_path / "albert", "albert")
    refused("'albert', whose layers lie in no list of their own: it cannot be cut", from_teacher, str(folder), 2, 2)
    model = hf_model(str(folder), 2)
    assert (model.stages, model.attention) == ((), ())
    assert model(batch()).shape == (3, 2)


def test_a_first_layer_that_cannot_be_left_out(tmp_path):
    folder = save_model(tmp_path / "modernbert", "modernbert")
    for pretrained in (True, False):
        refused(
            r"layers=\[1, 3\]: layer 1 of .* cannot stand at 0, where this architecture has no attn_norm.weight: begin",
            from_teacher, str(folder), [1, 3], 2, pretrained=pretrained,
        )  # fmt: skip
    student = from_teacher(str(folder), [0, 3], 2)
    whole = hf_model(str(folder), 2)
    assert student.config.layer_types == [whole.config.layer_types[i] for i in (0, 3)]


def test_inputs_that_are_no_texts(bert):
    from distill.distillation.inspection import inspect_model

    refused(
        "the model cannot run on inputs .*a text model takes a dict with input_ids and attention_mask, got Tensor",
        inspect_model,
        hf_model(str(bert), 2),
        torch.zeros(2, 3, 8, 8),
        "the model",
    )
