"""A student of your own in a whole run: taught by a model of the zoo, opened again, asked.

The run finds the class by its name, ``own_model.TinyNet``; whoever opens the run says that it trusts that module.
"""

import torch
from torch import Tensor, nn

import distill

FOLDER = "outputs/examples/own_model"


class TinyNet(nn.Module):
    """The run passes num_classes, in_channels and image_size where the signature asks for them."""

    def __init__(self, num_classes: int, in_channels: int, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        self.fc = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of images (N, C, H, W)."""
        logits: Tensor = self.fc(self.features(images).mean((2, 3)))
        return logits


def main() -> None:
    """Trains on the digits that ship with scikit-learn."""
    summary = distill.train(
        [
            "model._target_=own_model.TinyNet",
            "teacher=resnet14",
            "teacher.recipe.max_epochs=5",
            "trainer.max_epochs=5",
        ],
        output_dir=FOLDER,
    )
    student, teacher = summary.student, summary.teacher
    assert student is not None
    assert teacher is not None
    print(f"teacher {teacher.test['acc']:.1%}, student {student.test['acc']:.1%} right on test")
    print(f"{teacher.size.parameters / student.size.parameters:.0f} times fewer parameters")
    model = distill.load(FOLDER, trust="own_model")
    print("an image of noise is taken for:", model.predict([torch.rand(1, 8, 8)]))


if __name__ == "__main__":
    main()
