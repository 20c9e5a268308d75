"""What every part of the course needs: paths, files, processes, tables."""
