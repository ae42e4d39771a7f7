"""How fast generated kernels are: against a copy, and against what a user might use instead.

`plan` turns activations into plain data and needs the compiler; everything else needs torch, triton and a
generated package, and nothing of the compiler, so that a machine with a GPU can do without it:

    dslgen bench --plan build/plan.json
    python -m dsl.bench build/plan.json --json benchmarks/results/speed.json
"""
