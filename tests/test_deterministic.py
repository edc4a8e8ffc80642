"""One model file gives one hardware graph: names and order of its nodes and tensors do not depend on the process."""

import os
import shutil
import subprocess
import sys

from vit_models import random_vit


def test_two_processes_write_identical_graphs_up_to_the_last_change_of_the_graph(tmp_path):
    source, _ = random_vit(image=8, depth=3, dim=24, heads=3, drop_at=(1, 2))
    source.save(str(tmp_path / "model.onnx"))
    command = [
        sys.executable, "-m", "finn_vitprune", "build", str(tmp_path / "model.onnx"), "-o", str(tmp_path / "build"),
        "--fpga-part", "xcu250-figd2104-2L-e", "--target-fps", "100000", "--stop-step", "step_insert_streams",
    ]  # fmt: skip
    found = []
    for seed in ("0", "7"):
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True)
        found.append({p.name: p.read_bytes() for p in (tmp_path / "build" / "intermediate_models").glob("**/*.onnx")})
        shutil.rmtree(tmp_path / "build")
    names = {"step_lower.onnx", "dataflow_parent.onnx", "step_fold.onnx", "step_insert_streams.onnx"}
    assert names <= found[0].keys() == found[1].keys()
    assert [name for name, data in found[0].items() if found[1][name] != data] == []
