"""Other engines beside ours in one benchmark: each in an environment of its own, asked through a process.

`table` and `table.toml`: which there are; `set_up`: environments and converted models below the cache folder; `worker`:
the process; `outside`: it as a method of a benchmark. `programs/` is what these processes run, with the Python of the
other environment: it imports nothing of seeahead.
"""
