"""A training context in the loops of other libraries, none of which is imported by these modules
unless the function's own code has it."""
