"""The packet network as plain as possible: every cycle, every output looks at every input. And paths, by walking."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import pairwise

from neurochip.noc.mesh import Mesh
from neurochip.noc.packet import Injections
from neurochip.noc.timing import Timing

STEPS = {"east": (1, 0), "west": (-1, 0), "south": (0, 1), "north": (0, -1)}


def walk(mesh: Mesh, source: int, target: int) -> list[tuple[int, int]]:
    """The (router, next router) pairs of the path: along x until it fits, then along y."""
    x, y, tx, ty = source % mesh.width, source // mesh.width, target % mesh.width, target // mesh.width
    routers = [y * mesh.width + at for at in line(x, tx, mesh.width, mesh.wrap_x)]
    routers += [at * mesh.width + tx for at in line(y, ty, mesh.height, mesh.wrap_y)[1:]]
    return list(pairwise(routers))


def line(at: int, to: int, size: int, wraps: bool) -> list[int]:
    """Coordinates from ``at`` to ``to``, one step at a time: the shorter way, of equal ones that within the line."""
    within = list(range(at, to + 1)) if to >= at else list(range(at, to - 1, -1))
    if not wraps:
        return within
    step = -1 if to >= at else 1
    round_it = [at]
    while round_it[-1] != to:
        round_it.append((round_it[-1] + step) % size)
    return round_it if len(round_it) < len(within) else within


def link_number(mesh: Mesh, at: int, to: int) -> int:
    """The id of the link between two neighbours, by counting all links in order."""
    number = 0
    for dx, dy in STEPS.values():
        for y in range(mesh.height):
            for x in range(mesh.width):
                # a link and the one back have the same place in their blocks
                x0, y0 = (x + 1, y) if dx < 0 else (x, y + 1) if dy < 0 else (x, y)
                x1, y1 = x0 + dx, y0 + dy
                if max(x0, x1) >= mesh.width + mesh.wrap_x or max(y0, y1) >= mesh.height + mesh.wrap_y:
                    continue
                x0, y0, x1, y1 = x0 % mesh.width, y0 % mesh.height, x1 % mesh.width, y1 % mesh.height
                if (y0 * mesh.width + x0, y1 * mesh.width + x1) == (at, to):
                    return number
                number += 1
    raise AssertionError("no such link")


def crosses(mesh: Mesh, at: int, to: int) -> bool:
    chips = [(r % mesh.width // mesh.columns, r // mesh.width // mesh.rows) for r in (at, to)]
    return chips[0] != chips[1]  # also over a link that closes a ring, from the last chip to the first


def latency(mesh: Mesh, timing: Timing, source: int, target: int) -> int:
    """Hop latencies along the path, added up link by link."""
    total = 0
    for at, to in walk(mesh, source, target):
        total += timing.x_latency if at // mesh.width == to // mesh.width else timing.y_latency
        total += timing.chip_latency if crosses(mesh, at, to) else 0
    return total


@dataclass
class Packet:
    number: int
    target: int
    born: int
    ready: int = 0


@dataclass
class Buffer:
    """An input: one of a link's buffers or a core's source queue."""

    interval: int
    credit: int
    packets: deque[Packet] = field(default_factory=deque)
    next_bid: int = 0

    def head(self, now: int) -> Packet | None:
        if self.packets and now >= max(self.packets[0].ready, self.next_bid):
            return self.packets[0]
        return None


@dataclass
class Output:
    """A link to a router, with credits for each of its buffers, or a core's port.

    ``axis``: 0 along x, 1 along y, 2 into a core. ``closes``: whether it closes a ring.
    """

    router: int
    to: tuple[str, int]
    latency: int
    service: int
    credits: list[float]
    axis: int = 2
    closes: bool = False
    turn: int = 0
    free_at: int = 0
    passed: int = 0


class OracleNetwork:
    """On rings every link has two buffers, the second for packets that have gone over the link that closes the ring."""

    def __init__(self, mesh: Mesh, timing: Timing) -> None:
        self.mesh = mesh
        self.buffers = 2 if mesh.wrap_x or mesh.wrap_y else 1
        self.inputs: dict[int, list[Buffer | None]] = {}
        self.outputs: list[Output] = []
        self.returning: list[tuple[int, Output, int]] = []
        self.feeds: dict[int, tuple[Output, int]] = {}
        links = 4 * self.buffers
        for router in range(mesh.n_routers):
            cores = [Buffer(timing.inject_interval, 1) for _ in range(mesh.cores_per_router)]
            self.inputs[router] = [None] * links + cores
        for at in range(mesh.n_routers):
            for port, (dx, dy) in enumerate(STEPS.values()):
                x, y = at % mesh.width + dx, at // mesh.width + dy
                closes = not (0 <= x < mesh.width and 0 <= y < mesh.height)
                if closes and not (mesh.wrap_x if dx else mesh.wrap_y):
                    continue
                to = y % mesh.height * mesh.width + x % mesh.width
                chip = crosses(mesh, at, to)
                hop = timing.x_latency if dx else timing.y_latency
                output = Output(
                    router=at,
                    to=("router", to),
                    latency=hop + (timing.chip_latency if chip else 0),
                    service=timing.chip_service if chip else timing.link_service,
                    credits=[timing.chip_buffer_packets if chip else timing.buffer_packets] * self.buffers,
                    axis=0 if dx else 1,
                    closes=closes,
                )
                for k in range(self.buffers):
                    credit = timing.chip_credit_latency if chip else timing.credit_latency
                    buffer = Buffer(timing.input_interval, credit)
                    self.inputs[to][port * self.buffers + k] = buffer
                    self.feeds[id(buffer)] = (output, k)
                self.outputs.append(output)
        for core in range(mesh.n_cores):
            router = core // mesh.cores_per_router
            self.outputs.append(
                Output(router, ("core", core), timing.eject_latency, timing.eject_service, [float("inf")])
            )

    def lane(self, output: Output, buffer: Buffer) -> int:
        """Which buffer of the link a packet from ``buffer`` takes."""
        if output.axis == 2:
            return 0
        came, second = self.feeds.get(id(buffer), (None, 0))
        straight = came is not None and came.axis == output.axis
        return int(output.closes or (straight and bool(second)))

    def wants(self, router: int, packet: Packet) -> tuple[str, int]:
        path = walk(self.mesh, router, packet.target // self.mesh.cores_per_router)
        return ("router", path[0][1]) if path else ("core", packet.target)

    def winner(self, output: Output, now: int) -> Buffer | None:
        buffers = self.inputs[output.router]
        if now < output.free_at:
            return None
        for k in range(len(buffers)):
            port = (output.turn + k) % len(buffers)
            buffer = buffers[port]
            head = buffer.head(now) if buffer else None
            if not (head and buffer and self.wants(output.router, head) == output.to):
                continue
            if output.credits[self.lane(output, buffer)]:
                output.turn = (port + 1) % len(buffers)
                return buffer
        return None

    def step(self, now: int) -> list[tuple[int, int]]:
        """One cycle; returns (packet number, delivery time) of what won a core's port."""
        for time, output, lane in self.returning:
            output.credits[lane] += time == now
        self.returning = [back for back in self.returning if back[0] > now]
        grants = [(output, self.winner(output, now)) for output in self.outputs]
        delivered = []
        for output, buffer in grants:
            if buffer is None:
                continue
            packet = buffer.packets.popleft()
            buffer.next_bid = now + buffer.interval
            if id(buffer) in self.feeds:
                self.returning.append((now + buffer.credit, *self.feeds[id(buffer)]))
            output.free_at = now + output.service
            output.passed += 1
            lane = self.lane(output, buffer)
            output.credits[lane] -= 1
            packet.ready = now + output.latency
            if output.to[0] == "core":
                assert packet.target == output.to[1]
                delivered.append((packet.number, packet.ready))
            else:
                (there,) = (b for b in self.inputs[output.to[1]] if b and self.feeds.get(id(b)) == (output, lane))
                there.packets.append(packet)
        return delivered


def simulate(mesh: Mesh, timing: Timing, injections: Injections) -> tuple[list[int], Counter[int]]:
    """Delivery time of every packet (in the order of flows, then of injection), and packets over each link."""
    network = OracleNetwork(mesh, timing)
    packets = []
    for f in range(len(injections.count)):
        for k in range(injections.count[f]):
            born = int(injections.first[f] + k * injections.spacing[f])
            packets.append((born, f, k, len(packets), int(injections.source[f]), int(injections.target[f])))
    for born, _, _, number, source, target in sorted(packets):
        router, slot = divmod(source, mesh.cores_per_router)
        packet = Packet(number, target, born, born + timing.inject_latency)
        network.inputs[router][4 * network.buffers + slot].packets.append(packet)
    delivered: dict[int, int] = {}
    now = 0
    while len(delivered) < len(packets):
        delivered.update(network.step(now))
        now += 1
        assert now < 100_000, "the oracle does not drain"
    links = Counter()
    for output in network.outputs:
        if output.to[0] == "router":
            links[link_number(mesh, output.router, output.to[1])] = output.passed
    return [delivered[i] for i in range(len(packets))], links
