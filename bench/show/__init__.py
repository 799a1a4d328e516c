"""What people look at: tables, the report, drawings, comparisons."""
