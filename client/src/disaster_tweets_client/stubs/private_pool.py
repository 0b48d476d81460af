"""The pool that the generated stubs put their messages into.

protobuf's default pool is one for the whole process and takes each file name and each message name once. A program with
an `inference.proto` of its own, or with other stubs of TorchServe, could not import ours beside it.
"""

from __future__ import annotations

from google.protobuf import any_pb2, descriptor_pool, empty_pb2
from google.rpc import status_pb2

POOL = descriptor_pool.DescriptorPool()
for _file in (any_pb2, empty_pb2, status_pb2):  # what TorchServe's files import, in the order of their own imports
    POOL.AddSerializedFile(_file.DESCRIPTOR.serialized_pb)
