"""The command line: `cs231n-gen lab`, `doctor`, `check`, `submit`; more for instructors."""
