"""Estimating states, mean values and the quality of a machine."""

from content import Concept

CONCEPTS = [
    Concept(
        name="state_tomography",
        asks=[
            "What is quantum state tomography?",
            "How many measurement settings does tomography need for n qubits?",
            "State tomography of one qubit, step by step but short.",
        ],
        idea=[
            "State tomography reconstructs an unknown state from measurements on many equal copies.",
            "Tomography estimates all 4^n - 1 real parameters of an n-qubit density matrix from measured averages.",
        ],
        how=[
            (
                "The qubits are measured in several bases, usually X, Y and Z on each. The averages are then combined "
                "into a density matrix."
            ),
            (
                "With X, Y or Z chosen for each qubit there are 3^n settings. For one qubit rho = (I + <X>X + <Y>Y + "
                "<Z>Z)/2."
            ),
        ],
        examples=[
            "<X> = 0.6, <Y> = 0 and <Z> = 0.8 belong to a pure state, because 0.36 + 0.64 = 1.",
            "Five qubits need 3^5 = 243 settings for 1023 parameters.",
            "<X> = <Y> = <Z> = 0 means the fully mixed state I/2, for instance half of a Bell pair.",
        ],
        limit=[
            "The effort grows exponentially, so it is practical only for a few qubits.",
            "Shot noise can give impossible matrices with negative eigenvalues, which a fit must repair.",
        ],
        see=[
            "density matrix, shots, fidelity.",
            "measurement, Bloch sphere, randomized benchmarking.",
        ],
        third={"how": 1},
    ),
    Concept(
        name="error_mitigation",
        asks=[
            "What is error mitigation, as opposed to error correction?",
            "Zero-noise extrapolation: show me the arithmetic.",
            "How do I correct a biased readout? Mitigation basics please.",
        ],
        idea=[
            "Error mitigation estimates what a noisy quantum computer would have measured without noise.",
            "Mitigation trades extra runs and classical post-processing for less bias in mean values.",
        ],
        how=[
            (
                "One measures how noise changes the result and inverts this change afterwards. No extra qubits are "
                "needed, but more shots are."
            ),
            (
                "Zero-noise extrapolation runs a circuit at several noise levels and extends the trend to zero noise. "
                "Readout mitigation undoes known misreadings with a little linear algebra."
            ),
        ],
        examples=[
            "A mean value of 0.80 at normal and 0.65 at doubled noise gives 0.95 at zero noise by a straight line.",
            "Values of 0.80 at normal and 0.50 at threefold noise lie on a line that reaches 0.95 at zero noise.",
            (
                "If 2% of zeros and 5% of ones are misread and 1 is seen in 48.5% of the runs, the true share is "
                "(0.485 - 0.02)/0.93 = 0.5."
            ),
        ],
        limit=[
            "Its cost grows exponentially with the size of the circuit, so it does not replace error correction.",
            "It repairs averages, not single runs, and a wrong noise model leaves a bias.",
        ],
        see=[
            "NISQ, error correction, shots.",
            "noise channels, variational quantum eigensolver, measurement.",
        ],
        third={"how": 1, "limit": 1},
    ),
    Concept(
        name="randomized_benchmarking",
        asks=[
            "What is randomized benchmarking?",
            "How do I get an error per gate from a benchmarking decay?",
            "Why use random sequences to test quantum gates?",
        ],
        idea=[
            (
                "Randomized benchmarking measures the average error of gates by running random sequences of growing "
                "length."
            ),
            (
                "Randomized benchmarking fits the survival probability A p^m + B over the sequence length m and "
                "converts p to an error rate."
            ),
        ],
        how=[
            (
                "Each sequence ends with a gate that undoes the rest, so without errors the start state returns. The "
                "speed of the decay gives the error per gate."
            ),
            (
                "Random Clifford gates average the errors to depolarizing noise. The error per gate is (1 - p)(d - "
                "1)/d with d = 2^n, and readout errors enter only A and B."
            ),
        ],
        examples=[
            "On one qubit p = 0.998 means an error of 0.002/2 = 0.001 per Clifford gate.",
            "On two qubits p = 0.98 means an error of 0.02 * 3/4 = 0.015 per Clifford gate.",
            "With A = B = 0.5 and p = 0.99, the start state returns after 100 gates with probability 0.68.",
        ],
        limit=[
            "It gives one average and does not show which error occurs or on which gate.",
            "Noise with memory or crosstalk can spoil the simple decay and the meaning of the fit.",
        ],
        see=[
            "Clifford gates, fidelity, noise channels.",
            "quantum volume, state tomography, NISQ.",
        ],
        third={"how": 1},
    ),
    Concept(
        name="quantum_volume",
        asks=[
            "What is quantum volume?",
            "Quantum volume 64: what has the machine shown?",
            "Define quantum volume for a procurement checklist.",
        ],
        idea=[
            "Quantum volume is a single number for the largest square random circuit that a machine still runs well.",
            (
                "Quantum volume is 2^n for the largest n at which random circuits of n qubits and n layers pass the "
                "heavy-output test."
            ),
        ],
        how=[
            (
                "Each layer pairs the qubits at random and applies random two-qubit gates. The machine passes if "
                "outputs of above-median probability occur in more than 2/3 of the shots."
            ),
            (
                "A perfect machine gets heavy outputs in about 85% of the shots and pure noise in 50%. The threshold "
                "of 2/3 must be beaten with statistical confidence."
            ),
        ],
        examples=[
            "For n = 6 there are 3 pairs in each of 6 layers, that is 18 random two-qubit gates.",
            "A quantum volume of 64 = 2^6 means that circuits of 6 qubits and 6 layers passed.",
            "A machine with 100 qubits that passes up to n = 10 has the quantum volume 1024.",
        ],
        limit=[
            "The ideal outputs must be computed classically, so it cannot be tested for very large n.",
            "It rates square random circuits and says nothing about speed or other circuit shapes.",
        ],
        see=[
            "randomized benchmarking, circuit depth, NISQ.",
            "fidelity, quantum advantage, transpilation.",
        ],
        third={"idea": 1},
    ),
]
