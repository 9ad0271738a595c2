"""A recorder that keeps a GPU's rules on the CPU: a recording reads and writes fixed memory and nothing else."""


class Replayed:
    def __init__(self, call):
        self._call = call
        self.replays = 0

    def replay(self):
        self.replays += 1
        self._call()


class CpuRecorder:
    def __init__(self):
        self.made = []

    def record(self, call):
        call()
        self.made.append(Replayed(call))
        return self.made[-1]
