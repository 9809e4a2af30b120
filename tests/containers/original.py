"""A model as EARG's own images have them: it speaks the plain protocol, and knows of no token."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from earg.protos import model_pb2, model_pb2_grpc


class Shout(model_pb2_grpc.PredictServiceServicer):
    """Upper case, and an exclamation mark."""

    def Predict(self, request: model_pb2.input, context: Any) -> model_pb2.output:
        return model_pb2.output(outputType="text", outputStream=f"{request.inputStream.upper()}!")

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
    server.add_insecure_port(f"0.0.0.0:{os.environ['MODEL_PORT']}")
    server.start()
    server.wait_for_termination()
