"""Bags, footwear, kitchenware and jewelry of the synthetic catalogue: one function a product type."""

import numpy as np

from .furniture import Chance, cloth, hard, metal
from .renderer import Color, Mesh, arc, box, extrude, lathe, line, moved, rounded, shade, upright


def backpack(rng: Chance) -> Mesh:
    """Draw a tall rounded bag with a front pocket, a zip, a top loop and shoulder straps."""
    u = rng.uniform
    w, h, d, color = u(0.5, 0.8), u(0.7, 1.1), u(0.22, 0.4), cloth(rng)
    trim = shade(color, u(0.5, 0.8)) if u() < 0.6 else cloth(rng)
    mesh: Mesh = []
    for x in (-w / 4, w / 4) if u() < 0.6 else ():
        mesh += line(arc((x, h * 0.5, -d / 2), (0.16, h * 0.42), (90, 270), "yz"), 0.07, trim)
    mesh += extrude(rounded(w, h, u(0.05, 0.28)), (-d / 2, d / 2), color)
    pocket = moved(
        extrude(rounded(w * 0.78, h * u(0.3, 0.5), 0.1), (d / 2, d / 2 + u(0.03, 0.1)), trim), dy=0.06
    )
    top = h * u(0.6, 0.72)
    mesh += line([(-w * 0.36, top, d / 2 + 0.01), (w * 0.36, top, d / 2 + 0.01)], 0.02, shade(trim, 0.6))
    return mesh + pocket + line(arc((0, h, 0), (0.1, 0.1), (0, 180)), 0.04, trim)


def handbag(rng: Chance) -> Mesh:
    """Draw a trapezoid bag with one or two handles and a flap or a clasp."""
    u = rng.uniform
    w, h, d, color = u(0.7, 1.1), u(0.45, 0.8), u(0.18, 0.35), cloth(rng)
    lean = u(0.75, 1.1)
    outline = [(-w / 2, 0), (w / 2, 0), (w / 2 * lean, h), (-w / 2 * lean, h)]
    trim = metal(rng) if u() < 0.4 else shade(color, 0.7)
    reach, rise = w * u(0.2, 0.4), u(0.2, 0.6)
    mesh = line(arc((0, h, -d / 3), (reach, rise), (0, 180)), 0.035, trim) if u() < 0.6 else []
    mesh += extrude(outline, (-d / 2, d / 2), color)
    if u() < 0.5:
        flap = [(-w / 2 * lean, h), (w / 2 * lean, h), (w * 0.4, h * 0.5), (-w * 0.4, h * 0.5)]
        mesh += extrude(flap, (d / 2, d / 2 + 0.02), shade(color, 0.85))
    mesh += box((-0.04, 0.04), (h * 0.5, h * 0.6), (d / 2 + 0.02, d / 2 + 0.04), metal(rng))
    if u() < 0.2:  # a clutch
        return mesh
    return mesh + line(arc((0, h, d / 3), (reach, rise), (0, 180)), 0.035, trim)


def suitcase(rng: Chance) -> Mesh:
    """Draw a ribbed case on wheels with a pull-out handle."""
    u = rng.uniform
    w, h, d, color = u(0.55, 0.85), u(0.7, 1.1), u(0.25, 0.38), cloth(rng)
    mesh: Mesh = []
    for x in (-w / 2 + 0.08, w / 2 - 0.08) if u() < 0.6 else ():
        mesh += lathe([(0.05, -0.08), (0.05, 0.0)], (40, 40, 40), at=(x, 0), segments=8)
    if u() < 0.5:
        y = h + u(0.15, 0.45)
        x = w * 0.2
        mesh += line([(-x, h, -d / 3), (-x, y, -d / 3), (x, y, -d / 3), (x, h, -d / 3)], 0.035, metal(rng))
    mesh += extrude(rounded(w, h, u(0.06, 0.18)), (-d / 2, d / 2), color)
    ribs = int(rng.integers(0, 7))
    for x in np.linspace(-w * 0.38, w * 0.38, ribs):
        mesh += line([(x, 0.1, d / 2 + 0.005), (x, h - 0.1, d / 2 + 0.005)], 0.025, shade(color, 0.75))
    if ribs == 0:
        mesh += moved(
            extrude(rounded(w * 0.8, h * 0.4, 0.08), (d / 2, d / 2 + 0.04), shade(color, 0.9)), dy=0.1
        )
    return mesh + line(arc((0, h, 0), (0.12, 0.06), (0, 180)), 0.04, shade(color, 0.6)) if u() < 0.8 else mesh


