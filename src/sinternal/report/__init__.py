"""The report: what a run found, as one HTML file, a Markdown table and a JSON file for machines."""
