"""The group ``teacher`` has the options of the group ``model``, those of ``--config-dir`` included."""

from dataclasses import replace

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin

TEACHER, MODEL = "teacher", "model"


class TeacherSource(ConfigSource):
    """Resolves ``teacher/<option>`` to ``model/<option>`` of the other sources, unless they have the former."""

    @staticmethod
    def scheme() -> str:
        return "teachers"

    def _find(self, config_path: str) -> tuple[ConfigSource, str] | None:
        """The source of a model, and its path there."""
        group, _, option = config_path.partition("/")
        hydra = GlobalHydra.instance()
        if group != TEACHER or not option or not hydra.is_initialized():
            return None
        others = [source for source in hydra.config_loader().get_sources() if not isinstance(source, TeacherSource)]
        if any(source.is_config(config_path) for source in others):
            return None
        path = f"{MODEL}/{option}"
        return next(((source, path) for source in others if source.is_config(path)), None)

    def load_config(self, config_path: str) -> ConfigResult:
        match = self._find(config_path)
        assert match is not None  # Hydra asks is_config first
        source, path = match
        return replace(source.load_config(path), provider=self.provider)

    def is_group(self, config_path: str) -> bool:
        return config_path in ("", TEACHER)

    def is_config(self, config_path: str) -> bool:
        return self._find(config_path) is not None

    def available(self) -> bool:
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path != TEACHER:
            return [TEACHER] if results_filter != ObjectType.CONFIG else []
        return GlobalHydra.instance().config_loader().get_group_options(MODEL, results_filter)


class TeacherSearchPath(SearchPathPlugin):
    """Adds the source to the search path of this package's commands."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if any(element.path == "pkg://distill.conf" for element in search_path.get_path()):
            search_path.append(provider="distill", path="teachers://")
