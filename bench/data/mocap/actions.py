"""Actions of the synthetic people: key angles of every action, and limits of every joint."""

from __future__ import annotations

from dataclasses import dataclass, field

Keys = tuple[float, ...]

# Degrees of freedom, in degrees but for `lift` (metres above the support). Those in SIDED exist as "left ..." and
# "right ...". Thighs are measured from the vertical, so that tilting the trunk does not move the feet.
SIDED = {
    "hip": (-45.0, 130.0),  # forward
    "hip out": (-15.0, 50.0),
    "hip in": (-40.0, 40.0),  # turned about the thigh
    "knee": (0.0, 150.0),  # a hinge: the heel towards the seat
    "shoulder": (-60.0, 175.0),  # forward
    "shoulder out": (-35.0, 170.0),
    "shoulder in": (-100.0, 80.0),  # turned about the upper arm
    "elbow": (0.0, 150.0),  # a hinge: the hand towards the shoulder
}
MIDDLE = {
    "tilt": (-30.0, 80.0),  # pelvis forward
    "lean": (-25.0, 25.0),  # pelvis to the left
    "yaw": (-45.0, 45.0),  # pelvis to the left, about the vertical
    "bend": (-25.0, 70.0),  # spine forward
    "side": (-30.0, 30.0),  # spine to the left
    "twist": (-45.0, 45.0),  # spine to the left
    "nod": (-40.0, 45.0),  # head down
    "look": (-65.0, 65.0),  # head to the left
    "lift": (0.0, 1.0),
}
LIMITS = MIDDLE | {f"{side} {name}": limits for side in ("left", "right") for name, limits in SIDED.items()}


@dataclass(frozen=True)
class Action:
    """Key angles at equal steps of a cycle of `seconds`. A sided name without a side means both.

    alternate: the right side does what the left does, half a cycle later. either: the side is drawn per cycle.
    turning: largest change of the heading in degrees per second; steady: at a constant rate, on a circle.
    """

    seconds: float
    keys: dict[str, Keys]
    alternate: bool = False
    either: bool = False
    turning: float = 0.0
    steady: bool = False
    takes: int = 1
    stance: dict[str, Keys] = field(default_factory=lambda: {"hip": (2,), "hip out": (4,), "knee": (5,)})


HANGING_ARMS: dict[str, Keys] = {"shoulder": (4,), "shoulder out": (18,), "elbow": (16,), "bend": (5,)}

