"""Seating, tables, storage and lamps of the synthetic catalogue: one function a product type."""

import colorsys
from dataclasses import replace

import numpy as np

from .renderer import Color, Mesh, arc, box, lathe, line, moved, shade

Chance = np.random.Generator

WOODS: tuple[Color, ...] = ((181, 134, 84), (120, 78, 44), (214, 178, 130), (84, 60, 46), (236, 228, 214))
METALS: tuple[Color, ...] = ((190, 192, 196), (60, 60, 64), (205, 170, 80), (150, 150, 155), (176, 110, 70))


def cloth(rng: Chance) -> Color:
    """Pick a color for textiles and plastics: any hue, often muted, sometimes nearly black or white."""
    hue, saturation, value = rng.uniform(), rng.beta(1.4, 2.2), rng.uniform(0.2, 0.95)
    r, g, b = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(r * 255), round(g * 255), round(b * 255)


def wood(rng: Chance) -> Color:
    """Pick a kind of wood, a little lighter or darker."""
    return shade(WOODS[rng.integers(len(WOODS))], rng.uniform(0.85, 1.1))


def metal(rng: Chance) -> Color:
    """Pick a metal."""
    return shade(METALS[rng.integers(len(METALS))], rng.uniform(0.85, 1.1))


def hard(rng: Chance) -> Color:
    """Pick what frames and cases are made of: wood, metal, or painted in any color."""
    return (wood, metal, cloth)[rng.choice(3, p=[0.5, 0.2, 0.3])](rng)


def _legs(w: float, d: float, h: float, thick: float, color: Color, splay: float = 0.0) -> Mesh:
    mesh: Mesh = []
    for sx in (-1, 1):
        for sz in (-1, 1):
            x, z = sx * (w / 2 - thick), sz * (d / 2 - thick)
            mesh += line([(x, h, z), (x * (1 + splay), 0, z * (1 + splay))], thick, color)
    return mesh


def chair(rng: Chance) -> Mesh:
    """Draw a seat on legs with a back (panel, slats or rungs), now and then with arms or upholstered."""
    u = rng.uniform
    if u() < 0.2:
        return _upholstered(rng, u(0.75, 1.0))
    w, d, h, back = u(0.42, 0.6), u(0.4, 0.55), u(0.4, 0.52), u(0.4, 0.75)
    frame, seat = hard(rng), cloth(rng) if u() < 0.6 else hard(rng)
    mesh = _legs(w, d, h, u(0.025, 0.06), frame, u(0, 0.25))
    mesh += box((-w / 2, w / 2), (h, h + u(0.03, 0.12)), (-d / 2, d / 2), seat)
    z, style = -d / 2, rng.integers(3)
    if style == 0:
        mesh += box((-w / 2, w / 2), (h + u(0.03, 0.25), h + back), (z, z + 0.06), seat)
    posts = [(-w / 2 + 0.03), (w / 2 - 0.03)]
    count = int(rng.integers(2, 6))
    if style == 1:
        posts += list(np.linspace(-w / 2 + 0.1, w / 2 - 0.1, count))
        mesh += box((-w / 2, w / 2), (h + back - 0.08, h + back), (z, z + 0.04), frame)
    if style == 2:
        for y in np.linspace(h + 0.15, h + back - 0.05, count):
            mesh += box((-w / 2, w / 2), (y, y + 0.06), (z, z + 0.03), frame)
    for x in posts:
        mesh += line([(x, h, z + 0.03), (x, h + back, z + 0.03)], 0.035, frame)
    if u() < 0.25:
        for x in (-w / 2, w / 2):
            mesh += line([(x, h, d / 2), (x, h + 0.22, d / 2), (x, h + 0.22, z)], 0.045, frame)
    return mesh


def _upholstered(rng: Chance, w: float) -> Mesh:
    u = rng.uniform
    d, h, back, arm = u(0.7, 0.95), u(0.35, 0.48), u(0.3, 0.55), u(0.1, 0.22)
    color = cloth(rng)
    lift = u(0.04, 0.16)
    mesh = _legs(w, d, lift + 0.02, 0.05, hard(rng))
    mesh += box((-w / 2, w / 2), (lift, h - 0.08), (-d / 2, d / 2), color)
    mesh += box((-w / 2, w / 2), (h - 0.08, h + back), (-d / 2, -d / 2 + 0.2), shade(color, 0.93))
    seats = max(1, round((w - 2 * arm) / u(0.55, 0.9)))
    edges = np.linspace(-w / 2 + arm, w / 2 - arm, seats + 1)
    for a, b in zip(edges, edges[1:], strict=False):
        mesh += box((a + 0.01, b - 0.01), (h - 0.08, h + 0.06), (-d / 2 + 0.2, d / 2), shade(color, 1.05))
        mesh += box((a + 0.02, b - 0.02), (h + 0.07, h + back - 0.04), (-d / 2 + 0.2, -d / 2 + 0.32), color)
    if u() < 0.88:
        top = h + u(0.1, 0.3)
        for a in (-w / 2, w / 2 - arm):
            mesh += box((a, a + arm), (lift, top), (-d / 2, d / 2), shade(color, 0.97))
    return mesh


