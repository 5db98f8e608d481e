"""The roles that models play in a run."""

from dataclasses import dataclass
from enum import StrEnum


class RoleKind(StrEnum):
    """Kinds of roles, in the order in which a run's models are shown."""

    TEACHER = "teacher"
    TEACHERS = "teachers"  # several teachers combined
    ASSISTANT = "assistant"
    GENERATION = "generation"
    STUDENT = "student"
    PEER = "peer"
    BASELINE = "alone"  # the same student of another run, trained without a teacher


NUMBERED = (RoleKind.ASSISTANT, RoleKind.GENERATION, RoleKind.PEER)  # from the first one on; teachers from the second


@dataclass(frozen=True)
class Role:
    """The kind of a model and, where a run has several of them, its number, counted from 1.

    Example:
        >>> str(Role.parse("teacher_2")), Role.parse("peer_1").label, Role.parse("alone").label
        ('teacher_2', 'peer 1', 'student without distillation')
    """

    kind: RoleKind
    number: int = 1

    @classmethod
    def parse(cls, text: str) -> "Role":
        """Parses a role as it is written in files; raises a ValueError for an unknown one."""
        kind, _, number = text.partition("_")
        return cls(RoleKind(kind), int(number or 1))

    def __str__(self) -> str:
        return f"{self.kind}_{self.number}" if self.kind in NUMBERED or self.number > 1 else str(self.kind)

    def __lt__(self, other: "Role") -> bool:
        order = list(RoleKind)
        return (order.index(self.kind), self.number) < (order.index(other.kind), other.number)

    @property
    def label(self) -> str:
        return "student without distillation" if self.kind == RoleKind.BASELINE else str(self).replace("_", " ")


TEACHER, STUDENT, TEACHERS, BASELINE = map(
    Role, (RoleKind.TEACHER, RoleKind.STUDENT, RoleKind.TEACHERS, RoleKind.BASELINE)
)
