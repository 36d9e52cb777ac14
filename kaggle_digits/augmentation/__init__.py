"""Random changes to images, and the bank of augmented variants that all fits share."""