def sofa(rng: Chance) -> Mesh:
    """Draw an upholstered bench of one to four cushions with back and arms."""
    return _upholstered(rng, rng.uniform(0.95, 2.3))


def stool(rng: Chance) -> Mesh:
    """Draw a round or square seat on three or four legs or one foot, rarely with a low back."""
    u = rng.uniform
    w, h, thick = u(0.3, 0.45), u(0.42, 0.8), u(0.04, 0.12)
    frame, seat = hard(rng), cloth(rng) if u() < 0.5 else hard(rng)
    if u() < 0.25:
        mesh = lathe([(w * 0.5, 0), (w * 0.5, 0.03), (0.03, 0.05), (0.03, h)], frame)
    else:
        mesh = _legs(w, w, h, u(0.025, 0.05), frame, u(0.0, 0.5))
        mesh += line(arc((0, h * 0.35, 0), (w * 0.48, w * 0.48), (0, 360), "xz"), 0.02, frame)
    if u() < 0.6:
        mesh += lathe([(w / 2, h), (w / 2, h + thick)], seat)
    else:
        mesh += box((-w / 2, w / 2), (h, h + thick), (-w / 2, w / 2), seat)
    if u() < 0.25:
        mesh += box((-w / 2, w / 2), (h + 0.1, h + 0.3), (-w / 2, -w / 2 + 0.04), frame)
    return mesh


def ottoman(rng: Chance) -> Mesh:
    """Draw a padded box or drum close to the floor, tufted or banded."""
    u = rng.uniform
    w, d, h, color = u(0.5, 1.2), u(0.5, 0.65), u(0.32, 0.5), cloth(rng)
    lift = u(0.0, 0.14)
    legs = _legs(min(w, d), d, lift + 0.02, 0.05, hard(rng)) if lift > 0.04 else []
    if u() < 0.45:
        r = d / 2
        body = lathe([(r, lift), (r * u(1, 1.1), (lift + h) / 2), (r, h - 0.03), (r * 0.93, h)], color)
        return (
            legs
            + body
            + line(arc((0, h * 0.75, 0), (r * 1.04, r * 1.04), (0, 360), "xz"), 0.015, shade(color, 0.6))
        )
    legs = _legs(w, d, lift + 0.02, 0.05, hard(rng)) if lift > 0.04 else []
    mesh = legs + box((-w / 2, w / 2), (lift, h * 0.7), (-d / 2, d / 2), color)
    mesh += box(
        (-w / 2 - 0.01, w / 2 + 0.01), (h * 0.7, h), (-d / 2 - 0.01, d / 2 + 0.01), shade(color, 1.06)
    )
    for x in np.linspace(-w / 2, w / 2, int(rng.integers(2, 5)) + 2)[1:-1]:
        mesh += line([(x, h + 0.005, -d / 2), (x, h + 0.005, d / 2)], 0.012, shade(color, 0.6))
    return mesh


def table(rng: Chance) -> Mesh:
    """Draw a top, square or round, on four legs or one foot; some have a shelf below."""
    u = rng.uniform
    w, d, h, color = u(0.6, 1.8), u(0.5, 0.95), u(0.4, 0.78), hard(rng)
    frame = color if u() < 0.5 else hard(rng)
    thick = u(0.02, 0.07)
    if u() < 0.35:
        r = d / 2 + 0.1
        foot = [(r * 0.5, 0), (r * 0.45, 0.04), (0.05, 0.08), (0.05, h)]
        legs = (
            lathe(foot, frame) if u() < 0.5 else _legs(r * 1.3, r * 1.3, h, u(0.03, 0.06), frame, u(0, 0.3))
        )
        return legs + lathe([(r, h), (r, h + thick)], color, segments=24)
    mesh = _legs(w, d, h, u(0.03, 0.09), frame, u(-0.1, 0.12))
    if u() < 0.3:
        mesh += box((-w / 2.2, w / 2.2), (h * 0.3, h * 0.3 + 0.03), (-d / 2.2, d / 2.2), frame)
    return mesh + box((-w / 2, w / 2), (h, h + thick), (-d / 2, d / 2), color)


