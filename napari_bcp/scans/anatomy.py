"""The phantom's body: a trunk from the lungs' bases to the kidneys, drawn organ by organ in millimetres.

Inside the body x points to the right, y to the front, z up; 0 is the middle of the scan. An organ is a "depth": an
array of mm below its surface, negative outside. Organs are cut by taking the lesser of two depths, joined by taking
the greater, roughened by adding noise, and painted back to front, so that what comes later lies on top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import PchipInterpolator
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float32]
Points = NDArray[np.float64]
Tones = dict[str, float]
Vector = tuple[float, float, float]

LIVER, STOMACH, AORTA = 1, 2, 3

REACH = 180.0  # mm from the middle that random fields cover

TONES = {
    "skin": 0.45, "fat": 0.66, "muscle": 0.28, "bone": 0.10, "marrow": 0.58, "disc": 0.33, "cord": 0.42,
    "fluid": 0.22, "lung": 0.07, "liver": 0.50, "wall": 0.48, "gas": 0.04, "blood": 0.88, "cortex": 0.72,
    "medulla": 0.46, "pancreas": 0.52, "content": 0.36,
}  # fmt: skip


class Painter:
    """A scan being drawn. A "depth" is an array of mm below a structure's surface, negative outside it.

    x, y, z : (nx, ny, nz) where each voxel lies in the body, mm, after tilt and bending.
    image : brightness, blood about 0.9, air 0.  mask : class values.
    """

    def __init__(self, shape: tuple[int, int, int], voxel: float, turn: NDArray[np.float64], rng: np.random.Generator):
        self.shape, self.voxel, self.rng = shape, voxel, rng
        self.steps = [(np.arange(n) - (n - 1) / 2) * voxel for n in shape]
        tilt = rotation(*rng.uniform(-0.07, 0.07, 3)) / rng.uniform(0.94, 1.06)
        move = rng.uniform((-8, -6, -12), (8, 6, 12))
        axes = np.meshgrid(*self.steps, indexing="ij", sparse=True)
        bent = []
        for row, shift in zip(tilt @ turn, move, strict=True):
            place = sum(weight * axis for weight, axis in zip(row, axes, strict=True)) + shift
            bent.append(place.astype(np.float32) + 6 * self.noise(110) + 1.5 * self.noise(45))
        self.x, self.y, self.z = bent
        self.image = np.zeros(shape, np.float32)
        self.mask = np.zeros(shape, np.uint8)

    def noise(self, wavelength: float) -> Floats:
        """Return a smooth random field (nx, ny, nz) of unit variance with features of about `wavelength` mm.

        Random weights on a cubic lattice, interpolated by cubic B-splines along each axis in turn. Features finer
        than two voxels are weaker, as they average out within a voxel. The field draws from a generator of its own,
        so that what is drawn next is the same at every voxel size.
        """
        rng = np.random.default_rng(self.rng.integers(2**63))
        strength = np.float32(min(1.0, wavelength / (2 * self.voxel)) ** 1.5)
        wavelength = max(wavelength, self.voxel)
        knots = np.arange(-np.ceil(REACH / wavelength) - 1, np.ceil(REACH / wavelength) + 2)
        field = strength * rng.standard_normal((knots.size,) * 3, np.float32)
        for steps in self.steps:
            away = np.abs(np.clip(steps, -REACH, REACH)[:, None] / wavelength - knots)
            basis = np.where(away < 1, 2 / 3 - away**2 + away**3 / 2, np.clip(2 - away, 0, None) ** 3 / 6)
            basis /= np.sqrt((basis**2).sum(1, keepdims=True))
            with np.errstate(invalid="ignore"):  # OpenBLAS may raise the flag from unused lanes; all is finite
                field = np.tensordot(field, basis.astype(np.float32), (0, 1))  # moves the done axis to the end
        return field

    def vary(self, value: float, share: float) -> float:
        """Return `value` changed by up to `share` of itself."""
        return float(value * self.rng.uniform(1 - share, 1 + share))

    def near(self, point: Vector, spread: float) -> Points:
        """Return a point within `spread` mm of `point` along each axis."""
        return np.asarray(point) + self.rng.uniform(-spread, spread, 3)

    def ball(self, centre: Vector, radii: Vector, move: float = 4, grow: float = 0.1) -> Floats:
        """Return the depth in an ellipsoid, varied in place by `move` mm and in size by the share `grow`."""
        cx, cy, cz = self.near(centre, move).tolist()
        rx, ry, rz = (np.asarray(radii) * self.rng.uniform(1 - grow, 1 + grow, 3)).tolist()
        far = np.sqrt(((self.x - cx) / rx) ** 2 + ((self.y - cy) / ry) ** 2 + ((self.z - cz) / rz) ** 2)
        return np.asarray((1 - far) * min(rx, ry, rz))

    def paint(self, depth: Floats, value: Floats | float, label: int | None = None) -> None:
        """Lay `value` where `depth` is positive, mixed over a voxel at the surface, and the label (None: none)."""
        cover = np.clip(depth * np.float32(1 / self.voxel) + np.float32(0.5), 0, 1)
        cover *= value - self.image
        self.image += cover
        if label is not None:
            self.mask[depth > 0] = label

    def tube(self, points: Points, radii: Points | float) -> tuple[Floats, NDArray[np.intp]]:
        """Return the depth in the union of balls at `points` (n, 3), and for each voxel the number of its ball.

        radii : one of all balls, or (n,).  Far from every ball the number is -1.
        The ball with the least d² - r² is nearest in four dimensions, where sqrt(R² - r²) is the fourth place.
        """
        radii = np.broadcast_to(np.asarray(radii, float), len(points))
        widest = float(radii.max())
        reach = widest + self.voxel
        inside = np.ones(self.shape, np.bool_)
        for axis, floor, ceiling in zip((self.x, self.y, self.z), points.min(0), points.max(0), strict=True):
            inside &= (axis > floor - reach) & (axis < ceiling + reach)
        spots = np.stack([self.x[inside], self.y[inside], self.z[inside]], 1)
        tree = KDTree(np.column_stack([points, np.sqrt(widest**2 - radii**2)]))
        _, nearest = tree.query(np.pad(spots, ((0, 0), (0, 1))), distance_upper_bound=reach)
        found = nearest < len(points)
        depth = np.full(self.shape, -reach, np.float32)
        number = np.full(self.shape, -1, np.intp)
        number[inside] = np.where(found, nearest, -1)
        ball = nearest[found]
        depth[number >= 0] = radii[ball] - np.linalg.norm(spots[found] - points[ball], axis=1)
        return depth, number


def draw_body(p: Painter) -> None:
    """Draw a trunk from the lungs' bases to the kidneys, back to front: what is drawn later lies on top."""
    tone = {name: p.vary(value, 0.12) for name, value in TONES.items()}
    spine = p.rng.uniform(-49, -40)
    cavity = _draw_wall(p, tone, spine)
    dome = _draw_chest(p, tone, cavity)
    room = np.minimum(cavity - 2, dome - 2)
    _draw_spine(p, tone, spine)
    _draw_bowel(p, tone, room, spine)
    _draw_kidneys(p, tone)
    _draw_stomach(p, tone, room)
    _draw_liver(p, tone, room)
    _draw_vessels(p, tone, spine)


