"""The workbench side of cxr-edge: a trained Keras classifier becomes one ONNX file that carries its contract."""
