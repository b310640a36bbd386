"""The place of `config.experiment` and of `core.errors.ConfigError` in version 0.1."""

from sam2act.config.experiment import ExperimentConfig as ExperimentConfig
from sam2act.config.experiment import LanguageConfig as LanguageConfig
from sam2act.core.errors import ConfigError as ConfigError