def _draw_wall(p: Painter, tone: Tones, spine: float) -> Floats:
    """Draw skin, fat, muscle and ribs; return the depth in the cavity that they enclose."""
    rng = p.rng
    half_x, half_y = rng.uniform(140, 158), 70 - spine
    power = rng.uniform(2.2, 2.7)
    far = np.hypot(p.x, p.y) + 1e-3
    side = np.abs(p.x) / far
    ring: Floats = (np.abs(p.x / half_x) ** power + np.abs(p.y / half_y) ** power) ** (1 / power)
    body = far * (1 / ring - 1)
    fat = rng.uniform(9, 22) * (0.8 + 0.35 * side**2 + 0.15 * p.noise(90))
    fat += 4 * np.exp(-((p.x / 25) ** 2)) * (p.y < 0)
    muscle = rng.uniform(9, 13) * (1 + 0.12 * p.noise(70))
    outer = body - 2.5 - np.maximum(fat, 4)
    cavity: Floats = outer - muscle

    septa = np.exp(-((p.noise(16) / 0.2) ** 2))
    p.paint(body, tone["skin"])
    p.paint(body - 2.5, tone["fat"] * (1 - 0.15 * septa + 0.04 * p.noise(12)))
    p.paint(outer, tone["muscle"] * (1 + 0.08 * p.noise(14)))
    p.paint(1.0 - np.abs(outer - 0.5 * muscle), 0.5 * (tone["fat"] + tone["muscle"]))
    vessels = np.exp(-((p.noise(22) ** 2 + p.noise(22) ** 2) / 0.04))
    p.paint(cavity, tone["fat"] * (0.94 - 0.15 * septa - 0.4 * vessels))

    slope, gap = rng.uniform(0.5, 0.8), rng.uniform(25, 30)
    along = p.z - slope * p.y + rng.uniform(0, gap)
    along = np.abs((along + gap / 2) % gap - gap / 2)
    rib = 1 - np.sqrt(((outer - 0.5 * muscle) / 4.2) ** 2 + (along / 7) ** 2)
    rib = np.minimum(rib * 4.2, np.minimum((p.z + 70 + 0.5 * p.y) / 2, side * 60 - 18))
    p.paint(rib, tone["bone"])
    p.paint(rib - 1.6, tone["marrow"])
    return cavity


