"""What lets Triton be imported, interpreted and watched on any machine."""
