"""Recompute numbers and identities that the explanations state; exit 1 if one of them is wrong.

A small state-vector simulation in plain Python. Qubit 0 is the leftmost one, as in the texts. What is known only from
the literature (thresholds, hardware figures, key sizes) cannot be checked here.
"""

import sys
from cmath import exp
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from math import acos, asin, comb, cos, e, gcd, isclose, log, log2, pi, sin, sqrt

Vector = list[complex]
Matrix = list[list[complex]]
Claim = tuple[str, bool]

R = 1 / sqrt(2)
ID: Matrix = [[1, 0], [0, 1]]
X: Matrix = [[0, 1], [1, 0]]
Y: Matrix = [[0, -1j], [1j, 0]]
Z: Matrix = [[1, 0], [0, -1]]
H: Matrix = [[R, R], [R, -R]]
S: Matrix = [[1, 0], [0, 1j]]
T: Matrix = [[1, 0], [0, exp(1j * pi / 4)]]
CNOT: Matrix = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
CZ: Matrix = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, -1]]
SWAP: Matrix = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
ZERO: Vector = [1, 0]
ONE: Vector = [0, 1]
PLUS: Vector = [R, R]
MINUS: Vector = [R, -R]
BELL: Vector = [R, 0, 0, R]


def mul(*matrices: Matrix) -> Matrix:
    """Return the product of matrices."""
    result = matrices[0]
    for right in matrices[1:]:
        columns = list(zip(*right, strict=True))
        result = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in result]
    return result


def dagger(matrix: Matrix) -> Matrix:
    """Return the adjoint."""
    return [[complex(value).conjugate() for value in column] for column in zip(*matrix, strict=True)]


def scale(factor: complex, matrix: Matrix) -> Matrix:
    """Return a multiple of a matrix."""
    return [[factor * value for value in row] for row in matrix]


def add(left: Matrix, right: Matrix) -> Matrix:
    """Return the sum of two matrices."""
    return [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(left, right, strict=True)]


def near(left: Sequence[complex], right: Sequence[complex]) -> bool:
    """Tell whether two vectors are equal."""
    return all(abs(a - b) < 1e-9 for a, b in zip(left, right, strict=True))


def same(left: Matrix, right: Matrix) -> bool:
    """Tell whether two matrices are equal."""
    return all(near(*rows) for rows in zip(left, right, strict=True))


def overlap(left: Sequence[complex], right: Sequence[complex]) -> complex:
    """Return the inner product <left|right>."""
    return sum(complex(a).conjugate() * b for a, b in zip(left, right, strict=True))


def alike(left: Sequence[complex], right: Sequence[complex]) -> bool:
    """Tell whether two states are equal up to a global phase."""
    return isclose(abs(overlap(left, right)), 1, abs_tol=1e-9)


def kron(*states: Sequence[complex]) -> Vector:
    """Return the product state."""
    result: Vector = [1]
    for state in states:
        result = [a * b for a in result for b in state]
    return result


def act(matrix: Matrix, state: Sequence[complex], *qubits: int) -> Vector:
    """Return the state after a gate on the named qubits."""
    width = len(state).bit_length() - 1
    result: Vector = [0] * len(state)
    for index, value in enumerate(state):
        bits = [index >> (width - 1 - qubit) & 1 for qubit in qubits]
        column = int("".join(map(str, bits)), 2)
        for row in range(len(matrix)):
            target = index
            for place, qubit in enumerate(qubits):
                mask = 1 << (width - 1 - qubit)
                target = target | mask if row >> (len(qubits) - 1 - place) & 1 else target & ~mask
            result[target] += matrix[row][column] * value
    return result


def run(state: Sequence[complex], *gates: tuple[Matrix, int] | tuple[Matrix, int, int]) -> Vector:
    """Return the state after several gates, the first one first."""
    result = list(state)
    for matrix, *qubits in gates:
        result = act(matrix, result, *qubits)
    return result


def odds(state: Sequence[complex], qubit: int, value: int = 0) -> float:
    """Return the probability of a value of one qubit."""
    shift = len(state).bit_length() - 2 - qubit
    return sum(abs(amplitude) ** 2 for index, amplitude in enumerate(state) if index >> shift & 1 == value)


