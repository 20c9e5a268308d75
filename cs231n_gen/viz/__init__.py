"""Figures: one look for the whole course. Functions take arrays and numbers, never models."""

from cs231n_gen.viz.best_discriminator import BestDiscriminator
from cs231n_gen.viz.flow_field import FlowField
from cs231n_gen.viz.gan_stepper import GanStepper
from cs231n_gen.viz.guidance_vectors import GuidanceVectors
from cs231n_gen.viz.latent_walk import LatentWalk
from cs231n_gen.viz.moving import MovingFigure, show_static
from cs231n_gen.viz.schedule_lab import ScheduleLab
from cs231n_gen.viz.stills import (
    arrows,
    image_grid,
    levels_of,
    loss_curve,
    pairs_through,
    paths,
    points,
    roofline,
    square,
    steps_curve,
    taxonomy,
)
from cs231n_gen.viz.style import DATA, EXACT, GREY, LEARNED, NOISE, use_style
from cs231n_gen.viz.trajectories import Trajectories

__all__ = [
    "DATA",
    "EXACT",
    "GREY",
    "LEARNED",
    "NOISE",
    "BestDiscriminator",
    "FlowField",
    "GanStepper",
    "GuidanceVectors",
    "LatentWalk",
    "MovingFigure",
    "ScheduleLab",
    "Trajectories",
    "arrows",
    "image_grid",
    "levels_of",
    "loss_curve",
    "pairs_through",
    "paths",
    "points",
    "roofline",
    "show_static",
    "square",
    "steps_curve",
    "taxonomy",
    "use_style",
]