def desk(rng: Chance) -> Mesh:
    """Draw a table to sit at: side panels or legs, mostly with drawers, some with a hutch."""
    u = rng.uniform
    w, d, h, color = u(1.0, 1.6), u(0.5, 0.7), u(0.68, 0.8), hard(rng)
    mesh: Mesh = []
    if u() < 0.5:
        for x in (-w / 2, w / 2 - 0.04):
            mesh += box((x, x + 0.04), (0, h), (-d / 2, d / 2), color)
        mesh += box((-w / 2, w / 2), (h * 0.4, h), (-d / 2, -d / 2 + 0.02), shade(color, 0.9))
    else:
        mesh += _legs(w, d, h, u(0.03, 0.06), hard(rng))
    if u() < 0.6:
        side = u(0.3, 0.45)
        mesh += _drawers(
            (w / 2 - side, w / 2 - 0.04), (u(0.05, 0.5), h), d, int(rng.integers(1, 4)), color, metal(rng)
        )
    mesh += box((-w / 2, w / 2), (h, h + 0.04), (-d / 2, d / 2), shade(color, 1.05))
    if u() < 0.25:
        mesh += box((-w / 2, w / 2), (h + 0.3, h + 0.33), (-d / 2, -d / 2 + 0.22), color)
        for x in (-w / 2, w / 2 - 0.03):
            mesh += box((x, x + 0.03), (h, h + 0.33), (-d / 2, -d / 2 + 0.22), color)
    return mesh


def _drawers(x, y, d, count, color: Color, knob: Color) -> Mesh:
    mesh = box(x, y, (-d / 2, d / 2 - 0.03), shade(color, 0.85))
    edges = np.linspace(y[0], y[1], count + 1)
    for a, b in zip(edges, edges[1:], strict=False):
        mesh += box((x[0] + 0.01, x[1] - 0.01), (a + 0.01, b - 0.01), (d / 2 - 0.03, d / 2), color)
        middle, half = (x[0] + x[1]) / 2, (x[1] - x[0]) * 0.15
        y_knob = (a + b) / 2
        mesh += line(
            [(middle - half, y_knob, d / 2 + 0.02), (middle + half, y_knob, d / 2 + 0.02)], 0.02, knob
        )
    return mesh


def shelf(rng: Chance) -> Mesh:
    """Draw an open rack of boards, tall or low, with or without a back."""
    u = rng.uniform
    w, d, h, color = u(0.5, 1.1), u(0.25, 0.4), u(0.7, 1.9), hard(rng)
    mesh: Mesh = []
    if u() < 0.6:
        mesh += box((-w / 2, w / 2), (0, h), (-d / 2, -d / 2 + 0.02), shade(color, 0.75))
    boards = np.linspace(u(0.03, 0.12), h - 0.03, int(rng.integers(3, 7)))
    for y in boards:
        mesh += box((-w / 2, w / 2), (y, y + 0.03), (-d / 2, d / 2), color)
    if u() < 0.6:
        for x in (-w / 2 - 0.02, w / 2):
            mesh += box((x, x + 0.03), (0, h), (-d / 2, d / 2), shade(color, 0.95))
    else:
        mesh += _legs(w + 0.04, d + 0.02, h, 0.03, metal(rng))
    for y in boards[:-1]:
        if u() < 0.3:
            x = u(-w / 3, w / 3)
            mesh += box((x - 0.08, x + 0.08), (y + 0.03, y + 0.15), (-d / 3, d / 3), cloth(rng))
    return mesh


def cabinet(rng: Chance) -> Mesh:
    """Draw a case with doors or drawers, on legs or a plinth; some leave a part open."""
    u = rng.uniform
    w, d, h, color = u(0.5, 1.4), u(0.35, 0.5), u(0.6, 1.6), hard(rng)
    lift, knob = u(0.0, 0.2), metal(rng)
    mesh = _legs(w, d, lift + 0.02, 0.05, hard(rng)) if lift > 0.05 else []
    mesh += box((-w / 2, w / 2), (lift, h), (-d / 2, d / 2 - 0.02), shade(color, 0.85))
    if u() < 0.35:
        return mesh + _drawers((-w / 2, w / 2), (lift, h), d, int(rng.integers(2, 6)), color, knob)
    top = h - (u(0.2, 0.35) if u() < 0.3 else 0.0)
    if top < h:
        mesh += box(
            (-w / 2 + 0.03, w / 2 - 0.03), (top + 0.02, h - 0.03), (d / 2 - 0.02, d / 2), shade(color, 0.45)
        )
    edges = np.linspace(-w / 2, w / 2, int(rng.integers(1, 4)) + 1)
    for a, b in zip(edges, edges[1:], strict=False):
        mesh += box((a + 0.01, b - 0.01), (lift + 0.02, top - 0.02), (d / 2 - 0.02, d / 2), color)
        y = (lift + top) / 2
        mesh += line([(b - 0.06, y - 0.06, d / 2 + 0.02), (b - 0.06, y + 0.06, d / 2 + 0.02)], 0.02, knob)
    return mesh


