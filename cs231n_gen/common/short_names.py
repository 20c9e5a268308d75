"""What students import by its short name (`from cs231n_gen import data`, or
`from cs231n_gen.training import Run` in a file they handed in), and where it is in the package."""

GIVEN = ("data", "judge", "metrics", "mlp", "processes", "toys", "training", "unet")
SHORT = {name: f"given.{name}" for name in GIVEN}
SHORT |= {"doctor": "cli.doctor", "schedule_trial": "experiments.schedule_trial"}
