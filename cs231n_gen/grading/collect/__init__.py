"""From downloads to `submitted/`: who handed in what, and what is refused.

`finder` looks for candidates among folders and zips, `untrusted_zip` and `untrusted_files` decide
what is safe to read, `identify` and `roster` say whose it is, `select` and `check_contents` make an
attempt of it, `store` puts the newest in place, and `collect` runs them all.
"""