def bed(rng: Chance) -> Mesh:
    """Draw a mattress with pillows on a frame with a headboard."""
    u = rng.uniform
    w, d, frame, sheet = u(0.9, 1.8), 2.0, hard(rng), cloth(rng)
    mesh = box((-w / 2, w / 2), (0.0, u(0.9, 1.3)), (-d / 2 - 0.08, -d / 2), frame)
    mesh += box((-w / 2, w / 2), (0.1, 0.32), (-d / 2, d / 2), frame)
    mesh += box((-w / 2 + 0.03, w / 2 - 0.03), (0.32, 0.55), (-d / 2, d / 2 - 0.03), sheet)
    for x in (-w / 4, w / 4):
        mesh += box((x - w / 6, x + w / 6), (0.55, 0.67), (-d / 2 + 0.05, -d / 2 + 0.45), (240, 240, 236))
    return mesh


def rug(rng: Chance) -> Mesh:
    """Draw a flat rectangle with borders and stripes or checks."""
    u = rng.uniform
    w, d, colors = u(1.2, 2.0), u(0.9, 1.3), [cloth(rng) for _ in range(3)]
    mesh = box((-w / 2, w / 2), (0, 0.015), (-d / 2, d / 2), colors[0])
    mesh += box((-w / 2.3, w / 2.3), (0.015, 0.02), (-d / 2.4, d / 2.4), colors[1])
    stripes = int(rng.integers(3, 9))
    for k, x in enumerate(np.linspace(-w / 2.5, w / 2.5, stripes)):
        pair = (x - w / 3.5 / stripes, x + w / 3.5 / stripes)
        mesh += box(pair, (0.02, 0.025), (-d / 2.6, d / 2.6), colors[2] if k % 2 else colors[0])
    return mesh


def lamp(rng: Chance) -> Mesh:
    """Draw a foot, a stem and a shade; table lamps and floor lamps."""
    u = rng.uniform
    h, color, tone = u(0.25, 1.3), hard(rng), cloth(rng) if u() < 0.5 else (244, 236, 214)
    r, low = u(0.14, 0.26), u(0.08, 0.25)
    if h < 0.7 and u() < 0.6:
        base = lathe([(0.08, 0), (u(0.08, 0.2), h * 0.4), (0.04, h * 0.9), (0.02, h)], color)
    else:
        base = lathe([(u(0.09, 0.16), 0), (0.09, 0.03), (0.015, 0.05), (0.015, h)], color)
    return base + lathe([(r, h - 0.05), (r * u(0.5, 1.0), h + low)], tone, top=shade(tone, 1.15))


def light_fixture(rng: Chance) -> Mesh:
    """Draw a lamp that hangs: a canopy, cords, and one to five shades or globes."""
    u = rng.uniform
    if u() < 0.2:  # a ceiling lamp on a stem, as a table lamp upside down
        return [replace(f, points=tuple((x, -y, z) for x, y, z in f.points)) for f in lamp(rng)]
    color, drop, count = hard(rng), u(0.15, 0.8), int(rng.choice([1, 1, 1, 3, 5]))
    mesh = lathe([(0.12, 0.0), (0.1, 0.05)], metal(rng))
    spread = 0.0 if count == 1 else u(0.25, 0.5)
    r = u(0.14, 0.3) if count == 1 else u(0.08, 0.14)
    dome = u() < 0.6
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        x, z = spread * np.cos(angle), spread * np.sin(angle)
        mesh += line([(0, 0, 0), (x, -drop * 0.7, z), (x, -drop, z)], 0.012, (40, 40, 40))
        profile = [(0.03, 0), (r * 0.7, -r * 0.4), (r, -r), (r, -r * 1.1)]
        if not dome:
            profile = [(r * np.sin(t), -r + r * np.cos(t)) for t in np.linspace(0.1, np.pi - 0.1, 7)]
        mesh += moved(lathe(profile, color if dome else (250, 244, 220), at=(x, z)), dy=-drop)
    return mesh


def light_bulb(rng: Chance) -> Mesh:
    """Draw a bulb: pear, globe, candle or tube on a screw."""
    u = rng.uniform
    glass = [(250, 248, 236), (245, 225, 160), (225, 232, 240), (252, 252, 252)][rng.integers(4)]
    screw, r, h = metal(rng), u(0.1, 0.2), u(0.2, 0.45)
    mesh: Mesh = []
    for k in range(4):
        mesh += lathe([(0.062, k * 0.03), (0.072, k * 0.03 + 0.015), (0.062, k * 0.03 + 0.03)], screw)
    neck = [(0.07, 0.12), (0.075, 0.16)]
    body = [(0.08 + (r - 0.08) * np.sin(t), 0.16 + h * t / np.pi) for t in np.linspace(0.3, np.pi * 0.75, 6)]
    return mesh + lathe([*neck, *body, (r * 0.45, 0.16 + h * 0.93), (0.02, 0.17 + h)], glass)
