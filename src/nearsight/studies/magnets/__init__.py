"""What studies of itinerant magnets share: torques of electrons, exact and learned, and the motion they cause."""
