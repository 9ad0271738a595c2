"""onnxruntime reports home by default; here it must not get as far as making itself a device id."""

import os
import subprocess
import sys


def test_loading_a_network_leaves_no_device_id_behind(tmp_path):
    code = "from models.faces import load_analyzer; from pathlib import Path; load_analyzer('bundled', "
    code += "bundled_dir=Path('models/weights/tiny'), faces_dir=None, device='cpu', threads=1)"
    names = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    folders = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment | folders, timeout=60, check=True)
    assert list(tmp_path.rglob("*")) == []
