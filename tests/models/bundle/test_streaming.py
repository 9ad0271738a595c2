"""A file's tensors on their way to a device, a window of them at a time."""

import torch
from safetensors.torch import save_file

from models.bundle.streaming import read_tensors, stream

CPU = torch.device("cpu")


def test_all_arrive_and_never_more_than_a_window_is_under_way(tmp_path):
    path = tmp_path / "w.safetensors"
    sizes = [3, 1, 4, 1, 5, 9, 2]
    save_file({f"t{i}": torch.full((size,), float(i)) for i, size in enumerate(sizes)}, path)
    under_way, most, waits = [0], [0], [0]

    def send(tensor):
        under_way[0] += tensor.nbytes
        most[0] = max(most[0], under_way[0])
        return tensor.clone()

    def wait():
        waits[0] += 1
        under_way[0] = 0

    tensors = stream(path, send, wait, window_bytes=9 * 4)
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        f"t{i}": [float(i)] * size for i, size in enumerate(sizes)
    }
    assert most[0] <= 9 * 4
    assert under_way[0] == 0
    assert waits[0] >= 3


def test_a_cpu_reads_the_file_as_it_is(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.arange(3)}, path)
    assert read_tensors(path, CPU)["a"].tolist() == [0, 1, 2]
