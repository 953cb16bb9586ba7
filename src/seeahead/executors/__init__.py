"""Who runs a model: executors own slots and serve lists of trees (the contract is `seeahead.executor`)."""