def _draw_chest(p: Painter, tone: Tones, cavity: Floats) -> Floats:
    """Draw lungs and heart above the diaphragm; return the depth below the diaphragm's dome."""
    rng = p.rng
    top = np.where(p.x > 0, rng.uniform(74, 88), rng.uniform(64, 78))
    out = ((np.abs(p.x) - 62) / 78) ** 2 + ((p.y - 8) / 92) ** 2
    dome = ndimage.gaussian_filter(top - rng.uniform(58, 72) * out, 6 / p.voxel) + 3 * p.noise(60)
    above: Floats = 0.8 * (p.z - dome)
    veins = np.exp(-((p.noise(18) ** 2 + p.noise(18) ** 2) / 0.05))
    middle = p.ball((-8, -18, 110), (40, 62, 110))
    lung = np.minimum(np.minimum(cavity - 1, above - 2.5), -middle)
    p.paint(np.minimum(above + 1, cavity), tone["muscle"])
    p.paint(np.minimum(above - 2, cavity - 1), tone["fat"] * 0.9)
    p.paint(lung, tone["lung"] * (1 + 0.2 * p.noise(10)) + 0.35 * veins)
    heart = np.minimum(p.ball((-30, 22, 104), (56, 44, 46), 6), above - 4)
    p.paint(heart, tone["muscle"] * 1.15)
    septum = np.abs(p.x + 30 + 0.6 * (p.y - 22) + 4 * p.noise(50)) - 3.5
    p.paint(np.minimum(heart - 8, septum), tone["blood"] * 0.92 * (1 + 0.06 * p.noise(20)))
    return -above / 0.8


