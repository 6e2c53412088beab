"""Recording what a PyTorch module does on an example; ``compiler.importers.trace`` is the way in."""
