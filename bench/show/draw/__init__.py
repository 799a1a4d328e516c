"""Drawing skeletons: still pictures, figures of a prediction, animations. Importing it does not import matplotlib."""

from bench.show.draw.look import LEFT, RIGHT, SIDE, TRUNK, upright
from bench.show.draw.pictures import Sample, contact_sheet, input_sheet, skeleton_picture

__all__ = ["LEFT", "RIGHT", "SIDE", "TRUNK", "Sample", "contact_sheet", "input_sheet", "skeleton_picture", "upright"]