def _draw_spine(p: Painter, tone: Tones, spine: float) -> None:
    """Draw vertebrae with discs, canal and cord, and the muscles along them."""
    rng = p.rng
    back = p.y - spine + 4 * np.cos(p.z / rng.uniform(60, 90))
    streaks = 1 + 0.35 * np.exp(-((p.noise(9) / 0.25) ** 2)) + 0.06 * p.noise(20)
    for side in (-1, 1):
        for offset, depth, rx, ry in ((35, 32, 28, 20), (15, 32, 14, 14)):
            back_muscle = 1 - np.hypot((p.x - side * offset) / rx, (back + depth) / ry)
            p.paint(back_muscle * ry, tone["muscle"] * streaks)
        grow = np.clip(1 - (p.z + 30) / 110, 0.25, 1.25) * rng.uniform(0.85, 1.1)
        psoas = 1 - np.hypot((p.x - side * (22 + 14 * grow)) / 17, (back - 2) / 20) / grow
        p.paint(psoas * 15, tone["muscle"] * (0.9 + 0.1 * streaks))
    level, gap = rng.uniform(0, 34), rng.uniform(31, 36)
    along = np.abs((p.z + level) % gap - gap / 2)
    body = (1 - np.hypot(p.x / rng.uniform(20, 24), back / rng.uniform(15, 18))) * 16
    disc = along - (gap / 2 - 4.5)
    p.paint(body, tone["bone"])
    p.paint(np.minimum(body - 1.5, -disc - 0.8), tone["marrow"] * (1 + 0.07 * p.noise(10)))
    p.paint(np.minimum(body - 1.5, disc - 0.8), tone["disc"])
    spur = np.minimum(5 - np.abs(p.x), np.minimum(along * 0.9 + 3 - gap / 4, 13 - np.abs(back + 38)))
    wings = np.minimum(5 - np.abs(back + 22), np.minimum(34 - np.abs(p.x), 11 - np.abs(along - gap / 4)))
    arch = (1 - np.hypot(p.x / 15, (back + 25) / 13)) * 13
    for piece in (spur, wings, arch):
        p.paint(piece, tone["bone"])
        p.paint(piece - 2, tone["marrow"] * 0.9)
    canal = (1 - np.hypot(p.x / 9.5, (back + 25) / 8)) * 8
    p.paint(canal, tone["fluid"])
    p.paint(canal - 3, tone["cord"])


def _draw_bowel(p: Painter, tone: Tones, room: Floats, spine: float) -> None:
    """Draw loops of small bowel and a colon with gas: brightness of the stomach, no class."""
    rng = p.rng
    loops, knots = 18, 60
    starts = rng.uniform((-70, -20, -120), (70, 60, -30), (loops, 3))
    walks = ndimage.gaussian_filter1d(rng.normal(0, 1, (loops, knots, 3)), 5, axis=1).cumsum(1)
    small = starts[:, None] + 15 * (walks - walks.mean(1, keepdims=True))
    depth, number = p.tube(small.reshape(-1, 3), p.vary(13, 0.15))
    depth = np.minimum(np.minimum(depth, room - 2), p.y - spine - 20)
    content = np.append(np.repeat(rng.uniform(0.6, 1.3, loops), knots), 1).astype(np.float32)[number]
    p.paint(depth, tone["wall"] * 1.1)
    p.paint(depth - 3, tone["content"] * content * (1 + 0.15 * p.noise(9)))

    side, sag = rng.uniform(92, 108), rng.uniform(10, 40)
    path = [(side, -20, -120), (side + 4, -15, -80), (side, 0, -48), (45, 55, -45 - sag), (-30, 60, -42 - sag)]
    path += [(-side + 8, 20, -10), (-side, -20, -30), (-side, -28, -75), (-side + 4, -25, -120)]
    line = _smooth_line(np.asarray(path) + rng.uniform(-6, 6, (9, 3)), 160)
    depth, _ = p.tube(line, p.vary(19, 0.12))
    depth = np.minimum(depth + 2.5 * p.noise(17), room - 1)
    p.paint(depth, tone["wall"])
    p.paint(depth - 3, tone["content"] * (1 + 0.35 * p.noise(8)))
    p.paint(np.minimum(depth - 3.5, 5 * p.noise(45)), tone["gas"])


