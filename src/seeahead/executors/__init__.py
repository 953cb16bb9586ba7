"""Who runs a model: executors own slots and serve lists of trees (the contract is `seeahead.executor`)."""

EXECUTORS = ("auto", "transformers", "openvino", "graphs", "kernels", "exact")
DTYPES = ("auto", "float32", "bfloat16", "float16", "int8", "int4")
"""Of weights, by the names that users give."""


def kind_of(name: str) -> str:
    """One of EXECUTORS: which of them calls itself by that name, which also tells what it makes of the weights."""
    return name.partition(" ")[0].rstrip(",")
