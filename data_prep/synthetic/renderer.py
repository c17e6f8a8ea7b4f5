"""A very small renderer: solids made of flat faces, seen from anywhere, shaded, painted from far to near.

Coordinates are right-handed: x to the right, y up, z towards the viewer. Units are free: a mesh is scaled to
the box that it is painted into.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]
Point = tuple[float, float, float]

_LIGHT = np.array([-0.45, 0.75, 0.5]) / math.sqrt(0.45**2 + 0.75**2 + 0.5**2)


@dataclass(frozen=True)
class Face:
    """A flat polygon, or with a `width` (in the mesh's units) a straight line between two points."""

    points: tuple[Point, ...]
    color: Color
    width: float = 0.0


Mesh = list[Face]


@dataclass(frozen=True)
class Camera:
    """From where a mesh is seen (degrees), how far away (in radii of the mesh) and how large in its box."""

    yaw: float = 25.0
    pitch: float = 18.0
    roll: float = 0.0
    distance: float = 5.0
    fill: float = 0.85
    shift: tuple[float, float] = (0.0, 0.0)
    mirror: bool = False


def box(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], color: Color) -> Mesh:
    """Make a box between two corners, given as ranges of x, y and z."""
    (x0, x1), (y0, y1), (z0, z1) = x, y, z
    quads = (
        ((x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)),
        ((x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)),
        ((x0, y0, z0), (x0, y0, z1), (x0, y1, z1), (x0, y1, z0)),
        ((x1, y0, z0), (x1, y0, z1), (x1, y1, z1), (x1, y1, z0)),
        ((x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)),
        ((x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)),
    )
    return [Face(quad, color) for quad in quads]


def lathe(
    profile: Sequence[tuple[float, float]],
    color: Color,
    *,
    at: tuple[float, float] = (0.0, 0.0),
    segments: int = 16,
    top: Color | None = None,
    capped: bool = True,
) -> Mesh:
    """Turn a profile of (radius, height) pairs around the vertical axis through `at` = (x, z)."""
    turn = [2 * math.pi * k / segments for k in range(segments + 1)]
    rings = [
        [(at[0] + r * math.cos(angle), height, at[1] + r * math.sin(angle)) for angle in turn]
        for r, height in profile
    ]
    mesh = [
        Face((low[k], low[k + 1], high[k + 1], high[k]), color)
        for low, high in zip(rings, rings[1:], strict=False)
        for k in range(segments)
    ]
    if capped:
        mesh += [Face(tuple(rings[0][:-1]), color), Face(tuple(rings[-1][:-1]), top or color)]
    return mesh


def extrude(outline: Sequence[tuple[float, float]], z: tuple[float, float], color: Color) -> Mesh:
    """Return a flat outline of (x, y) points a thickness between two values of z."""
    back = tuple((x, y, z[0]) for x, y in outline)
    front = tuple((x, y, z[1]) for x, y in outline)
    rim = [
        Face((back[k], back[(k + 1) % len(back)], front[(k + 1) % len(back)], front[k]), color)
        for k in range(len(back))
    ]
    return [Face(back, color), *rim, Face(front, color)]


def line(points: Sequence[Point], width: float, color: Color) -> Mesh:
    """Join points by round straight strokes of one width."""
    return [Face((a, b), color, width) for a, b in zip(points, points[1:], strict=False)]


def arc(
    center: Point, radii: tuple[float, float], degrees: tuple[float, float], plane: str = "xy"
) -> list[Point]:
    """Return 13 points of an ellipse's arc in the plane `xy`, `yz` (first radius along z) or `xz`."""
    points = []
    for angle in np.radians(np.linspace(degrees[0], degrees[1], 13)):
        a, b = radii[0] * math.cos(angle), radii[1] * math.sin(angle)
        offset = {"xy": (a, b, 0.0), "yz": (0.0, b, a), "xz": (a, 0.0, b)}[plane]
        points.append(tuple(float(c + d) for c, d in zip(center, offset, strict=True)))
    return points


def rounded(width: float, height: float, corner: float) -> list[tuple[float, float]]:
    """Return the outline of a rectangle with cut-round corners, standing on y = 0, centered on x = 0."""
    w, c = width / 2, min(corner, width / 2, height / 2)
    k = c * 0.3
    return [
        (-w + c, 0), (w - c, 0), (w - k, k), (w, c), (w, height - c), (w - k, height - k),
        (w - c, height), (-w + c, height), (-w + k, height - k), (-w, height - c), (-w, c), (-w + k, k),
    ]  # fmt: skip


def moved(mesh: Mesh, dx: float = 0.0, dy: float = 0.0, dz: float = 0.0) -> Mesh:
    """Shift a mesh."""
    return [replace(f, points=tuple((x + dx, y + dy, z + dz) for x, y, z in f.points)) for f in mesh]


