"""Figures: one look for the whole course. Functions take arrays and numbers, never models."""

from cs231n_gen.common.palette import DATA, EXACT, GREY, LEARNED, MIDDLE, NOISE, SKY
from cs231n_gen.viz.figures.best_discriminator import BestDiscriminator
from cs231n_gen.viz.figures.code_lab import CodeLab
from cs231n_gen.viz.figures.few_steps import FewSteps
from cs231n_gen.viz.figures.flow_field import FlowField
from cs231n_gen.viz.figures.gan_stepper import GanStepper
from cs231n_gen.viz.figures.guidance_vectors import GuidanceVectors
from cs231n_gen.viz.figures.latent_walk import LatentWalk
from cs231n_gen.viz.figures.patch_lab import PatchLab
from cs231n_gen.viz.figures.process_lab import ProcessLab
from cs231n_gen.viz.figures.schedule_lab import ScheduleLab
from cs231n_gen.viz.figures.trajectories import Trajectories
from cs231n_gen.viz.figures.type_a_caption import TypeACaption
from cs231n_gen.viz.figures.water_level import WaterLevel
from cs231n_gen.viz.pictures import captioned
from cs231n_gen.viz.plots import (
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
from cs231n_gen.viz.style import use_style
from cs231n_gen.viz.widget import MovingFigure, show_static

__all__ = [
    "DATA",
    "EXACT",
    "GREY",
    "LEARNED",
    "MIDDLE",
    "NOISE",
    "SKY",
    "BestDiscriminator",
    "CodeLab",
    "FewSteps",
    "FlowField",
    "GanStepper",
    "GuidanceVectors",
    "LatentWalk",
    "MovingFigure",
    "PatchLab",
    "ProcessLab",
    "ScheduleLab",
    "Trajectories",
    "TypeACaption",
    "WaterLevel",
    "arrows",
    "captioned",
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
