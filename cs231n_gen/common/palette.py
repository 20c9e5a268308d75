"""The colours of the course, read from palette.json: Okabe and Ito's, told apart by any eye.

Figures in JavaScript read the same file, so that a colour is written down once.
"""

import json
from pathlib import Path

COLORS: dict[str, str] = json.loads(Path(__file__).with_name("palette.json").read_text("utf-8"))[
    "colors"
]

DATA = COLORS["data"]  # blue
NOISE = COLORS["noise"]  # orange
LEARNED = COLORS["learned"]  # vermilion: what a net says
EXACT = COLORS["exact"]  # green: what the best net would say
GREY = COLORS["grey"]
MIDDLE = COLORS["middle"]  # lighter: half way from noise to data
PURPLE, SKY, YELLOW = (COLORS[name] for name in ("purple", "sky", "yellow"))
OTHERS = [PURPLE, SKY, YELLOW]

GOOD, OPEN, BAD = EXACT, NOISE, LEARNED  # of checks and grades