def project(state: Sequence[complex], bits: dict[int, int]) -> Vector:
    """Return the normalised state of the other qubits after the named results."""
    width = len(state).bit_length() - 1
    kept = [v for i, v in enumerate(state) if all(i >> (width - 1 - q) & 1 == bit for q, bit in bits.items())]
    norm = sqrt(sum(abs(value) ** 2 for value in kept))
    return [value / norm for value in kept]


def rotation(pauli: Matrix, angle: float) -> Matrix:
    """Return the rotation gate about the axis of a Pauli matrix."""
    return add(scale(cos(angle / 2), ID), scale(-1j * sin(angle / 2), pauli))


def mean(state: Vector, observable: Matrix, *qubits: int) -> float:
    """Return the mean value of an observable."""
    return overlap(state, act(observable, state, *qubits)).real


def gates() -> Iterator[Claim]:
    """Check the identities of gates."""
    yield "Y = i X Z", same(Y, scale(1j, mul(X, Z)))
    yield "H Z H = X and H X H = Z", same(mul(H, Z, H), X) and same(mul(H, X, H), Z)
    yield "S X S^-1 = Y", same(mul(S, X, dagger(S)), Y)
    yield "T X T^-1 = (X + Y)/sqrt(2)", same(mul(T, X, dagger(T)), scale(R, add(X, Y)))
    yield "T T = S, S S = Z", same(mul(T, T), S) and same(mul(S, S), Z)
    yield "Y|+> = -i|->", near(act(Y, PLUS, 0), [-1j * value for value in MINUS])
    yield "H T H: 0.854", isclose(odds(run(ZERO, (H, 0), (T, 0), (H, 0)), 0), cos(pi / 8) ** 2)
    yield "RX(pi) = -i X", same(rotation(X, pi), scale(-1j, X))
    yield "RZ(2t) = e^(-iZt)", near([rotation(Z, 0.6)[0][0], rotation(Z, 0.6)[1][1]], [exp(-0.3j), exp(0.3j)])
    yield "RY(pi/3): 0.25", isclose(odds(act(rotation(Y, pi / 3), ZERO, 0), 0, 1), 0.25)
    yield "RY(2 pi/3): 0.5, 0.866", near(act(rotation(Y, 2 * pi / 3), ZERO, 0), [0.5, sqrt(3) / 2])
    root = scale(0.5, [[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]])
    native = mul(rotation(Z, pi / 2), root, rotation(Z, pi / 2))
    yield "H = RZ sqrt(X) RZ", same(scale(H[0][0] / native[0][0], native), H)
    yield "H on 0.8, 0.6: 98%", round(odds(act(H, [0.8, 0.6], 0), 0), 3) == 0.98
    yield "phase pi/3: 0.75", isclose(odds(run(ZERO, (H, 0), (rotation(Z, pi / 3), 0), (H, 0)), 0), 0.75)
    yield (
        "CNOT from CZ",
        all(
            near(run(kron(a, b), (H, 1), (CZ, 0, 1), (H, 1)), act(CNOT, kron(a, b), 0, 1))
            for a, b in product((ZERO, ONE), repeat=2)
        ),
    )
    state = kron([0.6, 0.8j], [0.28, 0.96])
    yield "X through CZ", near(run(state, (X, 0), (CZ, 0, 1)), run(state, (CZ, 0, 1), (X, 0), (Z, 1)))
    three = run(state, (CNOT, 0, 1), (CNOT, 1, 0), (CNOT, 0, 1))
    yield "SWAP from 3 CNOTs", near(three, act(SWAP, state, 0, 1))
    yield "SWAP on the singlet", near(act(SWAP, [0, R, -R, 0], 0, 1), [0, -R, R, 0])
    yield "kickback", near(act(CNOT, kron(PLUS, MINUS), 0, 1), kron(MINUS, MINUS))
    inverse = dagger(T)
    for bits in range(8):
        start: Vector = [float(index == bits) for index in range(8)]
        end = run(
            *(start, (H, 2), (CNOT, 1, 2), (inverse, 2), (CNOT, 0, 2), (T, 2), (CNOT, 1, 2), (inverse, 2)),
            *((CNOT, 0, 2), (T, 1), (T, 2), (CNOT, 0, 1), (H, 2), (T, 0), (inverse, 1), (CNOT, 0, 1)),
        )
        yield f"Toffoli on {bits:03b}", isclose(abs(end[bits ^ (bits >> 2 & bits >> 1 & 1)]), 1)