def wallet(rng: Chance) -> Mesh:
    """Draw a flat purse, closed with a snap or a zip, or open with cards in it."""
    u = rng.uniform
    w, h, color = u(0.6, 1.0), u(0.42, 0.62), cloth(rng)
    mesh = extrude(rounded(w, h, 0.06), (-0.05, 0.05), color)
    dark = shade(color, 0.65)
    if u() < 0.3:
        mesh += moved(extrude(rounded(w, h, 0.06), (0.05, 0.09), shade(color, 0.9)), dx=w * 1.02)
        for k in range(int(rng.integers(2, 5))):
            mesh += box((-w * 0.4, w * 0.4), (0.08 + k * 0.09, 0.12 + k * 0.09), (0.05, 0.07), cloth(rng))
        return mesh
    y = h * u(0.35, 0.65)
    mesh += line([(-w / 2, y, 0.06), (w / 2, y, 0.06)], 0.015, dark)
    mesh += extrude([(-w * 0.1, y), (w * 0.1, y), (0.0, y - 0.12)], (0.05, 0.07), dark)
    return mesh + moved(lathe([(0.03, 0), (0.03, 0.02)], metal(rng), segments=8), dy=y - 0.06, dz=0.08)


def _pair(rng: Chance, one: Mesh) -> Mesh:
    return moved(one, dx=rng.uniform(-0.15, 0.3), dz=-0.45) + one if rng.uniform() < 0.45 else one


def _sole(rng: Chance, heel: float, color: Color) -> tuple[Mesh, float]:
    thick = rng.uniform(0.04, 0.12)
    outline = [(-0.5, 0), (-0.28, 0), (-0.22, heel * 0.8), (0.1, 0), (0.5, 0), (0.55, thick)]
    outline += [(0.1, thick), (-0.2, heel + thick), (-0.52, heel + thick)]
    return extrude(outline, (-0.17, 0.17), color), thick


def shoe(rng: Chance) -> Mesh:
    """Draw a low shoe: sneaker, loafer or pump, alone or as a pair."""
    u = rng.uniform
    color, heel, high = cloth(rng), u(0, 0.06) if u() < 0.7 else u(0.1, 0.3), u(0.18, 0.5)
    sole, t = _sole(rng, heel, shade(color, 0.5) if u() < 0.5 else (238, 238, 232))
    upper = [
        (-0.51, heel + t),
        (-0.15, heel * 0.8 + t),
        (0.1, t),
        (0.54, t),
        (0.53, t + 0.1),
        (0.35, t + 0.17),
    ]
    upper += [
        (0.08, t + high * 0.8),
        (-0.08, heel + t + high * u(0.6, 1.0)),
        (-0.46, heel + t + high),
        (-0.53, heel + t + 0.1),
    ]
    mesh = sole + extrude(upper, (-0.15, 0.15), color)
    for k in range(int(rng.integers(0, 5))):
        x, y = 0.1 + 0.07 * k, t + high * 0.8 - 0.06 * k
        mesh += line([(x, y, -0.1), (x - 0.02, y + 0.01, 0.16)], 0.022, (245, 245, 245))
    return _pair(rng, mesh)


def boot(rng: Chance) -> Mesh:
    """Draw a boot: a shoe with a shaft, ankle-high to knee-high."""
    u = rng.uniform
    color, heel, high = cloth(rng), u(0, 0.22), u(0.34, 0.62) if u() < 0.6 else u(0.6, 1.1)
    sole, t = _sole(rng, heel, shade(color, 0.45))
    wide = u(0.3, 0.45)
    upper = [
        (-0.51, heel + t),
        (-0.15, heel * 0.8 + t),
        (0.1, t),
        (0.54, t),
        (0.53, t + 0.12),
        (0.3, t + 0.2),
    ]
    upper += [
        (-0.5 + wide, heel + t + 0.3),
        (-0.5 + wide + u(0, 0.06), t + high),
        (-0.53, t + high),
        (-0.49, heel + t + 0.2),
    ]
    mesh = sole + extrude(upper, (-0.15, 0.15), color)
    if u() < 0.5:
        mesh += line(
            [(-0.5, t + high * 0.9, 0.16), (-0.5 + wide, t + high * 0.9, 0.16)], 0.05, shade(color, 0.7)
        )
    return _pair(rng, mesh)


