"""Caffe's models as ours: encoding (protobuf), files, layout, conversion; each stands on the one before it."""
