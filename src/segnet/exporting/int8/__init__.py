"""INT8 export: calibration on images, quantization of the graph, and the gate that limits the loss of mIoU."""