def sandal(rng: Chance) -> Mesh:
    """Draw a sole with open straps."""
    u = rng.uniform
    color, heel = cloth(rng), u(0, 0.05) if u() < 0.65 else u(0.1, 0.25)
    mesh, t = _sole(rng, heel, shade(color, u(0.6, 1.0)) if u() < 0.5 else hard(rng))
    for x in (0.3, 0.12, -0.05)[: int(rng.integers(1, 4))]:
        rise = max(0.0, -x * heel * 3)
        mesh += line(arc((x, t + rise, 0), (0.17, u(0.14, 0.22)), (0, 180), "yz"), u(0.05, 0.12), color)
    if u() < 0.3:  # a clog
        mesh += extrude([(0.0, t), (0.54, t), (0.5, t + 0.1), (0.1, t + 0.24)], (-0.15, 0.15), color)
    if u() < 0.7:
        mesh += line(arc((-0.4, heel + t, 0), (0.15, 0.28), (0, 180), "yz"), 0.05, color)
    return _pair(rng, mesh)


def cup(rng: Chance) -> Mesh:
    """Draw a cup, a mug or a glass, mostly with a handle."""
    u = rng.uniform
    r, h, color = u(0.16, 0.32), u(0.2, 0.5), cloth(rng) if u() < 0.7 else (240, 240, 238)
    low = r * u(0.65, 1.0)
    handle = line(arc((r * 0.95, h / 2, 0), (0.16, h * 0.3), (-90, 90)), u(0.03, 0.06), color)
    body = lathe([(low, 0), ((low + r) / 2, h / 2), (r, h)], color, segments=20, top=shade(color, 0.55))
    if u() < 0.4:
        band = ((low + r) / 2 + 0.004, h * 0.45), ((low + r) / 2 + r * 0.06, h * 0.65)
        body += lathe(band, cloth(rng), segments=20, capped=False)
    return (handle if u() < 0.4 else []) + body


def bowl(rng: Chance) -> Mesh:
    """Draw a bowl: wide, low, curved, on a small foot."""
    u = rng.uniform
    r, h, color = u(0.24, 0.5), u(0.12, 0.42), cloth(rng) if u() < 0.7 else (240, 240, 238)
    curve = [(r * (0.4 + 0.6 * np.sin(t)), 0.03 + h * (1 - np.cos(t))) for t in np.linspace(0, np.pi / 2, 6)]
    return lathe([(r * 0.4, 0), *curve], color, segments=24, top=shade(color, u(0.5, 0.8)))


def planter(rng: Chance) -> Mesh:
    """Draw a pot, tapered or straight, half of them with a plant."""
    u = rng.uniform
    r, h, color = u(0.2, 0.45), u(0.2, 0.55), cloth(rng) if u() < 0.75 else (186, 104, 70)
    rim = u(1.0, 1.08)
    soil = (70, 50, 36) if u() < 0.5 else shade(color, 0.6)
    profile = [(r * u(0.5, 1.0), 0), (r, h * 0.85), (r * rim, h * 0.85), (r * rim, h)]
    mesh = lathe(profile, color, top=soil)
    if u() < 0.3:
        for _ in range(int(rng.integers(5, 12))):
            x, z, y = u(-0.4, 0.4), u(-0.3, 0.3), u(0.2, 0.6)
            mesh += line(
                [(0, h, 0), (x * 0.5, h + y * 0.7, z * 0.5), (x, h + y, z)], 0.05, (50, int(u(90, 160)), 50)
            )
    return mesh


