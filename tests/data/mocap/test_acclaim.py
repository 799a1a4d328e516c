"""ASF/AMC: small skeletons whose poses can be worked out by hand, and files that are broken in every way."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from bench.data.mocap.acclaim import bone_ends, read_figure, read_motion
from bench.system.errors import BenchError, MissingDataError

# Three bones: `thigh` turns about its own axes, `shin` about x, `toe` is rigid. One length unit is 2 inches.
ASF = """# made for this test
:version 1.10
:name VICON
:units
  mass 1.0
  length 0.5
  angle deg
:documentation
   length of this line means nothing
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name thigh
     direction 0 -1 0
     length 10
     axis 0 0 0 XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
     id 2
     name shin
     direction 0 -1 0
     length 8
     axis 0 0 0 XYZ
    dof rx
    limits (-10.0 170.0)
  end
  begin
     id 3
     name toe
     direction 0 0 1
     length 2
     axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root thigh
    thigh shin
    shin toe
  end
"""
AMC = """# also made for this test
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 0 0
thigh 0 0 0
shin 0
"""
UNIT = 2 * 0.0254


def ends_of(tmp_path, asf: str = ASF, amc: str = AMC) -> dict[str, np.ndarray]:
    """Bone ends in the files' length units."""
    (tmp_path / "a.asf").write_text(asf)
    (tmp_path / "a.amc").write_text(amc)
    figure = read_figure(tmp_path / "a.asf")
    return {name: end / UNIT for name, end in bone_ends(figure, read_motion(tmp_path / "a.amc", figure)).items()}


def ends_after(tmp_path, *changes: tuple[str, str], asf: str = ASF) -> dict[str, list[float]]:
    amc = AMC.replace("root 1 2 3", "root 0 0 0")
    for old, new in changes:
        assert old in amc
        amc = amc.replace(old, new)
    return {name: end[0].round(9).tolist() for name, end in ends_of(tmp_path, asf, amc).items()}


def test_rest_pose_is_bones_laid_end_to_end_in_metres(tmp_path):
    ends = ends_of(tmp_path)
    np.testing.assert_allclose(ends["root"], [[1, 2, 3]])
    np.testing.assert_allclose(ends["thigh"], [[1, -8, 3]])
    np.testing.assert_allclose(ends["shin"], [[1, -16, 3]])
    np.testing.assert_allclose(ends["toe"], [[1, -16, 5]])


def test_a_turned_bone_carries_what_hangs_from_it(tmp_path):
    ends = ends_after(tmp_path, ("shin 0", "shin 90"))  # about x: -y goes to -z, z to -y
    assert ends == {"root": [0, 0, 0], "thigh": [0, -10, 0], "shin": [0, -10, -8], "toe": [0, -12, -8]}
    ends = ends_after(tmp_path, ("thigh 0 0 0", "thigh 0 0 90"))  # about z: -y goes to x
    assert ends == {"root": [0, 0, 0], "thigh": [10, 0, 0], "shin": [18, 0, 0], "toe": [18, 0, 2]}


def test_turns_of_a_chain_multiply(tmp_path):
    ends = ends_after(tmp_path, ("thigh 0 0 0", "thigh 0 0 90"), ("shin 0", "shin 90"))
    assert ends["shin"] == [10, 0, -8]  # the shin's own x now points along y
    assert ends["toe"] == [12, 0, -8]


def test_x_is_turned_before_y_before_z(tmp_path):
    # -y, turned about x by 90, is -z; about y by 90, -x; about z by 90, -y. In the order z, y, x it would be z.
    ends = ends_after(tmp_path, ("root 0 0 0 0 0 0", "root 0 0 0 90 90 90"))
    assert ends["thigh"] == [0, -10, 0]
    assert ends["toe"] == [2, -18, 0]  # z: about x -y, about y -y, about z x


def test_a_bone_turns_about_the_axes_of_its_frame(tmp_path):
    asf = ASF.replace("length 8\n     axis 0 0 0 XYZ", "length 8\n     axis 0 0 90 XYZ")
    ends = ends_after(tmp_path, ("shin 0", "shin 90"), asf=asf)  # its x axis is the world's y
    assert ends["shin"] == [0, -18, 0]
    assert ends["toe"] == [2, -18, 0]
    asf = ASF.replace("length 8\n     axis 0 0 0 XYZ", "length 8\n     axis 90 0 90 XYZ")  # x first: x still becomes y
    assert ends_after(tmp_path, ("shin 0", "shin 90"), asf=asf) == ends


def test_half_a_turn_either_way_is_the_same_frame(tmp_path):
    turn = ("shin 0", "shin 33")
    plus, minus = (
        ends_after(tmp_path, turn, asf=ASF.replace("length 8\n     axis 0 0 0", f"length 8\n     axis {half} 20 0"))
        for half in (180, -180)
    )
    assert plus == minus


def test_channels_are_read_in_the_order_the_skeleton_gives(tmp_path):
    asf = ASF.replace("dof rx ry rz", "dof rz rx").replace("order TX TY TZ RX RY RZ", "order RX RY RZ TX TY TZ")
    changes = (("thigh 0 0 0", "thigh 90 0"), ("root 0 0 0 0 0 0", "root 0 0 0 4 5 6"))
    ends = ends_after(tmp_path, *changes, asf=asf)
    assert ends["root"] == [4, 5, 6]
    assert ends["thigh"] == [14, 5, 6]


