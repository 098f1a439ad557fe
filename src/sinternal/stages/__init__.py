"""One file a stage.

A stage is a function of its settings and its input artifacts that fills a draft; it knows neither the recipe nor which
stage comes next.
"""
