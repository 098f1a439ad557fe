"""What can be done without a recipe: verify, diagnose, compare, agree."""
