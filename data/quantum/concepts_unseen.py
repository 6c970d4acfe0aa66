"""Concepts that are only held out."""

from content import Concept, HeldOut

CONCEPTS = [
    Concept(
        name="ghz_state",
        heldout=HeldOut(
            ask="What is a GHZ state, and how do I make one with three qubits?",
            idea="A GHZ state is an entangled superposition of all qubits in 0 and all qubits in 1.",
            how=(
                "For three qubits it is (|000> + |111>)/sqrt(2), made from |000> by H on the first qubit and two "
                "CNOTs. It generalises the Bell pair to any number of qubits."
            ),
            example="Reading the first qubit fixes the others, so only 000 and 111 occur, each with 50%.",
            limit=(
                "Lose a single qubit and all entanglement is gone: the other two are left in a plain mixture of 00 "
                "and 11."
            ),
            see="Bell states, entanglement, stabilizers.",
        ),
    ),
    Concept(
        name="entanglement_swapping",
        heldout=HeldOut(
            ask="Can two particles get entangled without ever meeting? Explain entanglement swapping.",
            idea="Entanglement swapping links two qubits that never met by a joint measurement on their partners.",
            how=(
                "A and B share (|00> + |11>)/sqrt(2), and so do C and D. A Bell measurement on B and C leaves A and D "
                "in the Bell state that the two result bits name."
            ),
            example="If they name (|01> + |10>)/sqrt(2), an X on D turns the pair into (|00> + |11>)/sqrt(2).",
            limit=(
                "Imperfect pairs get worse with every link, so long chains also need purification or error correction."
            ),
            see="teleportation, Bell states, photonic qubits.",
        ),
    ),
    Concept(
        name="phase_flip_code",
        heldout=HeldOut(
            ask="Which small code protects against Z errors? Describe it for my notes.",
            idea=(
                "The phase-flip code protects one logical qubit against a single Z error by using three qubits in the "
                "X basis."
            ),
            how=(
                "It stores a|0> + b|1> as a|+++> + b|--->, the bit-flip code with an H on each qubit. The checks X1 "
                "X2 and X2 X3 compare neighbours."
            ),
            example="Z on the second qubit turns |+++> into |+-+>, both checks give -1, and another Z repairs it.",
            limit="Bit flips go unseen: one X changes the sign of the |---> part, a logical error.",
            see="bit-flip code, Shor code, Z gate.",
        ),
    ),
    Concept(
        name="hhl",
        heldout=HeldOut(
            ask="Does the HHL algorithm really solve linear systems exponentially faster? Engineer level, please.",
            idea=(
                "HHL prepares a state proportional to the solution x of Ax = b, in time polynomial in log N for "
                "suitable matrices."
            ),
            how=(
                "Phase estimation finds the eigenvalues of A, a helper rotation scales each component by "
                "1/eigenvalue, and phase estimation is undone. If the helper reads success, |x> is left."
            ),
            example="A = diag(1, 2) and b = (1, 1)/sqrt(2) give (2|0> + |1>)/sqrt(5), which reads 0 with 80%.",
            limit="A must be sparse and well conditioned, b easy to load, and x cannot be read out cheaply.",
            see="phase estimation, Hamiltonian simulation.",
        ),
    ),
    Concept(
        name="swap_test",
        heldout=HeldOut(
            ask="How can I compare two unknown quantum states? I heard of the swap test.",
            idea="The swap test estimates the overlap of two unknown states with one helper qubit.",
            how=(
                "The helper gets an H, controls a SWAP of the two states, gets another H and is read. It shows 0 with "
                "probability (1 + |<a|b>|^2)/2."
            ),
            example=(
                "For |0> and |+> the overlap squared is 1/2, so the helper reads 0 in 75% of the runs; equal states "
                "give 100%."
            ),
            limit=(
                "One run decides nothing, precision eps takes about 1/eps^2 runs, and the two states are disturbed by "
                "the test."
            ),
            see="fidelity, SWAP gate, phase kickback.",
        ),
    ),
    Concept(
        name="dynamical_decoupling",
        heldout=HeldOut(
            ask="What is dynamical decoupling? Please explain it with a simple echo.",
            idea="Dynamical decoupling protects an idle qubit from slow noise by flipping it with well-timed pulses.",
            how=(
                "A slow stray field turns the phase of the qubit. An X pulse halfway reverses the sense of this "
                "turning, so the second half undoes the first."
            ),
            example="An error of 10 kHz adds 36 degrees of phase in 10 us, but with an X after 5 us the halves cancel.",
            limit=(
                "It does not stop energy loss (T1) or noise faster than the pulses, and imperfect pulses add errors "
                "of their own."
            ),
            see="decoherence, X gate, error mitigation.",
        ),
    ),
    Concept(
        name="random_numbers",
        heldout=HeldOut(
            ask="How do I get true random numbers from a qubit?",
            idea=(
                "A quantum random number generator takes its bits from measurements whose outcome is not fixed "
                "beforehand."
            ),
            how=(
                "One prepares an equal superposition, reads it, resets and repeats. Post-processing removes the bias "
                "that imperfect devices add."
            ),
            example=(
                "H on |0> and readout give a bit; with a bias of 60% to 40%, keeping only unequal pairs makes 01 and "
                "10 equally likely."
            ),
            limit=(
                "A user cannot tell true from faked randomness by looking at the bits; only trust in the device or a "
                "Bell test helps."
            ),
            see="measurement, Hadamard gate, CHSH inequality.",
        ),
    ),
    Concept(
        name="bqp",
        heldout=HeldOut(
            ask="Explain the complexity class BQP for someone who knows P and NP.",
            idea=(
                "BQP is the class of yes-no problems that a quantum computer solves in polynomial time with an error "
                "of at most 1/3."
            ),
            how=(
                "Repeating the run and taking the majority makes the error as small as desired. BQP contains P, lies "
                "inside PSPACE, and includes the decision version of factoring."
            ),
            example=(
                "With an error of 1/3 per run, the majority of three runs errs with 7/27, about 26%, and more runs "
                "lower it further."
            ),
            limit="It is not believed to contain NP-complete problems, but this is unproven.",
            see="Shor algorithm, Grover search, quantum advantage.",
        ),
    ),
]
