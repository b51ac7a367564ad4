"""Makes tests/oracles/checkpoint_v1.safetensors: a checkpoint of format 1, written without this crate.

Three parameters under SGD with momentum 0.9, learning rate 0.001 and no dimer, after 7 steps of which one
was skipped. Settings that came later (skip_non_finite, max_consecutive_skips, storage, loss_scale) are not
in it, as in a file from before.

Run with:  pip install safetensors numpy  &&  python tests/oracles/checkpoint_v1.py
"""

import json
import pathlib
import struct
import zlib

import numpy as np
from safetensors.numpy import save_file

TENSORS = {
    "params/params": np.array([0.5, -1.25, 3.0], np.float32),
    "first_moment/params": np.array([1.0, 0.25, -2.0], np.float32),
    "calibration": np.zeros(4, np.float32),
    # A `Record` (shaders/common/types.wgsl): index of the last step, updates, skips, rotations, status ...
    "record": np.array([6, 6, 1, 0, 4] + 23 * [0], np.uint32),
}
CONFIG = {
    "base": {"Sgd": {"momentum": 0.9, "nesterov": False}},
    "dimer": None,
    "learning_rate": 0.001,
    "max_gradient_norm": None,
    "weight_decay": 0.01,
}
GROUPS = {"params": {"dimer": True, "learning_rate_scale": 1.0, "weight_decay": None}}
PROGRESS = {
    "gradient_evaluations": 7,
    "index": 7,
    "learning_rate": struct.unpack("<I", struct.pack("<f", 0.001))[0],
    "plateau": None,
    "supplies_loss": True,
    "turned": False,
}


def checksum(tensors, metadata):
    """CRC-32 of every name, shape, kind and word, and of every entry of the metadata, sorted by name; each
    behind its length in bytes, as 64 bits."""
    fields = []
    for name, tensor in sorted(tensors.items()):
        shape = struct.pack(f"<{tensor.ndim}Q", *tensor.shape)
        fields += [name.encode(), shape, bytes([tensor.dtype == np.float32]), tensor.tobytes()]
    for key, value in sorted(metadata.items()):
        fields += [key.encode(), value.encode()]
    crc = 0
    for field in fields:
        crc = zlib.crc32(struct.pack("<Q", len(field)) + field, crc)
    return f"{crc:08x}"


def main():
    metadata = {"dimer_format": "1"}
    for key, value in [("config", CONFIG), ("groups", GROUPS), ("progress", PROGRESS)]:
        metadata[key] = json.dumps(value)
    metadata["crc32"] = checksum(TENSORS, metadata)
    save_file(TENSORS, pathlib.Path(__file__).with_suffix(".safetensors"), metadata)


main()
