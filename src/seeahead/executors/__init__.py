"""Who runs a model: executors own slots and serve lists of trees (the contract is `seeahead.executor`)."""

EXECUTORS = ("auto", "transformers", "openvino", "graphs", "kernels", "exact")
DTYPES = ("auto", "float32", "bfloat16", "float16", "int8", "int4")
"""Of weights, by the names that users give."""
