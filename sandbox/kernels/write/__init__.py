"""Source code of a kernel from its plan, in the words of numba or of Triton. Imports `trace`."""
