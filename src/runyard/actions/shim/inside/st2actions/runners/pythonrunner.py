"""The base of actions, by its old name."""

from st2common.runners.base_action import Action

__all__ = ["Action"]
