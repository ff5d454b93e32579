"""A run of a scheme: records, checkpoints, and the folder from which it goes on."""