def protocols() -> Iterator[Claim]:
    """Check Bell states, teleportation, coding and nonlocality."""
    bells = [run(kron(a, b), (H, 0), (CNOT, 0, 1)) for a, b in product((ZERO, ONE), repeat=2)]
    listed = [[R, 0, 0, R], [0, R, R, 0], [R, 0, 0, -R], [0, R, -R, 0]]
    yield "Bell circuit", all(near(*pair) for pair in zip(bells, listed, strict=True))
    state = [0.6, 0.8j]
    joint = run(kron(state, BELL), (CNOT, 0, 1), (H, 0))
    for first, second in product((0, 1), repeat=2):
        half = project(joint, {0: first, 1: second})
        fixed = run(half, *([(X, 0)] * second), *([(Z, 0)] * first))
        fair = isclose(sum(abs(v) ** 2 for v in joint[4 * first + 2 * second : 4 * first + 2 * second + 2]), 0.25)
        yield f"teleportation {first}{second}", alike(fixed, state) and fair
        sent = run(BELL, *([(X, 0)] * second), *([(Z, 0)] * first), (CNOT, 0, 1), (H, 0))
        yield f"superdense coding {first}{second}", isclose(abs(sent[2 * first + second]), 1)
    yield "swapping", alike(project(run(kron(BELL, BELL), (CNOT, 1, 2), (H, 1)), {1: 0, 2: 1}), [0, R, R, 0])
    plus, minus = scale(R, add(Z, X)), scale(R, add(Z, scale(-1, X)))
    pairs = [(Z, plus, 1), (Z, minus, 1), (X, plus, 1), (X, minus, -1)]
    value = sum(sign * overlap(BELL, run(BELL, (a, 0), (b, 1))).real for a, b, sign in pairs)
    yield "CHSH 2.83", isclose(value, 2 * sqrt(2)) and round(0.9 * value, 2) == 2.55
    yield "game 85.4%", round(cos(pi / 8) ** 2, 3) == 0.854 and isclose(0.5 + value / 8, cos(pi / 8) ** 2)
    tested = run(kron(ZERO, ZERO, PLUS), (H, 0))
    swapped = tested[:4] + act(SWAP, tested[4:], 0, 1)
    yield "swap test 75%", isclose(odds(act(H, swapped, 0), 0), 0.75)
    yield "BB84: 0.75^50", 0.75**50 < 1e-6
    ghz = run(kron(ZERO, ZERO, ZERO), (H, 0), (CNOT, 0, 1), (CNOT, 1, 2))
    yield "GHZ", near(ghz, [R, 0, 0, 0, 0, 0, 0, R])


def order(base: int, modulus: int) -> int:
    """Return the period of base^x mod modulus."""
    return next(power for power in range(1, modulus) if pow(base, power, modulus) == 1)


def grover(size: int, steps: int) -> float:
    """Return the success probability after some Grover iterations, by simulation."""
    state = [1 / sqrt(size)] * size
    for _ in range(steps):
        state[0] = -state[0]
        average = sum(state) / size
        state = [2 * average - value for value in state]
    return state[0] ** 2


def signs(width: int, function: Callable[[int], int]) -> Vector:
    """Return the amplitudes after H gates, a sign oracle and H gates."""
    state = [(-1) ** function(index) / sqrt(2**width) + 0j for index in range(2**width)]
    return run(state, *[(H, qubit) for qubit in range(width)])


