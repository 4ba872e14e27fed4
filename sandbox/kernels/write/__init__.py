"""The source code of a kernel, generated from its plan for numba or Triton. Imports `trace`."""
