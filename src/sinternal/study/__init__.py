"""From a recipe to a finished run: the plan, its cost, its execution, its folder."""
