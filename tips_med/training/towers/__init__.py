"""Towers that learn: what training needs of a model, whatever the model is made of."""

from tips_med.training.towers.base import TrainableTowers, Tuning
from tips_med.training.towers.choice import trainable_towers

__all__ = ["TrainableTowers", "Tuning", "trainable_towers"]
