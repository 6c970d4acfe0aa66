"""Variational methods, simulation, annealing and the noisy machines of today."""

from content import Concept, HeldOut

CONCEPTS = [
    Concept(
        name="variational_quantum_eigensolver",
        asks=[
            "What is VQE and what is it used for?",
            "VQE loop for an engineer: what runs where, and what limits it?",
            "Show me VQE on the smallest possible problem.",
        ],
        idea=[
            (
                "The variational quantum eigensolver (VQE) searches for the lowest energy of a system by tuning a "
                "parametrised circuit."
            ),
            (
                "VQE minimises <psi(theta)|H|psi(theta)>, which by the variational principle is never below the "
                "ground state energy."
            ),
        ],
        how=[
            (
                "A quantum computer prepares a trial state and measures its energy, and a classical optimiser changes "
                "the angles. The loop repeats until the energy stops falling."
            ),
            (
                "H is written as a weighted sum of Pauli terms, each measured with many shots on the quantum chip. A "
                "classical optimiser adds them up and proposes new angles."
            ),
        ],
        examples=[
            "For the hydrogen molecule in a minimal basis the exact value near the bond length is -1.137 hartree.",
            "For H = X + Z the energy of RY(t)|0> is cos(t) + sin(t), with the minimum -1.414 at t = 5 pi/4.",
            "For H = Z and the trial state RY(t)|0> the energy is cos(t), and the loop ends at t = pi with -1.",
        ],
        limit=[
            "If the circuit cannot express the ground state, the result stays too high.",
            "Noise, many shots and flat landscapes make large molecules hard, and no general advantage is proven.",
        ],
        see=[
            "QAOA, barren plateaus, shots.",
            "rotation gates, Hamiltonian simulation, error mitigation.",
        ],
        heldout=HeldOut(
            ask="I know gradient descent. How does VQE use it to get a ground state energy?",
            idea=(
                "VQE treats the angles of a circuit like the weights of a model and the measured energy like the loss."
            ),
            how=(
                "For gates such as RY the slope is half the difference of two energies, measured with the angle "
                "shifted by +pi/2 and -pi/2."
            ),
            example="With H = X and RY(t)|0> the energy is sin(t), and descent from t = 0 ends at t = -pi/2 with -1.",
            limit="Each slope is itself a noisy estimate, so many parameters mean very many shots.",
        ),
    ),
    Concept(
        name="qaoa",
        asks=[
            "What does QAOA do?",
            "QAOA for MaxCut, briefly, with known guarantees.",
            "Explain the quantum approximate optimisation algorithm to an operations researcher.",
        ],
        idea=[
            (
                "QAOA looks for good solutions of combinatorial problems by alternating two kinds of layers with "
                "tunable angles."
            ),
            (
                "QAOA applies e^(-i gamma C) and e^(-i beta B) in p rounds, with C the cost and B the sum of X on all "
                "qubits."
            ),
        ],
        how=[
            (
                "One layer gives each bit string a phase according to its cost, and the other mixes the bit strings. "
                "A classical optimiser picks the angles that make good strings likely."
            ),
            (
                "It starts from equal superposition, runs p rounds and samples bit strings. The 2p angles are tuned "
                "to improve their mean cost."
            ),
        ],
        examples=[
            (
                "In MaxCut on a triangle each qubit names the side of one corner, and the best strings, such as 001, "
                "cut 2 of 3 edges."
            ),
            (
                "With p = 1 on graphs where each corner has three edges, at least 69.2% of the best cut is reached on "
                "average."
            ),
            "On a long ring with an even number of corners p = 1 reaches 3/4 of the best cut, and p = 2 reaches 5/6.",
        ],
        limit=[
            "No general speed-up is proven, and deep layers suffer from noise.",
            "Classical methods do well too: Goemans-Williamson guarantees 87.8% for MaxCut.",
        ],
        see=[
            "variational quantum eigensolver, quantum annealing, barren plateaus.",
            "adiabatic computing, NISQ, rotation gates.",
        ],
    ),
    Concept(
        name="hamiltonian_simulation",
        asks=[
            "What is Hamiltonian simulation?",
            "Trotter formula and its error, engineer level please.",
            "Why do people say quantum computers will help chemistry? Explain the core task.",
        ],
        idea=[
            (
                "Hamiltonian simulation lets a quantum computer imitate how another quantum system, such as a "
                "molecule, changes in time."
            ),
            "Hamiltonian simulation builds a circuit for e^(-iHt) from simple terms of H.",
        ],
        how=[
            (
                "H is split into small terms whose evolutions are easy gates. Many short steps, one term after the "
                "other, approximate the true motion."
            ),
            (
                "The Trotter formula uses (e^(-iAt/r) e^(-iBt/r))^r for H = A + B. Its error grows like t^2/r and "
                "vanishes if A and B commute."
            ),
        ],
        examples=[
            "For H = Z the circuit is simply RZ(2t), because e^(-iZt) = RZ(2t).",
            "For A = X, B = Z, t = 1 and r = 100 the error is at most 0.01.",
            "The term Z Z on two qubits, run for a time t, becomes CNOT, RZ(2t) on the target and CNOT again.",
        ],
        limit=[
            "Long times and high precision need deep circuits, beyond today's noisy devices.",
            "It gives a state, not a table: each quantity of interest must still be measured.",
        ],
        see=[
            "phase estimation, variational quantum eigensolver, rotation gates.",
            "circuit depth, adiabatic computing, CNOT gate.",
        ],
        third={"idea": 0, "how": 0},
    ),
    Concept(
        name="barren_plateaus",
        asks=[
            "What is a barren plateau?",
            "Why do big variational circuits stop training? Numbers welcome.",
            "barren plateau vs vanishing gradient, explain for an ML person",
        ],
        idea=[
            (
                "A barren plateau is a region where the cost of a variational circuit is almost flat, so training "
                "finds no direction."
            ),
            "On a barren plateau the variance of the gradient shrinks exponentially with the number of qubits.",
        ],
        how=[
            (
                "In a very large state space a random circuit looks almost the same from everywhere. The gradient is "
                "then so small that shot noise hides it."
            ),
            (
                "Deep random circuits, costs that involve all qubits at once, and noise each can cause it. Costs on "
                "few qubits and shallow circuits suffer less."
            ),
        ],
        examples=[
            (
                "If the variance is 2^-20 for 20 qubits, a typical slope is 0.001, and seeing it takes about a "
                "million shots."
            ),
            (
                "For RY on each of 10 qubits and the cost 1 - P(all zeros), random angles give a gradient variance of "
                "only 1.8 * 10^-5."
            ),
            (
                "A cost on single qubits is safer: for 10 qubits with one random RY each, the mean of 1 - P(0) has a "
                "gradient variance of 1/800."
            ),
        ],
        limit=[
            "A better optimiser does not help, since the signal itself is missing.",
            "Known cures restrict the circuit, which may make it easy to simulate classically.",
        ],
        see=[
            "variational quantum eigensolver, QAOA, shots.",
            "rotation gates, NISQ, noise channels.",
        ],
    ),
    Concept(
        name="quantum_annealing",
        asks=[
            "How does a quantum annealer differ from a gate-based quantum computer?",
            "What kind of input does a quantum annealer take? Give a tiny QUBO.",
            "Quantum annealing in plain words, please.",
        ],
        idea=[
            (
                "Quantum annealing seeks low-energy solutions by slowly turning a simple quantum system into one that "
                "encodes the problem."
            ),
            (
                "A quantum annealer minimises a quadratic function of bits (QUBO) by lowering a transverse field "
                "while the cost terms grow."
            ),
        ],
        how=[
            (
                "Instead of gates there is one slow sweep: all qubits start in superposition, and at the end only the "
                "cost counts. Many runs give a set of good candidates."
            ),
            (
                "The problem is written as couplings between pairs of qubits. Quantum fluctuations help the system to "
                "leave poor solutions while the field is lowered."
            ),
        ],
        examples=[
            "The energy Z1 Z2 is -1 for 01 and 10, which is the best cut of a single edge.",
            "The cost x1 + x2 - 2 x1 x2 is 0 for 00 and 11 and 1 otherwise, so it rewards equal bits.",
            "To split 3, 5, 2 evenly, minimise (3a + 5b + 2c)^2 over signs a, b, c; 5 against 3 + 2 gives 0.",
        ],
        limit=[
            "No general speed-up over good classical heuristics is proven.",
            "Only certain pairs of qubits are coupled, so dense problems need several qubits for one variable.",
        ],
        see=[
            "adiabatic computing, QAOA, superconducting qubits.",
            "Hamiltonian simulation, quantum advantage, NISQ.",
        ],
    ),
    Concept(
        name="adiabatic_computing",
        asks=[
            "What is adiabatic quantum computing?",
            "How slow is slow enough in adiabatic quantum computing?",
            "Explain the adiabatic theorem with a one-qubit example.",
        ],
        idea=[
            (
                "Adiabatic computing starts in an easy ground state and changes the system so slowly that it stays in "
                "the ground state."
            ),
            (
                "In adiabatic computing H(s) runs from a simple start at s = 0 to a problem Hamiltonian at s = 1 "
                "while the state follows."
            ),
        ],
        how=[
            (
                "The final Hamiltonian is chosen so that its ground state is the answer. How slow the change must be "
                "depends on the energy gap to the next state."
            ),
            (
                "The needed time grows roughly like 1/gap^2 at the narrowest point. In theory the model is as "
                "powerful as circuits, up to polynomial cost."
            ),
        ],
        examples=[
            "For unstructured search among N items the smallest gap is 1/sqrt(N), that is 0.001 for a million items.",
            "If the gap drops from 0.1 to 0.01, the required time grows about 100 times.",
            "H(s) = -(1 - s)X - sZ leads from |+> to |0>, and its smallest gap is 1.414 at s = 1/2.",
        ],
        limit=[
            "For hard problems the gap can close exponentially, and then the run takes exponentially long.",
            "The gap is rarely known beforehand, so the right speed must be guessed.",
        ],
        see=[
            "quantum annealing, QAOA, Hamiltonian simulation.",
            "Grover search, decoherence, quantum annealing.",
        ],
        third={"idea": 0},
    ),
    Concept(
        name="nisq",
        asks=[
            "What does NISQ mean?",
            "What can a NISQ machine do today, roughly in numbers?",
            "Explain the NISQ era to a manager with a technical background.",
        ],
        idea=[
            (
                "NISQ stands for noisy intermediate-scale quantum: machines with tens to hundreds of qubits and no "
                "full error correction."
            ),
            "A NISQ device has too many qubits for brute-force simulation but too much noise for long algorithms.",
        ],
        how=[
            (
                "Every gate fails with a small probability, so only short circuits give useful results. Programs are "
                "kept shallow, repeated often and cleaned up by error mitigation."
            ),
            (
                "The chance that no gate fails falls exponentially with the number of gates. Hence hybrid methods use "
                "short circuits and leave the rest to a classical computer."
            ),
        ],
        examples=[
            "With an error of 0.5% for each gate, 200 gates run without any error in 0.995^200 = 37% of the runs.",
            "With an error of 0.1% for each gate, 1000 gates pass without error in 37% of the runs.",
            "A circuit of 5000 gates with 0.1% error each is clean in only 0.7% of the runs.",
        ],
        limit=[
            "Shor's algorithm at useful sizes is out of reach, as it needs error correction.",
            "A clear practical advantage over classical computers has not been shown in this regime.",
        ],
        see=[
            "error mitigation, circuit depth, variational quantum eigensolver.",
            "quantum volume, decoherence, error correction.",
        ],
        third={"idea": 0},
    ),
]
