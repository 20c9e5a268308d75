"""How kernels are checked: stages, sweeps over sizes and layouts, references, precision."""
