"""The classes of Keras, of its versions 2 and 3, that a stored network for images may be made of.

None of them runs stored code, imports a module, calls a function by its name, or reads a file. A list of what is
forbidden would not do: it has to know every class that ever could (tf_keras' `ClassMethod` calls any of TensorFlow's
functions while a graph is built again).
"""

from typing import Final

_DIMENSIONS: Final = ("1D", "2D", "3D")
_PER_DIMENSION: Final = (
    "AdaptiveAveragePooling AdaptiveMaxPooling AveragePooling AvgPool Conv ConvTranspose Convolution Cropping"
    " GlobalAveragePooling GlobalAvgPool GlobalMaxPool GlobalMaxPooling MaxPool MaxPooling SpatialDropout UpSampling"
    " ZeroPadding"
)
_KINDS: Final = {
    "models": "Functional InputLayer Model Sequential TimeDistributed",
    "convolution": "Conv1DTranspose Conv2DTranspose Conv3DTranspose DepthwiseConv1D DepthwiseConv2D SeparableConv1D"
    " SeparableConv2D SeparableConvolution2D",
    "dense": "Dense EinsumDense Embedding",
    "activation": "Activation ELU LeakyReLU PReLU ReLU Softmax ThresholdedReLU",
    "normalization": "BatchNormalization BatchNormalizationV1 GroupNormalization LayerNormalization Normalization"
    " RMSNormalization SpectralNormalization SyncBatchNormalization UnitNormalization",
    "shape": "Flatten Identity Masking Permute RepeatVector Reshape",
    "merging": "Add Average Concatenate Dot Maximum Minimum Multiply Subtract",
    "attention": "AdditiveAttention Attention GroupQueryAttention GroupedQueryAttention MultiHeadAttention",
    "regularization": "ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise StochasticDepth",
    "images": "AutoContrast CenterCrop Equalization MaxNumBoundingBoxes Pipeline RandAugment RandomBrightness"
    " RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform RandomErasing"
    " RandomFlip RandomGaussianBlur RandomGrayscale RandomHeight RandomHue RandomInvert RandomPerspective"
    " RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomWidth"
    " RandomZoom Rescaling Resizing Solarization",
    "applications": "CustomScaleLayer LayerScale",
    "initializers": "Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal"
    " LecunUniform Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform TruncatedNormal VarianceScaling"
    " Zeros",
    "regularizers and constraints": "L1 L1L2 L2 MaxNorm MinMaxNorm NonNeg OrthogonalRegularizer RadialConstraint"
    " UnitNorm",
    "policies": "DTypePolicy DTypePolicyMap FloatDTypePolicy Policy PolicyV1",
    "optimizers": "Adadelta Adafactor Adagrad Adam Adamax AdamW Ftrl Lamb Lion LossScaleOptimizer Muon Nadam RMSprop"
    " SGD",  # of a compiled network within a network
    "schedules": "CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay"
    " PolynomialDecay",
    "losses": "BinaryCrossentropy BinaryFocalCrossentropy CategoricalCrossentropy CategoricalFocalCrossentropy Hinge"
    " KLDivergence MeanAbsoluteError MeanSquaredError Poisson SparseCategoricalCrossentropy SquaredHinge",
    "metrics": "AUC Accuracy BinaryAccuracy CategoricalAccuracy F1Score FBetaScore FalseNegatives FalsePositives"
    " Mean Precision PrecisionAtRecall Recall RecallAtPrecision SensitivityAtSpecificity"
    " SparseCategoricalAccuracy SpecificityAtSensitivity TopKCategoricalAccuracy TrueNegatives TruePositives",
    "values": "TensorShape __bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__ __tuple__",
}
CLASSES: Final = frozenset(name for names in _KINDS.values() for name in names.split()) | frozenset(
    name + dimensions for name in _PER_DIMENSION.split() for dimensions in _DIMENSIONS
)
# Keras 3 stores what was computed between layers as an object of one of these modules
OPERATIONS: Final = tuple(f"keras.src.ops.{name}" for name in ("image", "linalg", "math", "nn", "numpy"))
CORE, CORE_OPERATIONS = "keras.src.ops.core", frozenset({"Cast", "Shape", "Slice", "SliceUpdate", "StopGradient"})


def is_known(class_name: str, module: str | None) -> bool:
    """Whether an object of this class, from this module where one is told, may be built."""
    if module in OPERATIONS:
        return class_name.isidentifier() and class_name[0].isupper()
    if module == CORE:
        return class_name in CORE_OPERATIONS
    return class_name in CLASSES
