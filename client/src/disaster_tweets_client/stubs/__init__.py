"""Hold the gRPC stubs of TorchServe 0.12.0, generated from client/protos by client/generate_stubs.py.

They are committed, not generated at install: the client then installs without a compiler, also from a
plain checkout on the path. Generated code refuses a protobuf runtime that is older than itself or two
majors newer, from protobuf 5.26 on; the compiler of grpcio-tools 1.62.3 is the last that writes no such
check, so one set of stubs serves every runtime from 4.25 up. Their messages are in
a pool of their own (private_pool.py).

Source: protobuf, "Cross-Version Runtime Guarantee"; runtime_version.py of protobuf 5.26.
"""
