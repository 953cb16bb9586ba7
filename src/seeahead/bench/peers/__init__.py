"""Other engines beside ours in one benchmark: each in an environment of its own, asked through a process.

`table` and `table.toml`: which there are; `set_up`: environments and converted models below the cache folder; `worker`:
the process; `outside`: it as a method of a benchmark. `run_genai` and `run_vllm` are the programs that these processes
run, with the Python of the other environment: they import nothing of seeahead.
"""
