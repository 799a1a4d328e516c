"""Safe readers of the files that data sets come in, and the cache that they are kept in."""
