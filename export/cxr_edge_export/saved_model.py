"""Loading a TensorFlow SavedModel folder: its `serving_default` signature, after looking at what its graph would do."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cxr_edge.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxr_edge_export.keras_model import SourceModel

# what networks for images are made of, by kind; none of these runs Python or reads or writes a file or a socket
INFERENCE: Final = {
    "calls": "PartitionedCall StatefulPartitionedCall If StatelessIf While StatelessWhile Case StatelessCase Switch"
    " RefSwitch Merge Enter Exit NextIteration LoopCond ControlTrigger NoOp Assert",
    "values": "Const Placeholder PlaceholderWithDefault PlaceholderV2 Identity IdentityN Snapshot EnsureShape"
    " StopGradient PreventGradient CheckNumerics Cast Bitcast Fill ZerosLike OnesLike Empty Range LinSpace OneHot"
    " DeepCopy",
    "variables": "VarHandleOp VariableV2 Variable VarIsInitializedOp IsVariableInitialized ReadVariableOp Assign"
    " AssignVariableOp AssignAdd AssignAddVariableOp AssignSub AssignSubVariableOp VariableShape ResourceGather"
    " ResourceGatherNd DisableCopyOnRead",
    "arithmetic": "Add AddV2 AddN Sub Mul MulNoNan Div DivNoNan RealDiv FloorDiv TruncateDiv Mod FloorMod Neg Abs Sign"
    " Square SquaredDifference Sqrt Rsqrt Pow Exp Expm1 Log Log1p Inv Reciprocal Maximum Minimum Floor Ceil Round Rint"
    " ClipByValue Sin Cos Tan Sinh Cosh Asin Acos Atan Atan2 Asinh Acosh Atanh Erf Erfc Erfinv Lgamma Digamma Xlogy"
    " Xlog1py Xdivy Cumsum Cumprod L2Loss",
    "comparison": "Equal NotEqual ApproximateEqual Less LessEqual Greater GreaterEqual LogicalAnd LogicalOr LogicalNot"
    " Select SelectV2 Where IsFinite IsInf IsNan BitwiseAnd BitwiseOr BitwiseXor Invert",
    "reduction": "Sum Mean Prod Max Min All Any ArgMax ArgMin EuclideanNorm TopK TopKV2 SegmentSum SegmentMean"
    " UnsortedSegmentSum UnsortedSegmentMax UnsortedSegmentMin Bincount DenseBincount InTopKV2",
    "matrices": "MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum Cross Diag DiagPart MatrixDiag MatrixDiagV3"
    " MatrixDiagPart MatrixDiagPartV3 MatrixSetDiagV3 MatrixBandPart",
    "convolution": "Conv Conv2D Conv3D Conv2DBackpropInput Conv2DBackpropInputV2 Conv2DBackpropFilter"
    " Conv3DBackpropInputV2 DepthwiseConv2dNative DepthwiseConv2dNativeBackpropInput Dilation2D ExtractImagePatches"
    " BiasAdd BiasAddV1 SpaceToBatch SpaceToBatchND BatchToSpace BatchToSpaceND SpaceToDepth DepthToSpace",
    "pooling": "AvgPool AvgPool3D MaxPool MaxPoolV2 MaxPool3D MaxPoolWithArgmax FractionalAvgPool FractionalMaxPool",
    "normalization": "FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 BatchNormWithGlobalNormalization LRN",
    "activation": "Relu Relu6 LeakyRelu Elu Selu Sigmoid Tanh Softmax LogSoftmax Softplus Softsign",
    "their gradients": "ReluGrad Relu6Grad LeakyReluGrad EluGrad SeluGrad SigmoidGrad TanhGrad SoftplusGrad"
    " SoftsignGrad SqrtGrad RsqrtGrad ReciprocalGrad InvGrad BiasAddGrad"
    " BroadcastGradientArgs",  # of custom ones, never run here
    "shape": "Shape ShapeN Size Rank Reshape ExpandDims Squeeze Concat ConcatV2 ConcatOffset Pack Unpack Split SplitV"
    " Slice StridedSlice Gather GatherV2 GatherNd ScatterNd TensorScatterUpdate TensorScatterAdd Pad PadV2 MirrorPad"
    " Transpose ConjugateTranspose InvertPermutation Tile BroadcastTo BroadcastArgs Reverse ReverseV2 Roll"
    " DynamicStitch ParallelDynamicStitch DynamicPartition LowerBound UpperBound",
    "lists": "TensorListReserve TensorListFromTensor TensorListStack TensorListGetItem TensorListSetItem"
    " TensorListLength TensorListElementShape TensorListPushBack TensorListPopBack TensorListResize EmptyTensorList"
    " TensorArrayV3 TensorArrayReadV3 TensorArrayWriteV3 TensorArrayGatherV3 TensorArrayScatterV3 TensorArraySizeV3"
    " TensorArrayCloseV3",
    "images": "ResizeBilinear ResizeNearestNeighbor ResizeBicubic ResizeArea ScaleAndTranslate CropAndResize"
    " ImageProjectiveTransformV2 ImageProjectiveTransformV3 AdjustContrastv2 AdjustHue AdjustSaturation RGBToHSV"
    " HSVToRGB NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5",
    "fake quantization": "FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel"
    " QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeV2"
    " Dequantize",
    "random": "RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal RandomShuffle Multinomial"
    " StatelessRandomUniform StatelessRandomUniformV2 StatelessRandomUniformInt StatelessRandomUniformIntV2"
    " StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2 StatelessRandomNormal StatelessRandomNormalV2"
    " StatelessTruncatedNormal StatelessTruncatedNormalV2 StatelessMultinomial StatelessRandomGetAlg"
    " StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomGammaV2 StatelessRandomBinomial"
    " StatelessShuffle RngReadAndSkip",
}
INFERENCE_OPERATIONS: Final = frozenset(name for names in INFERENCE.values() for name in names.split())
# of the two functions with which every SavedModel saves and restores its own weights
SAVING_FUNCTIONS: Final = ("__inference__traced_save", "__inference__traced_restore")
ALL_OPERATIONS: Final = INFERENCE_OPERATIONS | frozenset(
    {"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename", "StaticRegexFullMatch", "StringJoin"}
)
SHOWN, LONGEST = 8, 60  # of names that a file may have made up


def load_saved_model(folder: Path, sha256: str) -> "SourceModel":
    """Load a SavedModel that maps one float32 [N, H, W, C] to one [N, K].

    Raises:
        ModelError: not a SavedModel, an unsafe operation in it, or another signature.
    """
    from cxr_edge_export.keras_model import BATCH, SourceModel, tensorflow_module

    tf = tensorflow_module()
    refuse_unsafe_operations(folder)

    try:
        loaded = tf.saved_model.load(str(folder), tags=["serve"])
    except Exception as error:
        message = f"TensorFlow {tf.__version__} cannot read the SavedModel: {error}"
        raise ModelError(message) from error
    signature = loaded.signatures.get("serving_default")
    inputs = signature.structured_input_signature[1] if signature is not None else {}
    if signature is None or len(inputs) != 1 or len(signature.structured_outputs) != 1:
        message = "the SavedModel needs the signature serving_default, with one input and one output"
        raise ModelError(message)
    (input_name,), (output_name,) = inputs, signature.structured_outputs

    def call(tensors: Any) -> Any:  # noqa: ANN401 - TensorFlow's tensors
        return loaded.signatures["serving_default"](**{input_name: tensors})[output_name]  # keeps its variables alive

    def predict(tensors: "NDArray[np.float32]") -> "NDArray[np.float32]":
        parts = [call(tf.constant(tensors[i : i + BATCH])).numpy() for i in range(0, len(tensors), BATCH)]
        return np.asarray(np.concatenate(parts), np.float32)

    def trace(name: str, shape: tuple[int, int, int]) -> Any:  # noqa: ANN401 - an onnx.ModelProto
        from cxr_edge_export.onnx_float import OPSET, tf2onnx_module

        given = [tf.TensorSpec([None, *shape], tf.float32, name=name)]
        return tf2onnx_module().convert.from_function(tf.function(call), input_signature=given, opset=OPSET)[0]

    return SourceModel(
        predict=predict, trace=trace, sha256=sha256, framework=f"SavedModel float32 on TensorFlow {tf.__version__}"
    )


def refuse_unsafe_operations(folder: Path) -> None:
    """Read `saved_model.pb` and refuse what is no operation of inference, before TensorFlow runs any of it.

    TensorFlow has dozens that run Python or touch files, and more with each version: what is allowed is named instead.
    What Keras 2 wrote beside it (`keras_metadata.pb`, where Lambda layers keep their code) is never read.

    Raises:
        ModelError: not a SavedModel, or naming the operation.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    description = SavedModel()
    try:
        description.ParseFromString((folder / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's DecodeError, whose module moved between versions
        message = f"{folder} is not a SavedModel: {error}"
        raise ModelError(message) from error
    found = sorted(set(_refused(description)))
    if found:
        names = ", ".join(ascii(name[:LONGEST]) for name in found[:SHOWN])
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        message = f"the SavedModel holds {names}{more}, not among the operations that inference needs; it is not loaded"
        raise ModelError(message)


def _refused(description: Any) -> Iterator[str]:  # noqa: ANN401 - protobuf messages
    """Names of the operations that are not allowed where they stand."""
    ours = len(description.meta_graphs) == 1 and description.meta_graphs[0].HasField("object_graph_def")
    for graph in description.meta_graphs:
        saving = _saving_functions(graph) if ours else set()  # of others, TensorFlow runs the graph itself, as TF 1 did
        yield from (node.op for node in graph.graph_def.node if node.op not in INFERENCE_OPERATIONS)
        for function in graph.graph_def.library.function:
            allowed = ALL_OPERATIONS if function.signature.name in saving else INFERENCE_OPERATIONS
            yield from (node.op for node in function.node_def if node.op not in allowed)


def _saving_functions(graph: Any) -> set[str]:  # noqa: ANN401
    """Those that save and restore, by their names; without any that inference could come to."""
    functions = graph.graph_def.library.function
    called = {name for function in functions for node in function.node_def for name in _called(node)}
    named = {function.signature.name for function in functions if function.signature.name.startswith(SAVING_FUNCTIONS)}
    return named - called - set(graph.object_graph_def.concrete_functions)


def _called(node: Any) -> Iterator[str]:  # noqa: ANN401
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)