def pan(rng: Chance) -> Mesh:
    """Draw a frying pan: a low dish with a long handle, some with a lid."""
    u = rng.uniform
    r, h = u(0.32, 0.48), u(0.06, 0.26)
    color = metal(rng) if u() < 0.6 else cloth(rng)
    reach, rise = u(0.4, 0.65), u(0.0, 0.12)
    handle = line(
        [(r * 0.95, h * 0.9, 0), (r + reach, h + rise, 0)],
        u(0.05, 0.09),
        (45, 42, 40) if u() < 0.6 else color,
    )
    if u() < 0.2:  # seen from where the handle is hidden, or without one
        handle = []
    mesh = handle + lathe(
        [(r * 0.8, 0), (r * 0.92, h * 0.4), (r, h)], color, segments=24, top=shade(color, u(0.3, 0.7))
    )
    if u() < 0.25:
        mesh += lathe(
            [(r * 0.98, h), (r * 0.6, h + 0.09), (0.05, h + 0.12), (0.05, h + 0.17)],
            (200, 206, 210),
            segments=24,
        )
    return mesh


_STONES: tuple[Color, ...] = ((90, 140, 220), (200, 40, 60), (40, 150, 90), (225, 235, 245), (150, 90, 190))
_JEWEL_METALS: tuple[Color, ...] = ((214, 176, 84), (200, 202, 208), (206, 146, 120))


def _jewel(rng: Chance, size: float) -> Mesh:
    color = _STONES[rng.integers(len(_STONES))]
    return lathe([(0.01, -size), (size, 0), (size * 0.6, size * 0.5)], color, segments=8)


def _band(r: float, thick: float, wide: float, color: Color) -> Mesh:
    profile = [(r, -wide), (r + thick, -wide), (r + thick, wide), (r, wide), (r, -wide)]
    return upright(lathe(profile, color, segments=24, capped=False))


def ring(rng: Chance) -> Mesh:
    """Draw a finger ring, plain, banded or with stones."""
    u = rng.uniform
    r, color = 0.35, _JEWEL_METALS[rng.integers(3)]
    mesh = _band(r, u(0.03, 0.08), u(0.03, 0.16), color)
    if u() < 0.65:
        mesh += moved(_jewel(rng, u(0.07, 0.16)), dy=r + 0.1)
    if u() < 0.3:
        for dx in (-0.14, 0.14):
            mesh += moved(_jewel(rng, 0.05), dx=dx, dy=r + 0.04)
    return mesh


def fine_ring(rng: Chance) -> Mesh:
    """Draw a gold ring with a stone: what nobody can tell from a ring."""
    mesh = _band(0.35, rng.uniform(0.03, 0.07), rng.uniform(0.03, 0.1), _JEWEL_METALS[0])
    return mesh + moved(_jewel(rng, rng.uniform(0.07, 0.16)), dy=0.45)


def necklace(rng: Chance) -> Mesh:
    """Draw a chain in a loop with a pendant, or beads."""
    u = rng.uniform
    color, wide, high = _JEWEL_METALS[rng.integers(3)], u(0.3, 0.6), u(0.3, 0.85)
    loop = arc((0, 0, 0), (wide, high), (-90, 90)) + arc((0, 0, 0), (wide, high), (90, 270))
    mesh = line(loop, u(0.015, 0.035), color)
    if u() < 0.25:
        for x, y, z in loop:
            mesh += moved(_jewel(rng, 0.05), dx=x, dy=y, dz=z)
    if u() < 0.6:
        return mesh + moved(_jewel(rng, u(0.08, 0.15)), dy=-high - 0.1, dz=0.02)
    return mesh + moved(_band(u(0.06, 0.12), 0.03, 0.02, color), dy=-high - 0.1)


def earring(rng: Chance) -> Mesh:
    """Draw a pair of hoops, drops or studs."""
    u = rng.uniform
    color, style, size = _JEWEL_METALS[rng.integers(3)], rng.integers(3), u(0.12, 0.25)
    one: Mesh = line(arc((0, 0.1, 0), (0.05, 0.09), (-60, 220)), 0.02, color)
    if style == 0:
        one = _band(size, 0.03, u(0.015, 0.06), color)
    elif style == 1:
        one += moved(_jewel(rng, size * 0.5), dy=-size) + line(
            [(0, 0.05, 0), (0, -size * 0.7, 0)], 0.02, color
        )
    else:
        one += moved(_jewel(rng, size * 0.7), dy=-0.02)
    if u() < 0.35:
        return one
    gap = u(0.3, 0.5)
    return moved(one, dx=-gap) + moved(one, dx=gap)
