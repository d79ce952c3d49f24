"""A synthetic chest phantom, written as a DICOM file and classified: proves that an installation works."""

import tempfile
from pathlib import Path

from cxr_edge.classifier import Classifier
from cxr_edge.errors import OutputError
from cxr_edge.phantom import phantom_dicom
from cxr_edge.types import Prediction


def classify_phantom(classifier: Classifier) -> Prediction:
    """Write the phantom into a temporary folder, classify it, remove the folder.

    Raises:
        InputError, ModelError: this installation does not work.
        OutputError: the temporary folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="cxr-edge-demo-") as folder:
        path = Path(folder) / "phantom.dcm"
        try:
            path.write_bytes(phantom_dicom())
        except OSError as error:
            message = f"cannot write the phantom into the temporary folder {folder}: {error.strerror or error}"
            raise OutputError(message) from None
        return classifier.classify(path)
