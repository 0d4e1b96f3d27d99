"""Label an image with an ONNX file that ``segnet export`` wrote; needs neither segnet nor PyTorch.

pip install numpy pillow onnxruntime
python label.py segnet_light.onnx photo.jpg mask.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def label(session: onnxruntime.InferenceSession, path: Image.Image) -> np.ndarray:
    """Class of each pixel, uint8 (H, W)."""
    pixels = np.asarray(path.convert("RGB"), dtype=np.float32) / 255  # (H, W, 3), RGB in [0, 1]
    image = pixels.transpose(2, 0, 1)[None]  # (1, 3, H, W)
    logits = session.run(["logits"], {"image": image})[0]  # (1, classes, H, W)
    return logits[0].argmax(axis=0).astype(np.uint8)


def main(model: str, source: str, target: str) -> None:
    """Write the mask as a palette PNG, class numbers with colors, and print the share of each class."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map.get("segnet")
    if about is None:
        raise ValueError(f"{model}: does not say which classes it knows; give a file that 'segnet export' wrote")
    labels = json.loads(about)["labels"]

    mask = label(session, ImageOps.exif_transpose(Image.open(source)))
    image = Image.fromarray(mask)
    image.putpalette(np.uint8(labels["colors"]).tobytes())
    image.save(target)

    shares = np.bincount(mask.ravel(), minlength=len(labels["names"])) / mask.size
    for index in np.argsort(-shares, kind="stable"):
        print(f"{shares[index]:6.1%}  {labels['names'][index]}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python label.py MODEL.onnx IMAGE MASK.png")
    onnxruntime.set_default_logger_severity(4)  # what goes wrong is told once, below
    try:
        main(*sys.argv[1:])
    except Exception as error:  # ONNX Runtime's errors have no class in common
        sys.exit(f"label.py: {str(error).partition(chr(10))[0]}")
