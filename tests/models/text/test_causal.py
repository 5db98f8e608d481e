"""Causal models: documents in a row are apart, the output layer makes the logits, layers are cut."""

import pytest
import torch
import torch.nn.functional as F

from distill.data.text.encoded import offsets_of
from distill.data.text.packing import pack
from distill.models import from_teacher, hf_model, llama_model
from distill.utils.errors import UserError
from language_models import save_llama
from text_models import save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("llama"))


def nats(model, inputs, target):
    logits = model.output_layer(model(inputs))
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_loss_of_a_packed_document_is_that_of_the_document_alone(folder, tmp_path, kind):
    if kind == "gpt2":
        folder = save_model(tmp_path / "gpt2", "gpt2", head="CausalLM", vocab_size=18)
    model = hf_model(str(folder), 2, output="causal").eval()
    lengths = [7, 5, 3, 9, 2]
    ids = torch.randint(3, 18, (sum(lengths),), generator=torch.Generator().manual_seed(0)).int()
    rows = pack(ids, torch.ones(len(ids), dtype=torch.bool), offsets_of(torch.tensor(lengths).numpy()), 16)
    inputs, target = rows.batch(torch.arange(len(rows)), pad_id=0, max_length=16)
    assert len(rows) < len(lengths)
    with torch.no_grad():
        together = nats(model, inputs, target)
        alone = sum(
            F.cross_entropy(model.model(input_ids=part[None].long()).logits[0, :-1], part[1:].long(), reduction="sum")
            for part in ids.split(lengths)
        )
    assert float(together) == pytest.approx(float(alone), rel=1e-5)


def test_layers_of_the_teacher_with_its_embeddings(folder):
    teacher, student = hf_model(str(folder), 2, output="causal"), from_teacher(str(folder), [0, 3], 2, output="causal")
    assert student.output_layer.weight is student.model.get_input_embeddings().weight
    assert torch.equal(student.output_layer.weight, teacher.output_layer.weight)
    assert torch.equal(
        student.model.model.layers[1].mlp.up_proj.weight, teacher.model.model.layers[3].mlp.up_proj.weight
    )


def test_a_llama_from_sizes():
    model = llama_model(layers=2, width=48, heads=4, vocab_size=50)
    assert model({"input_ids": torch.zeros(1, 5, dtype=torch.int64)}).shape == (1, 5, 48)
    assert model.output_layer.out_features == 50


def test_an_encoder_is_no_language_model(tmp_path):
    save_model(tmp_path / "bert", "bert", vocab_size=18)
    with pytest.raises(UserError, match="BertLMHeadModel"):
        hf_model(str(tmp_path / "bert"), 2, output="causal", pretrained=False)
