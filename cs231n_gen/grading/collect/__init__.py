"""From downloads to `submitted/`: who handed in what, and what is refused."""