def upright(mesh: Mesh) -> Mesh:
    """Tip a mesh towards the viewer: what pointed up now points at the viewer."""
    return [replace(f, points=tuple((x, -z, y) for x, y, z in f.points)) for f in mesh]


def shade(color: Color, factor: float) -> Color:
    """Darken (factor < 1) or lighten (factor > 1) a color."""
    r, g, b = (max(0, min(255, round(c * factor))) for c in color)
    return r, g, b


def paint(
    canvas: Image.Image,
    mesh: Mesh,
    camera: Camera,
    frame: tuple[float, float, float, float] | None = None,
    shadow: Color | None = None,
) -> None:
    """Paint a mesh into a frame (left, top, right, bottom; default: all) of an RGB image, in place.

    Faces are painted in order of their mean distance, which is exact enough for small convex parts; faces at
    the same distance in the order of the mesh.
    """
    frame = frame or (0, 0, canvas.width, canvas.height)
    sizes = np.array([len(face.points) for face in mesh])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    solid = np.array([point for face in mesh for point in face.points], dtype=float)
    solid -= (solid.min(axis=0) + solid.max(axis=0)) / 2
    radius = float(np.linalg.norm(solid, axis=1).max())
    turned = solid @ _rotation(camera)
    raw = _flatten(turned, radius, camera)
    scale, offset = _fit(raw, camera, frame)
    pen = ImageDraw.Draw(canvas)
    if shadow:
        ground = _flatten(_fallen(solid) @ _rotation(camera), radius, camera) * scale + offset
        for start, size in zip(starts, sizes, strict=True):
            if size > 2:
                pen.polygon([tuple(p) for p in ground[start : start + size].tolist()], fill=shadow)
    colors = _shaded(mesh, turned, starts, sizes)
    depth = np.add.reduceat(turned[:, 2], starts) / sizes
    corners = (raw * scale + offset).tolist()
    for k in np.argsort(depth, kind="stable"):
        points = [tuple(p) for p in corners[starts[k] : starts[k] + sizes[k]]]
        if sizes[k] == 2:
            _stroke(pen, points, max(1.0, mesh[k].width * scale), colors[k])
        else:
            pen.polygon(points, fill=colors[k])


def _rotation(camera: Camera) -> np.ndarray:
    yaw, pitch, roll = (math.radians(a) for a in (camera.yaw, camera.pitch, camera.roll))
    about_y = np.array([[math.cos(yaw), 0, -math.sin(yaw)], [0, 1, 0], [math.sin(yaw), 0, math.cos(yaw)]])
    about_x = np.array(
        [[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)], [0, -math.sin(pitch), math.cos(pitch)]]
    )
    about_z = np.array([[math.cos(roll), math.sin(roll), 0], [-math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    flip = np.diag([-1.0 if camera.mirror else 1.0, 1.0, 1.0])
    return flip @ about_y @ about_x @ about_z


def _flatten(turned: np.ndarray, radius: float, camera: Camera) -> np.ndarray:
    away = radius * camera.distance
    return turned[:, :2] * [1, -1] * (away / (away - turned[:, 2:3]))


def _fit(
    raw: np.ndarray, camera: Camera, frame: tuple[float, float, float, float]
) -> tuple[float, np.ndarray]:
    """Return the scale and the offset that bring a flattened mesh into its frame."""
    low, high = raw.min(axis=0), raw.max(axis=0)
    left, top, right, bottom = frame
    room = np.array([right - left, bottom - top])
    scale = float((room / np.maximum(high - low, 1e-9)).min() * camera.fill)
    middle = np.array([left, top]) + room * (0.5 + np.array(camera.shift))
    return scale, middle - (low + high) / 2 * scale


def _fallen(solid: np.ndarray) -> np.ndarray:
    """Drop every point along the light to the height of the lowest."""
    above = solid[:, 1:2] - solid[:, 1].min()
    return solid - above * [-0.25, 1.0, 0.0]


def _shaded(mesh: Mesh, turned: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> list[Color]:
    a, b, c = (turned[starts + np.minimum(sizes - 1, k)] for k in (0, 1, 2))
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1)
    normals = np.where(length[:, None] > 1e-12, normals / np.maximum(length, 1e-12)[:, None], _LIGHT * 0.75)
    normals = np.where(normals[:, 2:3] < 0, -normals, normals)
    light = 0.55 + 0.5 * np.clip(normals @ _LIGHT, 0, 1)
    colors = np.array([face.color for face in mesh]) * light[:, None]
    return [tuple(c) for c in colors.clip(0, 255).astype(int).tolist()]


def _stroke(pen: ImageDraw.ImageDraw, points: list, width: float, color: Color) -> None:
    pen.line(points, fill=color, width=max(1, round(width)))
    if width > 2:
        for x, y in points:
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=color)
