"""The search for a better instruction on the model itself: no stage asks a model to judge or to rewrite."""
