"""Gates on a single qubit."""

from content import Concept, HeldOut

CONCEPTS = [
    Concept(
        name="x_gate",
        asks=[
            "What does the X gate do?",
            "X gate: matrix, action, pitfalls. Short please.",
            "Is the Pauli-X just a NOT? Explain to a hardware engineer.",
        ],
        idea=[
            "The X gate is the quantum NOT: it swaps |0> and |1>.",
            "Pauli X is the matrix [[0, 1], [1, 0]], half a turn about the x axis of the Bloch sphere.",
        ],
        how=[
            "It exchanges the two amplitudes, so a|0> + b|1> becomes b|0> + a|1>. Applied twice it does nothing.",
            (
                "Its eigenstates are |+> with eigenvalue +1 and |-> with eigenvalue -1. It satisfies X = H Z H and "
                "anticommutes with Z."
            ),
        ],
        examples=[
            "X turns 0.6|0> + 0.8|1> into 0.8|0> + 0.6|1>, so the chance of reading 1 falls from 64% to 36%.",
            "X|+> = |+> and X|-> = -|->, where the minus sign is only a global phase.",
            "X followed by Z maps |0> to -|1>, while Z followed by X maps |0> to |1>: the order flips the sign.",
        ],
        limit=[
            "It does not turn every state into the opposite one: |+> stays |+>.",
            "It creates neither superposition nor entanglement from basis states.",
        ],
        see=[
            "Z gate, CNOT gate, rotation gates.",
            "Pauli gates, bit-flip code, Bloch sphere.",
        ],
    ),
    Concept(
        name="y_gate",
        asks=[
            "What does the Y gate do?",
            "show me the Y gate matrix and how it relates to X and Z",
            "Explain Pauli Y to somebody who already knows X and Z.",
        ],
        idea=[
            "The Y gate flips bit and phase at once: it acts like Z and then X, up to a global phase.",
            "Pauli Y is the matrix [[0, -i], [i, 0]] and equals i X Z.",
        ],
        how=[
            "It maps |0> to i|1> and |1> to -i|0>. On the Bloch sphere it is half a turn about the y axis.",
            (
                "Its eigenstates are (|0> + i|1>)/sqrt(2) and (|0> - i|1>)/sqrt(2), with eigenvalues +1 and -1. It "
                "anticommutes with X and with Z."
            ),
        ],
        examples=[
            "Y|+> = -i|->, so it swaps |+> and |-> apart from a global phase.",
            "Y applied to a|0> + b|1> gives -ib|0> + ia|1>, which is X Z applied to the state, times i.",
            "With a = 0.6 and b = 0.8, the chance of reading 0 changes from 36% to 64% under Y.",
        ],
        limit=[
            "It leaves (|0> + i|1>)/sqrt(2) unchanged, so it does not flip every state.",
            "Codes that correct X and Z errors also correct Y, so it adds no new kind of error there.",
        ],
        see=[
            "X gate, Z gate, Bloch sphere.",
            "Pauli gates, Shor code, noise channels.",
        ],
    ),
    Concept(
        name="z_gate",
        asks=[
            "What does a Z gate change if the probabilities stay the same?",
            "Give the Z gate matrix with one example that shows its effect.",
            "Can you describe the phase-flip gate for my study notes?",
        ],
        idea=[
            "The Z gate flips the phase: it keeps |0> and turns |1> into -|1>.",
            "Pauli Z is the matrix diag(1, -1), half a turn about the z axis of the Bloch sphere.",
        ],
        how=[
            (
                "It changes a|0> + b|1> into a|0> - b|1>. The odds of 0 and 1 stay the same, but later gates see the "
                "new sign."
            ),
            "It equals S S as well as H X H, and its eigenstates are |0> (+1) and |1> (-1). It swaps |+> and |->.",
        ],
        examples=[
            "H, Z, H on |0> gives |1>, although the Z alone would not change a direct readout.",
            "Z|+> = |->, a state orthogonal to |+>, so a measurement in the X basis notices it every time.",
            "On |1> alone Z gives -|1>, which is the same physical state, since the sign is global.",
        ],
        limit=[
            "It has no visible effect on a qubit that is exactly |0> or |1>.",
            "Placed directly before a readout in the 0/1 basis it changes nothing.",
        ],
        see=[
            "relative phase, S gate, CZ gate.",
            "X gate, relative phase, Hadamard gate.",
        ],
    ),
    Concept(
        name="hadamard_gate",
        asks=[
            "What is the Hadamard gate?",
            "Matrix and key identities of the H gate, please, with an example.",
            "Why does nearly every quantum algorithm begin with H gates?",
        ],
        idea=[
            "The Hadamard gate takes |0> and |1> to equal superpositions, and back again.",
            "H is the matrix [[1, 1], [1, -1]]/sqrt(2), which exchanges the Z basis and the X basis.",
        ],
        how=[
            "H|0> is (|0> + |1>)/sqrt(2) and H|1> is (|0> - |1>)/sqrt(2). A second H returns the original state.",
            (
                "It satisfies H H = I and H Z H = X. One H on each of n qubits in |0> gives all 2^n bit strings the "
                "same amplitude, which lets the next gates act on all of them."
            ),
        ],
        examples=[
            "H on |0> and a readout make a fair coin, while H H on |0> always reads 0.",
            "H X H|0> = Z|0> = |0>, so the X between two H gates cannot be seen here.",
            "Three H gates on |000> give eight equal amplitudes of 1/sqrt(8) = 0.354.",
        ],
        limit=[
            "It makes no entanglement, because it acts on one qubit only.",
            "It is a reversible gate; the randomness comes only from measuring.",
        ],
        see=[
            "superposition, interference, Z gate.",
            "Deutsch-Jozsa algorithm, X gate, quantum Fourier transform.",
        ],
        third={"how": 1},
        heldout=HeldOut(
            ask="Teach me the Hadamard gate as if I were cramming the night before an exam.",
            idea=(
                "H translates between the states |0>, |1> and the states |+>, |->, so it turns sign information into "
                "bit information."
            ),
            how=(
                "It maps the amplitudes (a, b) to ((a + b)/sqrt(2), (a - b)/sqrt(2)). Sum and difference are why "
                "equal signs lead to 0 and opposite signs to 1."
            ),
            example="For 0.8|0> + 0.6|1> the new amplitudes are 0.990 and 0.141, so 0 now comes out with 98%.",
            limit=(
                "H with CNOT and S alone can be simulated efficiently on a laptop, so a gate such as T is needed too."
            ),
        ),
    ),
    Concept(
        name="s_gate",
        asks=[
            "What is the S gate?",
            "How do I use S to measure in the Y basis?",
            "Explain the S gate with matrix and example for a course handout.",
        ],
        idea=[
            "The S gate gives |1> an extra phase of 90 degrees: it keeps |0> and turns |1> into i|1>.",
            "S is the matrix diag(1, i), a quarter turn about the z axis and the square root of Z.",
        ],
        how=[
            (
                "It changes a|0> + b|1> into a|0> + ib|1>, so the odds of 0 and 1 stay the same. Two S gates make a "
                "Z, and four cancel."
            ),
            (
                "It moves the Bloch vector from x to y: S X S^-1 = Y. To read Y one applies S^-1 and then H before "
                "the normal readout."
            ),
        ],
        examples=[
            "S|+> = (|0> + i|1>)/sqrt(2), the state on the +y axis.",
            "For (|0> + i|1>)/sqrt(2), S^-1 gives |+> and H gives |0>, so the Y readout is 0 with certainty.",
            "0.6|0> + 0.8|1> becomes 0.6|0> + 0.8i|1>, and 1 still has probability 0.64.",
        ],
        limit=[
            "It is a Clifford gate, so with H and CNOT alone it gives no universal computer.",
            "It never changes a readout that follows directly in the 0/1 basis.",
        ],
        see=[
            "Z gate, T gate, relative phase.",
            "Clifford gates, Bloch sphere, measurement.",
        ],
        third={"idea": 1},
    ),
    Concept(
        name="t_gate",
        asks=[
            "What does the T gate do, and why do people count T gates?",
            "T gate cheat sheet, engineer level.",
            "why is T the expensive gate in fault tolerant machines",
        ],
        idea=[
            (
                "The T gate turns |1> into e^(i pi/4)|1>, an extra phase of 45 degrees, and makes the Clifford gates "
                "universal."
            ),
            "T is the matrix diag(1, e^(i pi/4)), one eighth of a turn about the z axis.",
        ],
        how=[
            (
                "Two T gates make an S and eight make the identity. Clifford gates alone are easy to simulate, and T "
                "is the usual addition that breaks this."
            ),
            (
                "It maps X to (X + Y)/sqrt(2), which is no Pauli operator, so it lies outside the Clifford group. "
                "Many error-correcting codes have to feed it in through a prepared magic state."
            ),
        ],
        examples=[
            "H, T, H on |0> reads 0 with probability cos^2(pi/8) = 0.854.",
            "A Toffoli gate in its standard form uses 7 T gates (some of them inverse) and 6 CNOT gates.",
            "T T T T = Z, so four T gates take |+> to |->.",
        ],
        limit=[
            "In many codes it costs far more than a Clifford gate, so circuits are optimised for few T gates.",
            "With T alone the odds of 0 and 1 never change; it needs H gates around it.",
        ],
        see=[
            "S gate, magic states, Clifford gates.",
            "universal gate set, Toffoli gate, relative phase.",
        ],
        third={"how": 1, "limit": 0},
    ),
    Concept(
        name="rotation_gates",
        asks=[
            "What are RX, RY and RZ?",
            "Formula for the rotation gates and one number I can check?",
            "Rotation gates for a beginner who knows the Bloch sphere.",
        ],
        idea=[
            "RX, RY and RZ turn the state of a qubit about the x, y or z axis of the Bloch sphere by a chosen angle.",
            "A rotation gate is R_P(theta) = cos(theta/2) I - i sin(theta/2) P with P = X, Y or Z.",
        ],
        how=[
            (
                "The angle is a free parameter, which makes these gates the dials of variational circuits. RZ changes "
                "only the phase, while RX and RY also change the odds."
            ),
            (
                "RY(theta)|0> = cos(theta/2)|0> + sin(theta/2)|1>. Three rotations, for example RZ RY RZ, make any "
                "single-qubit gate up to a global phase."
            ),
        ],
        examples=[
            "RY(pi/2) takes |0> to (|0> + |1>)/sqrt(2), a quarter turn from the pole to the equator.",
            "RY(pi/3) on |0> reads 1 with probability sin^2(pi/6) = 0.25.",
            "RX(pi) = -iX, so half a turn about x is the X gate up to a global phase.",
        ],
        limit=[
            "On one qubit at a time they cannot entangle; a gate such as CNOT is needed.",
            "Error-corrected machines usually cannot do arbitrary angles directly and approximate them with H and T.",
        ],
        see=[
            "Bloch sphere, X gate, variational quantum eigensolver.",
            "T gate, universal gate set, Hamiltonian simulation.",
        ],
        heldout=HeldOut(
            ask="Why is there a theta/2 in rotation gates? Explain the gates along the way.",
            idea="Rotation gates turn the Bloch vector by theta, while the amplitudes change with half of this angle.",
            how=(
                "|0> and |1> are orthogonal but lie 180 degrees apart on the sphere, so angles there are twice those "
                "between state vectors. Hence theta/2 appears."
            ),
            example="RY(2 pi/3) on |0> gives 0.5|0> + 0.866|1>: a turn of 120 degrees, and 1 is read with 75%.",
            limit=(
                "A turn by 2 pi gives -I and not I; the sign matters only if the gate is controlled by another qubit."
            ),
        ),
    ),
]
