"""Parts of bench_gpu: full-size networks with random weights, ours and the stock pipelines over them."""
