import numpy as np
import pytest
from PIL import Image

from aisles.data_prep.synthetic.photos import TYPES, draw_photo
from aisles.data_prep.synthetic.renderer import (
    Camera,
    box,
    extrude,
    lathe,
    moved,
    paint,
    rounded,
    shade,
    upright,
)

FRONT = Camera(yaw=0, pitch=0, distance=100, fill=0.5)
RED, BLUE = (250, 20, 20), (20, 20, 250)


def painted(mesh, camera=FRONT, **options):
    canvas = Image.new("RGB", (100, 100), "white")
    paint(canvas, mesh, camera, **options)
    return np.asarray(canvas).astype(int)


def test_a_box_seen_from_the_front_fills_its_share_of_the_image():
    pixels = painted(box((0, 1), (0, 1), (0, 1), RED))
    rows, columns = np.nonzero(pixels.sum(axis=2) < 3 * 255)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((25, 75, 25, 75), abs=1)


def test_what_is_nearer_hides_what_is_behind_it_in_any_order():
    near, far = box((0, 1), (0, 1), (2, 2.1), RED), box((0, 1), (0, 1), (0, 0.1), BLUE)
    for mesh in (near + far, far + near):
        red, _, blue = painted(mesh)[50, 50]
        assert red > 5 * blue
    red, _, blue = painted(near + far, Camera(yaw=180, pitch=0, distance=100, fill=0.5))[50, 50]
    assert blue > 5 * red


def test_a_mirrored_camera_gives_the_mirrored_image():
    mesh = box((0, 1), (0, 1), (0, 1), RED) + box((1, 2), (0, 0.5), (0, 1), BLUE)
    plain = painted(mesh)
    mirrored = painted(mesh, Camera(yaw=0, pitch=0, distance=100, fill=0.5, mirror=True))
    assert np.abs(plain[:, 2:-2] - mirrored[:, ::-1][:, 2:-2]).mean() < 8  # edges may differ by a pixel


def test_a_shadow_falls_beside_the_object_only_when_asked_for():
    mesh = box((0, 1), (0, 1), (0, 1), RED)
    camera = Camera(yaw=0, pitch=30, distance=100, fill=0.5)
    gray = (200, 200, 200)
    assert (painted(mesh, camera, shadow=gray) == 200).all(axis=2).sum() > 50
    assert not (painted(mesh, camera) == 200).all(axis=2).any()


def test_solids_have_the_faces_that_they_should():
    assert len(box((0, 1), (0, 1), (0, 1), RED)) == 6
    assert len(extrude(rounded(2, 1, 0.2), (0, 1), RED)) == 12 + 2
    assert len(lathe([(1, 0), (1, 1), (0, 2)], RED, segments=8)) == 2 * 8 + 2
    assert upright(box((0, 1), (0, 2), (0, 3), RED))[0].points[0] == (0, 0, 0)
    assert moved(box((0, 1), (0, 1), (0, 1), RED), dx=5)[0].points[0] == (5, 0, 0)
    assert shade((100, 200, 10), 2) == (200, 255, 20)


@pytest.mark.parametrize("kind", ["main", "view", "scene", "swatch", "chart", "text", "boilerplate"])
def test_every_kind_of_image_can_be_drawn_of_every_type(kind):
    for number, synthetic in enumerate(TYPES[:: 1 if kind == "main" else 6]):
        image = draw_photo(kind, synthetic, [3, number, 0], 1)
        assert image.mode == "RGB" and 100 <= max(image.size) <= 256


def test_a_product_looks_the_same_each_time_and_another_one_does_not():
    first, again, other = (draw_photo("main", TYPES[0], [0, 0, k], 0) for k in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()
