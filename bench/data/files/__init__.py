"""Safe readers for the files of data sets, and the cache of converted data."""
