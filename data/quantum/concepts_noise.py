"""Decoherence, noise channels and mixed states."""

from content import Concept, HeldOut

CONCEPTS = [
    Concept(
        name="decoherence",
        asks=[
            "What is decoherence?",
            "Explain T1 and T2 for a hardware engineer.",
            "How do T1 and T2 limit my circuit? A number would help.",
        ],
        idea=[
            "Decoherence is the loss of quantum behaviour because a qubit leaks information into its surroundings.",
            "T1 is the time in which a qubit loses its energy, and T2 the time in which it loses its phase.",
        ],
        how=[
            (
                "Energy loss takes |1> to |0> at the rate 1/T1. Dephasing scrambles the relative phase, and T2 counts "
                "both effects."
            ),
            (
                "The population of |1> falls like e^(-t/T1), the coherence like e^(-t/T2). They obey 1/T2 = 1/(2 T1) "
                "+ 1/T_phi, with T_phi for pure dephasing, so T2 is at most 2 T1."
            ),
        ],
        examples=[
            "With T1 = 100 us, a qubit in |1> is still in |1> after 100 us with probability e^-1 = 37%.",
            "T1 = 100 us and T_phi = 200 us give 1/T2 = 1/200 + 1/200, so T2 = 100 us.",
            "With T2 = 80 us, a coherence falls to e^-0.5 = 61% after 40 us.",
        ],
        limit=[
            "Two numbers do not describe all noise, for example crosstalk or slow drifts.",
            "It cannot be switched off; error correction only works faster than it.",
        ],
        see=[
            "noise channels, circuit depth, error correction.",
            "density matrix, superconducting qubits, relative phase.",
        ],
        heldout=HeldOut(
            ask="Why do qubits forget? I'd like T1 and T2 in everyday terms.",
            idea="Qubits forget because the world around them takes their energy (T1) and disturbs their rhythm (T2).",
            how=(
                "T1 says how soon a |1> falls to |0>, T2 how soon the phase becomes unpredictable. Any stray field or "
                "atom nearby acts as an unwanted observer."
            ),
            example="With T1 = 50 us, a qubit in |1> decays within 1 us with probability 1 - e^-0.02, about 2%.",
            limit="Long times alone do not make a good machine, since what counts is how many gates fit into them.",
        ),
    ),
    Concept(
        name="noise_channels",
        asks=[
            "What are noise channels?",
            "Kraus operators and the common noise models, short and correct please.",
            "Bit flip, phase flip, depolarizing: what does each do to a qubit?",
        ],
        idea=[
            "A noise channel is a rule that says how errors change the state of a qubit on average.",
            "A channel maps rho to the sum of K rho K^+ over its Kraus operators K, and the K^+ K sum to the identity.",
        ],
        how=[
            (
                "Bit flip applies X with probability p, phase flip applies Z, and depolarizing noise replaces the "
                "state by a random one. Amplitude damping lets |1> decay to |0>."
            ),
            (
                "Phase flip multiplies the off-diagonal elements of rho by 1 - 2p. Depolarizing noise, (1 - p) rho + "
                "p I/2, shrinks the whole Bloch vector by 1 - p."
            ),
        ],
        examples=[
            "Amplitude damping of 20% on |1> leaves |1> with probability 0.8 and |0> with 0.2.",
            "A phase flip with p = 0.5 turns |+> into I/2 but leaves |0> unchanged.",
            "Depolarizing noise with p = 0.1 turns |0> into a state that reads 1 with probability 0.05.",
        ],
        limit=[
            "These are models; real noise can have memory or act on several qubits at once.",
            "A channel describes averages, so it does not tell which error happened in a single run.",
        ],
        see=[
            "density matrix, decoherence, fidelity.",
            "error correction, error mitigation, bit-flip code.",
        ],
        third={"idea": 0, "how": 0},
    ),
    Concept(
        name="density_matrix",
        asks=[
            "What is a density matrix and when do I need one?",
            "Pure versus mixed state: give the density matrices side by side.",
            "Density matrix for an engineer who knows linear algebra.",
        ],
        idea=[
            "A density matrix describes a quantum state that may be partly random or part of a larger system.",
            "A density matrix is rho = sum of p_k |psi_k><psi_k|, with trace 1 and no negative eigenvalue.",
        ],
        how=[
            (
                "The diagonal holds the probabilities of the outcomes, and the off-diagonal elements hold the "
                "coherence. Noise makes the latter shrink."
            ),
            (
                "The purity tr(rho^2) is 1 for a pure state and at least 1/2 for one qubit. The mean value of an "
                "observable A is tr(rho A)."
            ),
        ],
        examples=[
            "Half |0> and half |+> give [[0.75, 0.25], [0.25, 0.25]], with purity 0.75.",
            (
                "|+> has all four entries equal to 1/2, while a fair coin of |0> and |1> has 1/2 on the diagonal and "
                "0 elsewhere."
            ),
            "Each half of a Bell pair is I/2 on its own, with purity 1/2.",
        ],
        limit=[
            "Different mixtures can have the same matrix, and no experiment on the system tells them apart.",
            "It has 4^n entries for n qubits, so 10 qubits already need about a million.",
        ],
        see=[
            "noise channels, fidelity, decoherence.",
            "Bloch sphere, entanglement, state tomography.",
        ],
        third={"idea": 1},
        heldout=HeldOut(
            ask="Why isn't a list of amplitudes enough once noise enters? Please introduce density matrices.",
            idea=(
                "Amplitudes describe one definite state, whereas a density matrix also covers not knowing which state "
                "is present."
            ),
            how=(
                "Each possible state adds its own matrix, weighted with its probability. Gates act as U rho U^+, and "
                "outcome k is read with probability rho_kk."
            ),
            example=(
                "A source that emits |0> in 75% and |1> in 25% of the cases has rho = diag(0.75, 0.25) and purity "
                "0.625."
            ),
            limit="The matrix shows only averages: it cannot say which state was really emitted in a given run.",
        ),
    ),
    Concept(
        name="fidelity",
        asks=[
            "What does fidelity measure?",
            "Fidelity formula for pure states, plus a quick sanity check.",
            "A vendor quotes 99.5% gate fidelity. What does this mean for my circuit?",
        ],
        idea=[
            "Fidelity is a number from 0 to 1 that says how close a quantum state or gate is to the intended one.",
            "For a pure target psi the fidelity of rho is <psi|rho|psi>, and for two pure states it is |<a|b>|^2.",
        ],
        how=[
            (
                "It is 1 for equal and 0 for orthogonal states. For gates one averages the fidelity of the output "
                "over all input states."
            ),
            (
                "It is the probability that a test for the target state says yes. Errors of many gates roughly "
                "multiply, so small losses add up quickly."
            ),
        ],
        examples=[
            "For |0> and |+> the fidelity is 1/2.",
            "A target of |0> and rho = diag(0.9, 0.1) give the fidelity 0.9.",
            "100 gates of fidelity 0.995 leave roughly 0.995^100 = 0.61.",
        ],
        limit=[
            "A single number hides which error occurs, and systematic errors can add up faster than it suggests.",
            "Some texts define it as the square root of this value, so check before comparing.",
        ],
        see=[
            "density matrix, randomized benchmarking, state tomography.",
            "noise channels, NISQ, quantum volume.",
        ],
        third={"how": 1, "limit": 0},
    ),
]
