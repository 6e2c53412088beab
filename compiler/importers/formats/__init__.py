"""Readers of model files that execute nothing: containers, the pickle machine, tensor storages."""
