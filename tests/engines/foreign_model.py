"""A model that knows nothing of HOGAR: it serves EARG's ``modeltest.PredictService`` and no more.

It listens on all addresses, asks nobody for a token, and says everything in capitals.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from earg.protos import model_pb2, model_pb2_grpc


class Shout(model_pb2_grpc.PredictServiceServicer):
    """The service."""

    def Predict(self, request: model_pb2.input, context: Any) -> model_pb2.output:
        return model_pb2.output(
            outputType=request.inputType, outputStream=request.inputStream.upper()
        )

    def BatchPredict(self, request: model_pb2.BatchInput, context: Any) -> model_pb2.BatchOuput:
        outputs = [self.Predict(one, context) for one in request.inputs]
        return model_pb2.BatchOuput(outputs=outputs, count=len(outputs))

    def SetProxy(self, request: model_pb2.proxyinfo, context: Any) -> model_pb2.response:
        return model_pb2.response(status="ok")

    def Ping(self, request: model_pb2.hi, context: Any) -> model_pb2.response:
        return model_pb2.response(status="ok")


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(4))
    model_pb2_grpc.add_PredictServiceServicer_to_server(Shout(), server)
    server.add_insecure_port(f"0.0.0.0:{os.environ.get('MODEL_PORT', '22222')}")
    server.start()
    server.wait_for_termination()