def test_bones_of_the_motion_may_come_in_another_order_and_frames_from_any_number(tmp_path):
    head = AMC.split("1\n", 1)[0]
    amc = head + "150\nshin 90\nroot 0 0 0 0 0 0\nthigh 0 0 0\n151\nshin 0\nroot 7 0 0 0 0 0\nthigh 0 0 0\n"
    ends = ends_of(tmp_path, amc=amc)
    np.testing.assert_allclose(ends["shin"], [[0, -10, -8], [7, -18, 0]], atol=1e-12)


def test_line_ends_comments_and_packing_do_not_matter(tmp_path):
    plain = ends_of(tmp_path)
    amc = AMC.replace("shin 0", "# a remark\n\nshin 0").replace("\n", "\r\n")
    figure_path, motion_path = tmp_path / "b.asf.gz", tmp_path / "b.amc.gz"
    figure_path.write_bytes(gzip.compress(ASF.replace("\n", "\r\n").encode()))
    motion_path.write_bytes(gzip.compress(amc.encode()))
    figure = read_figure(figure_path)
    packed = bone_ends(figure, read_motion(motion_path, figure))
    assert packed.keys() == plain.keys()
    for name, end in packed.items():
        np.testing.assert_array_equal(end / UNIT, plain[name])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("shin 0\n", "", r"line 6: the first frame lacks shin"),
        ("shin 0\n", "shin 0\n2\nroot 0 0 0 0 0 0\nthigh 0 0 0\n", r"line 10: the file ends inside a frame"),
        ("shin 0\n", "shin 0\n2\nroot 0 0 0 0 0 0\nthigh 0 0", r"line 10: thigh has 3 channels, found 2"),
        ("shin 0\n", "shin 0\n2\nroot 0 0 0 0 0 0\nshin 0\n", r"line 10: expected bone thigh.*'shin'"),
        ("shin 0\n", "shin 0\nroot 0 0 0 0 0 0\nthigh 0 0 0\nshin 0\n", r"line 8: bone 'root' occurs twice"),
        (
            "shin 0\n",
            "shin 0\n2\nroot 0 0 0 0 0 0\nthigh 0 0 0\nshin 0\nend\n",
            r"line 12: .*frame number.*'end'",
        ),
        ("thigh 0 0 0", "thigh 0 0", r"line 6: thigh has 3 channels, found 2 numbers"),
        ("thigh 0 0 0", "thigh 0 0 0 0", r"line 6: thigh has 3 channels, found 4 numbers"),
        ("thigh 0 0 0", "thigh 0 0 0x", r"line 6: expected numbers, found '0 0 0x'"),
        ("thigh 0 0 0", "thigh 0 nan 0", r"line 6: expected numbers"),
        ("shin 0\n", "shin 0\ntail 0\n", r"line 8: bone 'tail' does not turn in the skeleton, or is not in it"),
        ("shin 0\n", "shin 0\ntoe 0\n", r"line 8: bone 'toe' does not turn"),
        (AMC, "", r"line 1: the first frame lacks root, shin, thigh"),
    ],
)
def test_a_broken_motion_names_file_and_line(tmp_path, old, new, message):
    assert old in AMC
    with pytest.raises(BenchError, match=r"a\.amc, " + message):
        ends_of(tmp_path, amc=AMC.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("angle deg", "angle rad", r"line 7: angles must be in deg"),
        ("length 0.5", "length half", r"line 6: expected 1 numbers, found 'half'"),
        ("  length 0.5\n", "", r"ends without :units length"),
        ("order TX TY TZ RX RY RZ", "order TX TY TZ", r"line 11: the root's order"),
        ("position 0 0 0", "position 0 1 0", r"line 13: a root with position other than 0 0 0"),
        ("direction 0 0 1", "direction 0 0", r"line 39: expected 3 numbers"),
        ("     length 2\n", "", r"line 41: the bone that ends here has no length"),
        ("dof rx\n", "dof rx l\n", r"line 33: dof may name rx, ry, rz, found 'rx l'"),
        (
            "length 2\n     axis 0 0 0 XYZ",
            "length 2\n     axis 0 0 0 ZYX",
            r"line 41: an axis must be in the order XYZ, found 'ZYX'",
        ),
        ("    shin toe\n", "", r"ends without toe in :hierarchy"),
        ("shin toe", "shin tail", r"line 47: cannot attach 'tail' to 'shin'"),
        ("shin toe", "shin toe thigh", r"line 47: cannot attach 'thigh' to 'shin'"),
        ("thigh shin", "toe shin", r"line 46: cannot attach 'shin' to 'toe'"),
        (ASF, ":version 1.10", r"line 1: the file ends without"),
    ],
)
def test_a_broken_skeleton_names_file_and_line(tmp_path, old, new, message):
    assert ASF.count(old) == 1
    with pytest.raises(BenchError, match=r"a\.asf, .*" + message):
        ends_of(tmp_path, asf=ASF.replace(old, new))


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"none\.asf not found"):
        read_figure(tmp_path / "none.asf")
    (tmp_path / "a.asf").write_text(ASF)
    figure = read_figure(tmp_path / "a.asf")
    packed = gzip.compress(AMC.encode() * 50)
    for name, content in (("cut.amc.gz", packed[:-20]), ("plain.amc.gz", AMC.encode())):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BenchError, match=rf"{name} cannot be read .*copy it again"):
            read_motion(tmp_path / name, figure)
