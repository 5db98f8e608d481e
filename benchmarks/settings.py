"""How much is measured: enough for a median on two quiet cores in about half an hour, or just enough to see it work."""

from dataclasses import dataclass

WITH_PEER = ("live", "cached", "float32", "sweep", "start", "texts")
GROUPS = (*WITH_PEER, "together", "teacher", "peak", "sizes", "many_texts")


@dataclass(frozen=True)
class Settings:
    """Numbers of steps, images and repetitions.

    Args:
        rounds: turns of every side; of disturbed ones half as many again are repeated.
        turn: steps of one turn of ours; the peer, whose steps take longer, takes a third.
        warm_up: steps before.
        sweep_images: training images of one point of the sweep.
        sweep_epochs: of each point.
        sweep_points: T × alpha.
        sweep_peer: single runs of the peer, whose median stands for as many as there are points.
        starts: repetitions of a start.
        students: that are trained together.
        size_steps: steps of every size.
        compiled: whether sides that train in turns are, as a long run is.
        texts: training texts of which memory and the time to the first step are taken.
        sizes: what is varied, one at a time: batch, image side in pixels, student, training images.
    """

    rounds: int = 9
    turn: int = 12
    warm_up: int = 5
    sweep_images: int = 2560
    sweep_epochs: int = 3
    sweep_points: tuple[tuple[float, ...], tuple[float, ...]] = ((1.0, 2.0, 4.0, 8.0), (0.1, 0.5, 0.9))
    sweep_peer: int = 2
    starts: int = 3
    students: int = 4
    size_steps: int = 4
    compiled: bool = True
    texts: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    sizes: tuple[tuple[str, tuple[int | str, ...]], ...] = (
        ("batch", (16, 64, 256, 1024)),
        ("image", (32, 64, 128, 224)),
        ("student", ("resnet8", "resnet8x4", "resnet18", "resnet50")),
        ("data", (2_000, 50_000, 200_000, 1_000_000)),
    )

    @property
    def peer_turn(self) -> int:
        """Steps of one turn of the peer."""
        return max(2, self.turn // 3)

    @property
    def images(self) -> int:
        """Training images of one epoch of a side that trains in turns: warm-up and turns fill it."""
        return self.warm_up + (self.rounds + self.repeats) * self.turn

    @property
    def repeats(self) -> int:
        """Disturbed rounds that are repeated at most."""
        return -(-self.rounds // 2)


def for_cuda() -> Settings:
    """On a GPU a step takes a thirtieth: more of them, and more images."""
    return Settings(rounds=7, turn=150, warm_up=30, sweep_images=12_800)


def quick(rounds: int | None) -> Settings:
    """Seconds instead of minutes; the numbers mean little."""
    return Settings(
        rounds=rounds or 2, turn=2, warm_up=2, sweep_images=256, sweep_epochs=1, sweep_points=((2.0, 4.0), (0.1,)),
        sweep_peer=1, starts=1, students=2, size_steps=1, compiled=False, texts=(2_000,),
        sizes=(("batch", (8, 16)), ("data", (2_000,))),
    )  # fmt: skip