ACTIONS: dict[str, Action] = {
    "walk": Action(
        1.1,
        {
            "hip": (30, 24, 10, -4, -18, -8, 22, 36),
            "knee": (2, 18, 12, 2, 8, 50, 80, 34),
            "shoulder": (-24, -18, -4, 12, 24, 18, 4, -12),
            "elbow": (15, 12, 15, 25, 35, 32, 25, 18),
            "yaw": (-5, -4, 0, 4, 5, 4, 0, -4),
            "twist": (10, 8, 0, -8, -10, -8, 0, 8),
            "lean": (0, -3, -4, -2, 0, 3, 4, 2),
            "tilt": (4,),
        },
        alternate=True,
        turning=60,
        steady=True,
        takes=2,
        stance={"hip out": (2,)},
    ),
    "run": Action(
        0.8,
        {
            "hip": (32, 22, 2, -18, -26, 0, 38, 52),
            "knee": (15, 42, 30, 12, 25, 78, 112, 62),
            "shoulder": (-50, -36, -8, 20, 34, 26, -4, -38),
            "shoulder out": (22,),
            "shoulder in": (15,),
            "elbow": (95, 90, 80, 85, 100, 105, 100, 95),
            "yaw": (-8, -6, 0, 6, 8, 6, 0, -6),
            "twist": (16, 12, 0, -12, -16, -12, 0, 12),
            "lift": (0.03, 0, 0, 0.06, 0.03, 0, 0, 0.06),
            "tilt": (8,),
            "bend": (9,),
        },
        alternate=True,
        turning=95,
        steady=True,
        stance={"hip out": (2,)},
    ),
    "turn": Action(
        1.1,
        {
            "hip": (2, 2, 8, 38, 58, 34, 6, 2),
            "knee": (4, 4, 16, 72, 96, 58, 10, 4),
            "shoulder": (10, 12, 8, -6, -14, -6, 4, 8),
            "elbow": (30, 32, 30, 25, 20, 22, 25, 28),
            "look": (18, 10, -4, -18, -10, 4),
        },
        alternate=True,
        turning=130,
        stance={"hip out": (4,)},
    ),
    "sit": Action(
        5.0,
        {
            "hip": (2, 2, 40, 86, 90, 88, 90, 86, 40, 2),
            "hip out": (5, 5, 8, 10, 12, 8, 11, 9, 7, 5),
            "knee": (5, 5, 56, 92, 88, 82, 86, 92, 56, 5),
            "tilt": (0, 6, 32, 18, -6, -10, -5, 18, 32, 6),
            "bend": (5, 8, 22, 16, 8, 12, 8, 16, 22, 8),
            "shoulder": (4, 12, 44, 36, 22, 20, 24, 36, 44, 12),
            "shoulder in": (0, 0, 5, 12, 18, 12, 16, 12, 5, 0),
            "elbow": (16, 26, 50, 72, 84, 92, 82, 72, 50, 26),
            "look": (0, 0, 0, 15, -25, 20, -10, 0, 0, 0),
        },
    ),
    "floor": Action(
        5.5,
        {
            "hip": (4, 30, 100, 122, 116, 116, 120, 105, 50, 4),
            "hip out": (6, 8, 12, 12, 8, 10, 12, 12, 9, 6),
            "knee": (6, 50, 140, 95, 62, 60, 80, 140, 75, 6),
            "tilt": (0, 20, 35, -10, -18, -16, -5, 35, 25, 0),
            "bend": (5, 15, 28, 20, 14, 18, 22, 28, 18, 5),
            "shoulder": (4, 20, 40, -10, -36, -34, 5, 60, 30, 4),
            "shoulder out": (16, 20, 28, 34, 34, 30, 30, 30, 22, 16),
            "elbow": (16, 20, 25, 20, 8, 14, 25, 30, 20, 16),
        },
    ),
    "squat": Action(
        2.6,
        {
            "hip": (4, 45, 102, 104, 50, 4),
            "hip out": (8, 12, 18, 18, 12, 8),
            "knee": (6, 72, 132, 134, 78, 6),
            "tilt": (0, 22, 36, 36, 22, 0),
            "bend": (5, 10, 18, 18, 10, 5),
            "shoulder": (8, 60, 130, 130, 60, 8),
            "elbow": (14, 18, 10, 10, 18, 14),
        },
    ),
    "kneel": Action(
        5.0,
        {
            "left hip": (2, 20, 62, 88, 90, 90, 88, 62, 20, 2),
            "left knee": (5, 25, 66, 90, 90, 90, 90, 66, 25, 5),
            "right hip": (2, -6, -8, 0, 2, 2, 0, -8, -6, 2),
            "right knee": (5, 22, 70, 92, 94, 94, 92, 70, 22, 5),
            "tilt": (0, 8, 15, 8, 4, 6, 8, 18, 8, 0),
            "bend": (5, 8, 14, 10, 16, 22, 14, 14, 8, 5),
            "shoulder": (4, 8, 14, 24, 30, 26, 22, 14, 8, 4),
            "elbow": (16, 18, 25, 55, 75, 60, 40, 25, 18, 16),
            "look": (0, 0, 5, 15, -25, -15, 20, 5, 0, 0),
        },
        either=True,
    ),
    "bend": Action(
        3.0,
        {
            "hip": (2, 10, 20, 20, 10, 2),
            "knee": (5, 16, 30, 30, 16, 5),
            "tilt": (0, 36, 66, 66, 36, 0),
            "bend": (5, 28, 55, 55, 28, 5),
            "twist": (0, 0, 10, -10, 0, 0),
            "shoulder": (4, 50, 108, 108, 50, 4),
            "elbow": (16, 22, 14, 26, 30, 16),
            "nod": (0, -8, -20, -15, -5, 0),
        },
    ),
    "reach": Action(
        2.6,
        {
            "right shoulder": (4, 55, 135, 135, 60, 4),
            "right shoulder out": (16, 18, 22, 8, 16, 16),
            "right elbow": (16, 75, 10, 10, 70, 16),
            "side": (0, 3, 8, 8, 3, 0),
            "twist": (0, 8, 16, 16, 6, 0),
            "tilt": (0, 3, 8, 8, 3, 0),
            "nod": (0, -8, -20, -20, -8, 0),
            "look": (0, -8, -18, -10, -4, 0),
        },
        either=True,
    ),
    "wave": Action(
        3.4,
        {
            "right shoulder out": (16, 60, 84, 86, 88, 86, 88, 86, 60, 16),
            "right shoulder in": (0, -60, -92, -94, -92, -94, -92, -90, -55, 0),
            "right elbow": (16, 90, 105, 45, 120, 45, 120, 50, 90, 16),
            "side": (0, 2, 6, 4, 6, 4, 6, 4, 2, 0),
            "look": (0, -8, -15, -12, -5, -12, -15, -10, -4, 0),
        },
        either=True,
    ),
    "punch": Action(
        1.0,
        {
            "shoulder": (36, 34, 55, 92, 92, 52, 34, 36),
            "shoulder out": (12, 10, 6, 0, 0, 6, 10, 12),
            "shoulder in": (22, 22, 18, 10, 10, 18, 22, 22),
            "elbow": (116, 118, 84, 4, 4, 80, 112, 116),
            "twist": (28, 12, -12, -28, -28, -12, 12, 28),
            "bend": (10,),
            "tilt": (5,),
            "nod": (8,),
        },
        alternate=True,
        stance={"left hip": (20,), "left knee": (24,), "right hip": (-10,), "right knee": (16,), "hip out": (6,)},
    ),
    "kick": Action(
        2.4,
        {
            "right hip": (2, -12, -30, 5, 88, 88, 40, 10, 2, 2),
            "right knee": (5, 20, 70, 110, 40, 2, 50, 35, 10, 5),
            "left knee": (6, 12, 16, 16, 12, 12, 14, 12, 8, 6),
            "left hip": (2, 6, 8, 6, 2, 2, 6, 6, 4, 2),
            "left shoulder": (4, 10, 25, 40, 55, 50, 25, 10, 4, 4),
            "right shoulder": (4, 6, 10, -10, -30, -28, -10, 4, 4, 4),
            "shoulder out": (16, 20, 28, 34, 38, 36, 28, 20, 16, 16),
            "elbow": (16, 28, 40, 40, 30, 30, 35, 25, 18, 16),
            "tilt": (0, 6, 10, 2, -12, -14, -2, 2, 0, 0),
            "bend": (5, 6, 8, 12, 22, 20, 10, 6, 5, 5),
            "twist": (0, -4, -8, 0, 10, 10, 4, 0, 0, 0),
        },
        either=True,
    ),
    "jump": Action(
        2.4,
        {
            "hip": (4, 4, 28, 64, 64, 12, 0, 0, 16, 40, 26, 8),
            "knee": (6, 6, 48, 100, 100, 18, 2, 4, 26, 66, 46, 14),
            "lift": (0, 0, 0, 0, 0, 0.06, 0.3, 0.3, 0.06, 0, 0, 0),
            "tilt": (0, 6, 24, 36, 32, 8, -2, 0, 10, 20, 12, 2),
            "bend": (5, 6, 12, 16, 14, 5, 2, 2, 8, 12, 9, 6),
            "shoulder": (4, 0, -26, -38, -4, 72, 132, 136, 96, 50, 22, 8),
            "shoulder out": (16, 18, 22, 24, 20, 14, 14, 16, 20, 22, 20, 17),
            "elbow": (16, 16, 10, 10, 25, 35, 12, 12, 30, 34, 25, 18),
        },
    ),
    "jack": Action(
        1.2,
        {
            "hip out": (2, 4, 18, 30, 30, 24, 8, 2),
            "knee": (6, 20, 8, 6, 14, 18, 8, 14),
            "hip": (3, 9, 4, 3, 7, 9, 4, 7),
            "shoulder out": (12, 24, 80, 132, 136, 116, 60, 20),
            "shoulder in": (0, 0, -20, -40, -40, -30, -10, 0),
            "elbow": (12, 16, 20, 16, 14, 18, 20, 14),
            "lift": (0, 0.02, 0.1, 0.02, 0, 0.02, 0.1, 0.02),
        },
    ),
    "talk": Action(
        3.2,
        {
            "shoulder": (14, 32, 24, 44, 18, 8, 26, 36, 12, 20),
            "shoulder out": (10, 22, 14, 24, 30, 10, 14, 26, 16, 12),
            "shoulder in": (18, -12, 24, 4, -20, 16, 30, -14, 10, 20),
            "elbow": (40, 95, 70, 110, 85, 30, 100, 75, 115, 60),
            "twist": (0, 14, 6, -10, -16, 2, 12, -6),
            "look": (0, 24, 10, -22, -30, 0, 20, -12),
            "nod": (4, 10, -4, 8, 0, -6),
            "bend": (5, 8, 4, 10, 6),
        },
        alternate=True,
        takes=2,
    ),
    "phone": Action(
        1.5,
        {
            "hip": (18, 14, 6, -2, -10, -4, 16, 22),
            "knee": (4, 12, 8, 4, 8, 30, 52, 22),
            "right shoulder": (88,),
            "right shoulder out": (26,),
            "right shoulder in": (26,),
            "right elbow": (142, 144, 140, 145),
            "left shoulder": (-8, -4, 4, 10, 4, -4),
            "yaw": (-3, 0, 3, 0),
            "side": (-4, 0, 2, 0, 3),
            "nod": (12, 16, 8, 14),
            "look": (-14, -8, -18),
        },
        alternate=True,
        turning=70,
        stance={"hip out": (3,)},
    ),
}
