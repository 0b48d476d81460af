"""Write a TorchScript file that two builds of the same module write alike.

`torch.jit.save` adds debug records: the Python stack of each operation, with the paths of the machine that
traced it. They differ between callers, tell strangers about that machine, and nothing at run time needs them.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import torch

DEBUG_SUFFIX = ".debug_pkl"
# The writer makes these itself, the id from the other records' content.
WRITTEN_ANYWAY = (".data/serialization_id", "version", "byteorder")


def save_torchscript(module: torch.jit.ScriptModule, path: Path) -> None:
    """Save a module without debug records.

    Args:
        module: traced or scripted.
        path: of the file to write.

    Raises:
        OSError: the file cannot be written.

    Source: torch 2.13, caffe2/serialize/inline_container.cc (records, alignment, serialization_id).
    """
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    # Into memory first: on a full disk torch's own file writer ends the process.
    written = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(written)
    with zipfile.ZipFile(buffer) as saved:
        for entry in saved.namelist():
            name = entry.partition("/")[2]
            if name.endswith(DEBUG_SUFFIX) or name in WRITTEN_ANYWAY:
                continue
            content = saved.read(entry)
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    path.write_bytes(written.getvalue())
