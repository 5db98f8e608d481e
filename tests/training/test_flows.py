"""Who teaches whom: the models of a run by role, their seeds, and a flow from outside this repository."""

import pytest

from distill.config.schema import typed
from distill.training.flows import Flows, check
from distill.training.prepare import prepare
from distill.training.roles import Role, RoleKind
from distill.utils.errors import UserError
from jobs import composed

FAST = ("threads=1", "data.subset=200", "trainer.accelerator=cpu")
THEIRS = """
from distill.training.flows import Flow, ModelConfig
from distill.training.roles import Role, RoleKind

class Before(Flow):
    def __init__(self, models):
        self.nodes = models

    def check(self, cfg):
        if not self.nodes:
            raise_user_error()

    def students(self, cfg):
        roles = [Role(RoleKind.ASSISTANT, i + 1) for i in range(len(self.nodes))]
        return [ModelConfig(role, "kd.flow.models", node, cfg.seed) for role, node in zip(roles, self.nodes)]

def raise_user_error():
    from distill.utils.errors import UserError
    raise UserError("kd.flow.models is empty")
"""


def flows(*overrides):
    return Flows(typed(composed(*overrides)))


@pytest.mark.parametrize(
    ("overrides", "roles"),
    [
        (["kd=none"], ["teacher", "student"]),
        (["kd=multi_teacher", "kd.teachers=[resnet14,vgg8]"], ["teacher", "teacher_2", "teacher_3", "student"]),
        (["kd=takd", "kd.assistants=[resnet14,vgg8]"], ["teacher", "assistant_1", "assistant_2", "student"]),
        (["kd=ban", "kd.generations=3"], ["teacher", "generation_1", "generation_2", "student"]),
        (["kd=dml", "kd.peers=[resnet14]"], ["teacher", "student", "peer_1"]),
        (["kd=[takd,ban]", "kd.generations=2"], ["teacher", "assistant_1", "generation_1", "student"]),
    ],
)
def test_every_model_by_its_role(overrides, roles):
    assert list(map(str, flows(*overrides).models())) == roles


def test_the_student_is_initialised_as_it_would_be_alone():
    seeds = {str(role): model.seed for role, model in flows("kd=ban", "kd.generations=3", "seed=7").models().items()}
    assert seeds == {"teacher": 0, "generation_1": 2007, "generation_2": 1007, "student": 7}
    assert flows("kd=dml", "seed=7").models()[Role(RoleKind.PEER)].seed == 1007


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "their_flow.py").write_text(THEIRS)
    (tmp_path / "kd").mkdir()
    lines = ["# Their flow", "defaults: [kd, _self_]", "flow: {_target_: their_flow.Before, models: ['${model}']}"]
    (tmp_path / "kd" / "theirs.yaml").write_text("\n".join(lines))
    return tmp_path


def test_a_flow_from_outside_is_a_class_and_a_yaml_file(theirs):
    cfg = composed(*FAST, "kd=theirs", f"teachers_dir={theirs / 'teachers'}", config_dirs=[theirs])
    check(typed(cfg))
    made = prepare(cfg, theirs)
    assert [str(stage.role) for stage in made.stages] == ["assistant_1", "student"]
    assert made.stages[1].teachers[0] is made.stages[0].student
    with pytest.raises(UserError, match="kd.flow.models is empty"):
        check(typed(composed(*FAST, "kd=theirs", "kd.flow.models=[]", config_dirs=[theirs])))


def test_what_is_no_flow_is_refused():
    with pytest.raises(UserError, match="kd.flow: builtins.dict is no distill.training.flows.Flow"):
        flows("kd=kd", "kd.flow={_target_:builtins.dict}")
