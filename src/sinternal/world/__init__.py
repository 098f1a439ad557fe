"""The microworld: a formal language about brewing potions, a tiny reasoning model that speaks it, and its oracles.

It plugs into the registries like any other package; no stage knows of it.
"""
