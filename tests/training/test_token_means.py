"""The gradient of a step of a language model is that of the mean over all its tokens, however it is cut up."""

import torch

from distill.data.sources import texts
from distill.data.text.language import LanguageDataModule
from distill.distillation.criterion import Criterion
from distill.models import hf_model
from distill.tasks.causal_lm import CausalLM
from distill.training.module import DistillationModule
from language_models import save_llama, save_tokenizer, write_documents
from quiet_trainer import WARNINGS, trainer

pytestmark = WARNINGS


class Stopped(DistillationModule):
    """Keeps the gradients that its optimizer is given."""

    def configure_gradient_clipping(self, *_args, **_settings):
        self.given = {name: p.grad.clone() for name, p in self.student.named_parameters()}


def gradients(folder, batch_size, batches):
    data = LanguageDataModule.from_options(
        lambda: texts(str(folder / "docs.jsonl"), targets="next_token"),
        batch_size=batch_size, tokenizer=str(folder), targets="next_token", max_length=24,
    )  # fmt: skip
    task = CausalLM(0)
    model = hf_model(str(folder), 2, output="causal")
    module = Stopped(model, Criterion(task=task), task, optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
    trainer(max_steps=1, accumulate_grad_batches=batches, limit_val_batches=0).fit(module, datamodule=data)
    return module.given


def test_four_batches_of_two_give_the_gradient_of_one_of_eight(tmp_path):
    save_llama(tmp_path), save_tokenizer(tmp_path)
    write_documents(tmp_path / "docs.jsonl", 60)
    whole, parts = gradients(tmp_path, 8, 1), gradients(tmp_path, 2, 4)
    for name, gradient in whole.items():
        assert torch.allclose(parts[name], gradient, rtol=1e-4, atol=1e-6), name
    assert max(float(g.abs().max()) for g in whole.values()) > 1e-2