def _draw_kidneys(p: Painter, tone: Tones) -> None:
    """Draw kidneys with cortex, medulla and sinus, and the pancreas."""
    rng = p.rng
    for side, low in ((1, -42), (-1, -28)):
        x, y, z = p.near((side * 63, -42, low), 6).tolist()
        along, out = p.z - z, (p.x - x) * side
        lean = out + rng.uniform(0.15, 0.35) * along
        kidney = (1 - np.sqrt((lean / 27) ** 2 + ((p.y - y) / 25) ** 2 + (along / 54) ** 2)) * p.vary(26, 0.1)
        hilum = (1 - np.sqrt(((lean + 24) / 20) ** 2 + ((p.y - y - 5) / 11) ** 2 + (along / 24) ** 2)) * 12
        p.paint(kidney, tone["cortex"])
        p.paint(np.minimum(kidney - 6, 6 * p.noise(14)), tone["medulla"])
        p.paint(np.minimum(hilum, kidney + 6), tone["fat"] * 0.95)
        p.paint(hilum - 6, tone["fluid"] * 1.3)
    path = np.asarray([(42, 2, -22), (30, 8, -8), (0, 12, 0), (-30, 0, 10), (-62, -18, 22)])
    line = _smooth_line(path + rng.uniform(-5, 5, (5, 3)), 80)
    depth, _ = p.tube(line, p.vary(12, 0.15))
    p.paint(depth + 2.5 * p.noise(11), tone["pancreas"] * (1 + 0.1 * p.noise(8)))


def _draw_stomach(p: Painter, tone: Tones, room: Floats) -> None:
    """Draw the spleen, as bright as the liver, and the stomach: a wall around fluid, food and a bubble of gas."""
    rng = p.rng
    spleen = np.minimum(p.ball((-92, -40, 28), (40, 42, 52), 7, 0.12) + 2 * p.noise(40), room - 3)
    p.paint(spleen, tone["liver"] * rng.uniform(0.94, 1.08) * (1 + 0.05 * p.noise(8)))
    path = np.asarray([(-62, -12, 58), (-66, 8, 42), (-62, 28, 20), (-48, 44, -2), (-22, 50, -14), (6, 44, -12)])
    line = _smooth_line(path + rng.uniform(-7, 7, 3) + rng.uniform(-5, 5, (6, 3)), 60)
    radii = np.interp(np.linspace(0, 1, 60), (0, 0.3, 0.6, 1), (29, 30, 23, 11)) * rng.uniform(0.85, 1.18)
    depth, _ = p.tube(line, radii)
    depth = np.minimum(depth + 1.5 * p.noise(28), room - 2)
    folds = 4.5 + 1.2 * p.noise(10)
    p.paint(depth, tone["wall"] * 1.08, STOMACH)
    p.paint(depth - folds, tone["content"] * rng.uniform(0.6, 1.25) * (1 + 0.12 * p.noise(12)))
    level = rng.uniform(28, 58)
    p.paint(np.minimum(depth - folds, p.y - level - p.noise(60)), tone["gas"])


def _draw_liver(p: Painter, tone: Tones, room: Floats) -> None:
    """Draw the liver with its vessels, and the gallbladder."""
    rng = p.rng
    right = p.ball((62, 2, 8), (74, 86, 92), 6, 0.07)
    left = p.ball((-8, 40, 38), (68, 42, 40), 7, 0.1)
    blend = np.clip(14 - np.abs(right - left), 0, None)
    lobes: Floats = np.maximum(right, left) + blend**2 / 56
    under = p.near((0.42, 0.3, 0.86), 0.06).tolist()
    x, y, z = p.near((18, -8, -6), 6).tolist()
    below = under[0] * (p.x - x) + under[1] * (p.y - y) + under[2] * (p.z - z)
    fissure = np.minimum(2.5 - np.abs(p.x - rng.uniform(0, 14) - 4 * p.noise(60)), np.minimum(p.y - 12, 38 - p.z))
    whole = np.minimum(np.minimum(lobes, below) + 1.8 * p.noise(34), room - 1)
    liver = np.minimum(whole, -fissure)
    p.paint(whole, tone["fat"], 0)
    p.paint(liver, tone["liver"] * (1 + 0.05 * (p.noise(30) + p.noise(9))), LIVER)
    hilum, confluence = p.near((26, -6, 6), 3), p.near((20, -30, 60), 3)
    roots = [(hilum, (0.8, 0.1, 0.25), 5.0), (hilum, (-0.5, 0.7, 0.5), 4.0), (confluence, (0.8, 0.2, -0.5), 4.6)]
    roots += [(confluence, (0.3, 0.8, -0.45), 4.2), (confluence, (-0.5, 0.8, -0.3), 3.6)]
    balls = np.concatenate([_branches(rng, start, way, 34, radius, 4) for start, way, radius in roots])
    depth, _ = p.tube(balls[:, :3], balls[:, 3])
    p.paint(np.minimum(depth, liver - 2), tone["blood"] * 0.9)
    gall = _smooth_line(p.near((38, 24, -26), 6) + np.asarray([(0, -14, 16), (2, 0, 4), (4, 10, -8)]), 12)
    depth, _ = p.tube(gall, p.vary(11, 0.2))
    p.paint(depth + 2, tone["wall"], 0)
    p.paint(depth, tone["fluid"] * rng.uniform(0.7, 2.2), 0)