def algorithms() -> Iterator[Claim]:
    """Check the numbers of the algorithms."""
    yield "XOR is balanced: 11", isclose(abs(signs(2, lambda x: x.bit_count() & 1)[3]), 1)
    for secret in (0b101, 0b011, 0b1101):
        found = signs(4, lambda x, s=secret: (x & s).bit_count() & 1)
        yield f"Bernstein-Vazirani {secret:b}", isclose(abs(found[secret]), 1)
    yield "Simon 110", [y for y in range(8) if not (y & 0b110).bit_count() & 1] == [0, 1, 6, 7]
    yield "Deutsch-Jozsa 20 queries", 2**-19 < 2e-6
    for size, steps, share in ((4, 1, 1), (4, 2, 0.25), (8, 2, 0.945), (16, 3, 0.961)):
        formula = sin((2 * steps + 1) * asin(1 / sqrt(size))) ** 2
        yield (
            f"Grover {size}, {steps}",
            round(grover(size, steps), 3) == share and isclose(formula, grover(size, steps)),
        )
    yield "785 iterations", round(pi / 4 * 1000) == 785
    comb4 = [0.5 if index % 4 == 0 else 0 for index in range(16)]
    peaks = [abs(sum(v * exp(2j * pi * j * k / 16) for j, v in enumerate(comb4)) / 4) ** 2 for k in range(16)]
    yield "QFT of period 4", near(peaks, [0.25 if k % 4 == 0 else 0 for k in range(16)])
    third = abs(sum(exp(2j * pi * k * (1 / 3 - 3 / 8)) for k in range(8)) / 8) ** 2
    yield "phase 1/3: 0.69", round(third, 2) == 0.69
    for base, modulus, period, factors in (
        (7, 15, 4, {3, 5}),
        (2, 21, 6, {7, 3}),
        (2, 15, 4, {3, 5}),
        (3, 35, 12, {7, 5}),
    ):
        half = pow(base, period // 2)
        yield (
            f"Shor {modulus}, {base}",
            order(base, modulus) == period
            and factors
            == {
                gcd(half - 1, modulus),
                gcd(half + 1, modulus),
            },
        )
    yield "a = 14 fails, 3^6 mod 35", order(14, 15) == 2 and gcd(13, 15) == 1 and pow(3, 6, 35) == 29
    yield "X + Z: -1.414", isclose(cos(5 * pi / 4) + sin(5 * pi / 4), -sqrt(2))
    exact = add(scale(cos(sqrt(2)), ID), scale(-1j * sin(sqrt(2)) * R, add(X, Z)))
    steps = mul(*[mul(rotation(X, 0.02), rotation(Z, 0.02))] * 100)
    error = add(exact, scale(-1, steps))
    yield "Trotter error", sqrt(sum(abs(value) ** 2 for row in error for value in row)) < 0.01 * sqrt(2)
    state = kron([0.6, 0.8j], [0.28, 0.96])
    turned = run(state, (CNOT, 0, 1), (rotation(Z, 0.6), 1), (CNOT, 0, 1))
    phases = [exp(-0.3j), exp(0.3j), exp(0.3j), exp(-0.3j)]
    yield "ZZ evolution", near(turned, [p * v for p, v in zip(phases, state, strict=True)])
    yield "HHL 80%", isclose(1 / (1 + 0.25), 0.8)
    yield "barren plateau", round((1 / 8) * (3 / 8) ** 9, 6) == 1.8e-05 and 8 * 10**2 == 800
    grid = [2 * pi * step / 64 for step in range(64)]
    yield (
        "variance factors",
        isclose(sum(cos(a / 2) ** 4 for a in grid) / 64, 3 / 8)
        and isclose(sum(sin(a) ** 2 / 4 for a in grid) / 64, 1 / 8),
    )
    yield "QUBO", [a + b - 2 * a * b for a, b in product((0, 1), repeat=2)] == [0, 1, 1, 0]
    yield "QAOA ring: 3/4", isclose(max(ring_edge(g, b) for g in grid for b in grid), 0.75, abs_tol=1e-9)


def ring_edge(gamma: float, beta: float) -> float:
    """Return the mean cut of an edge of a long ring after QAOA with p = 1, from the four qubits that it depends on."""
    state: Vector = kron(PLUS, PLUS, PLUS, PLUS)
    for index in range(16):
        bits = [index >> 3 & 1, index >> 2 & 1, index >> 1 & 1, index & 1]
        cuts = sum(a != b for a, b in pairwise(bits))
        state[index] *= exp(-1j * gamma * cuts)
    state = run(state, *[(rotation(X, 2 * beta), qubit) for qubit in (1, 2)])
    return (1 - overlap(state, run(state, (Z, 1), (Z, 2))).real) / 2


def commutes(left: str, right: str) -> bool:
    """Tell whether two Pauli strings commute."""
    return sum(a != b and "I" not in (a, b) for a, b in zip(left, right, strict=True)) % 2 == 0


def noise() -> Iterator[Claim]:
    """Check the numbers on noise, estimation and codes."""
    yield (
        "0.995^200, 0.999^1000, 0.999^5000",
        [round(v, 3) for v in (0.995**200, 0.999**1000, 0.999**5000)]
        == [
            *(0.367, 0.368, 0.007),
        ],
    )
    yield "0.995^100", round(0.995**100, 2) == 0.61 and round(e**-0.5, 2) == 0.61 and round(e**-1, 2) == 0.37
    yield "T1 = 50 us", round(1 - e**-0.02, 2) == 0.02
    yield "purity", isclose(0.75**2 + 3 * 0.25**2, 0.75) and isclose(0.75**2 + 0.25**2, 0.625)
    yield "shots", round(sqrt(0.25 / 1000), 3) == 0.016 and round(sqrt(0.25 / 4000), 3) == 0.008
    yield "tomography", 3**5 == 243 and 4**5 - 1 == 1023
    yield "readout", isclose((0.485 - 0.02) / 0.93, 0.5)
    yield "benchmarking", round(0.5 + 0.5 * 0.99**100, 2) == 0.68
    yield "heavy outputs", round((1 + log(2)) / 2, 2) == 0.85
    rates = {0.01: 0.000298, 0.05: 0.00725, 0.1: 0.028}
    yield "majority vote", all(isclose(comb(3, 2) * p**2 * (1 - p) + p**3, rate) for p, rate in rates.items())
    yield "majority of errors 1/3", isclose(3 / 9 - 2 / 27, 7 / 27) and round(7 / 27, 2) == 0.26
    yield "thresholds", isclose(0.01 * 0.1**8, 1e-10) and isclose(0.1 * 0.1**6, 1e-7) and round(0.1 / 64, 4) == 0.0016
    yield "surface code", [2 * d * d - 1 for d in (3, 5, 7, 9)] == [17, 49, 97, 161]
    yield "distillation", isclose(35 * 0.001**3, 3.5e-8) and 15 * 15 == 225
    checks = [*(f"{'I' * k}ZZ{'I' * (7 - k)}" for k in (0, 1, 3, 4, 6, 7)), "XXXXXXIII", "IIIXXXXXX"]
    yield "Shor checks commute", all(commutes(a, b) for a, b in product(checks, repeat=2))
    fired = {
        err: [n for n, check in enumerate(checks) if not commutes(err, check)] for err in ("XIIIIIIII", "IIIZIIIII")
    }
    yield "Shor syndromes", list(fired.values()) == [[0], [6, 7]]
    yield "Y on qubit 5", [n for n, check in enumerate(checks) if not commutes("IIIIYIIII", check)] == [2, 3, 6, 7]
    yield "phase-flip code", not commutes("IZI", "XXI") and not commutes("IZI", "IXX")
    state, magic = [0.6, 0.8j], act(T, PLUS, 0)
    joint = act(CNOT, kron(state, magic), 0, 1)
    for result in (0, 1):
        yield f"magic state {result}", alike(run(project(joint, {1: result}), *([(S, 0)] * result)), act(T, state, 0))
    gap = [2 * sqrt((1 - s / 100) ** 2 + (s / 100) ** 2) for s in range(101)]
    yield "smallest gap", isclose(min(gap), sqrt(2)) and gap.index(min(gap)) == 50
    yield "5 GHz in kelvin", round(6.62607015e-34 * 5e9 / 1.380649e-23, 2) == 0.24
    yield "fibre, blockade, ion pairs", isclose(10 ** (-50 * 0.2 / 10), 0.1) and 2**6 == 64 and comb(20, 2) == 190
    yield "100 T gates", round(3 * log2(1e10)) == 100
    yield "simulator memory, table", 16 * 2**30 == 16 * 1024**3 and round(2000 * 2001 / 1e6) == 4
    yield "echo", isclose(10e3 * 10e-6 * 360, 36)
    yield "angle of <X> = 0.6, <Z> = 0.8", isclose(sin(acos(0.8)), 0.6)


def main() -> int:
    """Print every claim that fails and the number of claims."""
    claims = [*gates(), *protocols(), *algorithms(), *noise()]
    wrong = [name for name, holds in claims if not holds]
    for name in wrong:
        print(f"wrong: {name}", file=sys.stderr)
    print(f"{len(claims)} claims checked, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
