"""For teams that train with verl: a recipe's prompts, rewards and settings in its formats, written for verl 0.9.1.

`rows` and `config` are pure: rows of ours to rows of verl's, settings of ours to its settings. `rewards` and `manager`
run inside verl. `export` puts it all into a folder.
"""
