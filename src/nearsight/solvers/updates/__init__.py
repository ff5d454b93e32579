"""Changes of the potential under local changes of a matrix, from Green functions."""
