"""Checks and runs an ONNX file as others do, with no code of the daemon's.

    python3 onnx_run.py MODEL < INPUTS

INPUTS is JSON: for each input of the model `shape` and `data`, the numbers one after the other, null where one is missing. Prints the
embeddings as a JSON list of rows.
"""

import json
import sys

import numpy
import onnx
import onnxruntime


def main(model):
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    types = {"tensor(float)": numpy.float32, "tensor(double)": numpy.float64, "tensor(int64)": numpy.int64}
    given = json.load(sys.stdin)
    inputs = {
        known.name: numpy.array(given[known.name]["data"], dtype=types[known.type]).reshape(given[known.name]["shape"])
        for known in session.get_inputs()
    }
    [embeddings] = session.run(["embedding"], inputs)
    print(json.dumps(embeddings.tolist()))


if __name__ == "__main__":
    main(*sys.argv[1:])
