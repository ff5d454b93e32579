"""One module a study; every public one exports ``STUDY``."""
