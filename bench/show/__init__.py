"""What a reader sees of the results: tables, the report, drawings, comparisons."""
