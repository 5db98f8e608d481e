"""Factor transfer (FT): distance of the student's translated factors from the teacher's paraphrased factors."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import as_map, map_shapes, match_size, normalisable
from distill.losses.checks import full_precision, positive, same_shape, zero
from distill.losses.features.fitnet import hint_loss

SLOPE = 0.1  # of the LeakyReLUs


@full_precision
def ft_loss(student_factor: Tensor, teacher_factor: Tensor) -> Tensor:
    """Factor transfer: mean of |n(F_s) − n(F_t)| over all elements, n(·) the division by a sample's L2 norm.

    Args:
        student_factor: F_s, shape (N, ...); all but the batch axis is one vector.
        teacher_factor: F_t, same shape.

    Returns:
        A scalar without unit, at most 2 / √D for factors of D elements; the scale of either factor does not count.

    Raises:
        ValueError: the shapes differ.

    Source: Kim, Park, Kwak 2018, "Paraphrasing Complex Network: Network Compression via Factor Transfer",
    arXiv:1802.04977 (L_FT with p = 1), the mean instead of the sum as in the authors' code. One well-known library
    squeezes a factor to the channel mean of its squares first, as attention transfer does; the authors keep the
    channels, and so does this.

    Example:
        >>> import torch
        >>> ft_loss(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])).item()
        0.4000000059604645
    """
    same_shape(student_factor, teacher_factor, "student_factor", "teacher_factor")
    return F.l1_loss(F.normalize(student_factor.flatten(1)), F.normalize(teacher_factor.flatten(1)))


def _layers(channels: Sequence[int], transposed: bool = False) -> nn.Sequential:
    """3×3 convolutions with these numbers of channels, each followed by BatchNorm and LeakyReLU."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        convolution = (nn.ConvTranspose2d if transposed else nn.Conv2d)(inputs, outputs, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


class FT(nn.Module):
    """:func:`ft_loss` between the factors that a paraphraser (teacher) and a translator (student) make of two maps.

    The paraphraser is an autoencoder of the teacher's map: three 3×3 convolutions to k times its channels and three
    transposed ones back, trained in a pretraining stage and then frozen. The translator has the encoder's form and
    learns with the student. Every convolution is followed by BatchNorm and LeakyReLU (slope 0.1): the reference codes
    leave BatchNorm out of the paraphraser and lower the learning rate of its phase instead, which is not possible
    where a recipe has one rate. Where the maps differ in size, the larger factor is average-pooled to the smaller.

    Args:
        k: paraphrase rate, > 0: channels of a factor over channels of the teacher's map (paper: 0.5).
    """

    fixed = ("k",)  # no schedule can change them

    def __init__(self, k: float = 0.5) -> None:
        super().__init__()
        self.k = positive("k", k)
        self.frozen = False
        self.encoder: nn.Module = nn.Identity()
        self.decoder: nn.Module = nn.Identity()
        self.translator: nn.Module = nn.Identity()

    def build(self, student_feature: Sequence[int], teacher_feature: Sequence[int]) -> None:
        s, t = (shape[1] for shape in map_shapes(student_feature, teacher_feature, "have no factors"))
        factor = max(1, round(self.k * t))
        self.encoder = _layers((t, t, factor, factor))
        self.decoder = _layers((factor, factor, t, t), transposed=True)
        self.translator = _layers((s, s, factor, factor))

    def pretraining_loss(self, teacher_feature: Tensor) -> Tensor:
        """The paraphraser's reconstruction loss, mean (decoder(encoder(f_t)) − f_t)²; the authors' code: mean |·|."""
        feature = as_map(teacher_feature)
        if self.training and not normalisable(feature):
            return zero(*self.decoder.parameters())
        return hint_loss(self.decoder(self.encoder(feature)), feature)

    def after_pretraining(self) -> None:
        """Freezes the paraphraser: no gradient, and eval mode whatever is called from now on."""
        self.frozen = True
        for module in (self.encoder, self.decoder):
            module.requires_grad_(False).eval()
            module.zero_grad(set_to_none=True)  # a gradient left behind would let weight decay move it

    def train(self, mode: bool = True) -> "FT":
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
            self.decoder.eval()
        return self

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.frozen)

    def set_extra_state(self, state: Tensor) -> None:
        if bool(state):
            self.after_pretraining()

    def forward(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        feature = as_map(student_feature)
        if self.training and not normalisable(feature):
            return zero(feature)
        with torch.no_grad():
            teacher = self.encoder(as_map(teacher_feature))
        return ft_loss(*match_size(self.translator(feature), teacher))
