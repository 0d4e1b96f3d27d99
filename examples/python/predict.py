"""Segment an image with an ONNX file of ``segnet export``; needs neither segnet nor PyTorch.

pip install numpy pillow onnxruntime
python predict.py segnet_light.onnx photo.jpg mask.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def predict(session: onnxruntime.InferenceSession, image: Image.Image) -> np.ndarray:
    """Class index of each pixel, uint8 (H, W)."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255  # (H, W, 3), RGB in [0, 1]
    batch = pixels.transpose(2, 0, 1)[None]  # (1, 3, H, W)
    logits = session.run(["logits"], {"image": batch})[0]  # (1, classes, H, W)
    return logits[0].argmax(axis=0).astype(np.uint8)


def main(model: str, source: str, target: str) -> None:
    """Write the mask as a palette PNG (class indices with colors) and print the share of each class."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map.get("segnet")
    if metadata is None:
        raise ValueError(f"{model}: has no class names in its metadata; use a file of 'segnet export'")
    labels = json.loads(metadata)["labels"]

    mask = predict(session, ImageOps.exif_transpose(Image.open(source)))
    palette_image = Image.fromarray(mask)
    palette_image.putpalette(np.uint8(labels["colors"]).tobytes())
    palette_image.save(target)

    shares = np.bincount(mask.ravel(), minlength=len(labels["names"])) / mask.size
    for index in np.argsort(-shares, kind="stable"):
        print(f"{shares[index]:6.1%}  {labels['names'][index]}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python predict.py MODEL.onnx IMAGE MASK.png")
    onnxruntime.set_default_logger_severity(4)  # errors are printed once, below
    try:
        main(*sys.argv[1:])
    except Exception as error:  # ONNX Runtime's errors have no common base class
        sys.exit(f"predict.py: {str(error).partition(chr(10))[0]}")
