"""Does a decoder of imagecodecs survive damaged frames: without dying, hanging, or losing its own errors?"""

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

FRAMES: Final = 400
SECONDS: Final = 60
CHILD: Final = """
import random, sys, imagecodecs
from cxr_edge.decode.codestream import read_codestream
decode, frame = getattr(imagecodecs, sys.argv[1]), open(sys.argv[2], "rb").read()
rng = random.Random(1)
for index in range(int(sys.argv[3])):
    damaged = bytearray(frame)
    for _ in range(rng.choice((1, 2, 6))):  # every other frame in its header
        damaged[rng.randrange(4, min(len(frame), 150) if index % 2 else len(frame))] = rng.randrange(256)
    if read_codestream(bytes(damaged)) != read_codestream(frame):
        continue  # of another size: refused before decoding, whoever decodes
    try:
        decode(bytes(damaged))
    except Exception:
        pass
"""


@cache
def fault(function: str, frame: bytes) -> str:
    """What went wrong with damaged copies of a small frame; nothing where the decoder took or refused them all.

    Args:
        function: name in imagecodecs, as `jpeg2k_decode`.
        frame: a valid frame that it decodes.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frame"
        file.write_bytes(frame)
        command = [sys.executable, "-c", CHILD, function, str(file), str(FRAMES)]
        try:
            ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return "hangs on damaged frames"
    if ran.returncode:
        return f"dies on damaged frames (status {ran.returncode})"
    if "Exception ignored" in ran.stderr:
        return f"gives an image in spite of an error of its own ({ran.stderr.count('Exception ignored')} of {FRAMES})"
    return ""