def _draw_vessels(p: Painter, tone: Tones, spine: float) -> None:
    """Draw the aorta and what is as bright: vena cava, portal vein and branches."""
    rng = p.rng
    sway, phase = rng.uniform(3, 8), rng.uniform(0, 6)
    heights = np.arange(-160, 161, 4.0)
    for place, radius, label, bright in ((20, 11.0, 0, rng.uniform(0.75, 1.0)), (-14, 11.0, AORTA, 1.0)):
        x = place + sway * np.sin(heights / 60 + phase) + rng.uniform(-3, 3)
        y = spine + 27 + 4 * np.cos(heights / 75 + phase) - 8 * np.clip(heights / 100, 0, 1) + rng.uniform(-2, 2)
        line = _smooth_line(np.stack([x, y, heights], 1), 330)
        depth, _ = p.tube(line, p.vary(radius, 0.12))
        p.paint(depth + 1.5, tone["wall"], 0)
        p.paint(depth, tone["blood"] * bright, label)
        for low, side in ((rng.uniform(-34, -18), 1), (rng.uniform(-30, -14), -1)):
            start = np.asarray((x[40], y[40] + 2, low + 6))
            renal = _smooth_line(np.stack([start, start + np.asarray((side * 18, 2, -4)), (side * 48, -38, low)]), 40)
            depth, _ = p.tube(renal, 3.2)
            p.paint(np.minimum(depth, 50 - np.abs(p.x)), tone["blood"] * bright)
    for path, radius in (
        (((26, -6, 6), (10, 2, -4), (-10, 6, -10), (-8, 10, -60), (0, 20, -100)), 5.0),
        (((5, 4, -4), (-30, -8, 6), (-70, -26, 24)), 3.6),
    ):
        depth, _ = p.tube(_smooth_line(np.asarray(path) + rng.uniform(-3, 3, (len(path), 3)), 90), radius)
        p.paint(depth, tone["blood"] * 0.9)


def rotation(around_x: float, around_y: float, around_z: float) -> NDArray[np.float64]:
    """Return the (3, 3) rotation by these angles (radians), about x first."""
    turn = np.eye(3)
    for angle, (a, b) in zip((around_x, around_y, around_z), ((1, 2), (2, 0), (0, 1)), strict=True):
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[b, a] = np.sin(angle)
        step[a, b] = -step[b, a]
        turn = step @ turn
    return turn


def _smooth_line(points: Points, count: int) -> Points:
    """Return `count` points (count, 3) on a smooth curve through `points` (n, 3)."""
    return np.asarray(PchipInterpolator(np.arange(len(points)), points)(np.linspace(0, len(points) - 1, count)))


def _branches(
    rng: np.random.Generator, start: Points, way: Sequence[float] | Points, length: float, radius: float, levels: int
) -> Points:
    """Return a vessel tree as balls (n, 4), x y z and radius in mm: every vessel bends, then forks in two thinner."""
    way = np.asarray(way) / np.linalg.norm(way)
    bend = way + rng.normal(0, 0.25, 3)
    t = np.linspace(0, 1, 16)[:, None]
    points = start + length * (t * way + 0.5 * t**2 * bend)
    pieces = [np.column_stack([points, np.full(16, radius)])]
    if levels > 1:
        for _ in range(2):
            fork = bend + rng.normal(0, 0.55, 3)
            pieces.append(_branches(rng, points[-1], fork, 0.75 * length, 0.7 * radius, levels - 1))
    return np.concatenate(pieces)
