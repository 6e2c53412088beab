"""The wave engine: layer by layer, all steps of a layer at once; what ``sim.engine`` computes tick by tick."""
