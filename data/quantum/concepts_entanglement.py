"""Entanglement and what it is good for."""

from content import Concept, HeldOut

CONCEPTS = [
    Concept(
        name="entanglement",
        asks=[
            "What is entanglement? Explain it without mysticism.",
            "Give an engineer's definition of entanglement and a test for it.",
            "In one paragraph: what makes two qubits entangled?",
        ],
        idea=[
            "Two qubits are entangled when their joint state cannot be written as one state for each of them.",
            "A pure state of two qubits is entangled if it does not factor into a product of single-qubit states.",
        ],
        how=[
            (
                "Only the pair has a definite state, and each half alone looks at least partly random. Measured in "
                "fitting bases, the results agree more strongly than any shared plan allows."
            ),
            (
                "The state a|00> + b|01> + c|10> + d|11> is a product exactly when ad = bc. A gate such as CNOT can "
                "take a product to a state that breaks this rule."
            ),
        ],
        examples=[
            "In (|00> + |11>)/sqrt(2) each qubit reads 0 or 1 at random, yet both always agree.",
            "(|00> + |01> + |10> - |11>)/2 has ad = -1/4 and bc = 1/4, so it is entangled.",
            "0.8|00> + 0.6|11> gives 00 in 64% and 11 in 36% of the runs, never 01 or 10.",
        ],
        limit=[
            "It sends no message: one side cannot see from its own results what the other side does.",
            "It is fragile, and a qubit fully entangled with one partner cannot have another.",
        ],
        see=[
            "Bell states, CNOT gate, teleportation.",
            "CHSH inequality, no-cloning theorem, density matrix.",
        ],
        heldout=HeldOut(
            ask="Is entanglement just like a pair of gloves in two boxes? Set me straight.",
            idea="Entangled qubits share one joint state, which is more than two objects with values fixed in advance.",
            how=(
                "Gloves agree in one property that was set when packing. Entangled qubits agree in several bases at "
                "once, and Bell tests show that no values set beforehand reproduce all results."
            ),
            example=(
                "For (|00> + |11>)/sqrt(2), the results agree if both sides measure Z, and they also agree if both "
                "measure X."
            ),
            limit=(
                "Neither side can steer its own result, so the agreement shows only after the two lists are compared."
            ),
        ),
    ),
    Concept(
        name="bell_states",
        asks=[
            "List the four Bell states and say how to make them.",
            "what's a bell pair? beginner level please",
            "Quick revision before my exam: Bell states.",
        ],
        idea=[
            "The Bell states are four fully entangled states of two qubits that together form a basis.",
            "A Bell pair is two qubits in an equal superposition whose results always agree or always differ.",
        ],
        how=[
            (
                "They are (|00> + |11>), (|00> - |11>), (|01> + |10>) and (|01> - |10>), each over sqrt(2). H on the "
                "first qubit and then a CNOT make them from the four basis states."
            ),
            (
                "An H makes a superposition, and a CNOT copies its bit value into the second qubit. The two gates in "
                "reverse order turn the four Bell states back into four readable bit strings."
            ),
        ],
        examples=[
            "Starting from |10>, H gives (|00> - |10>)/sqrt(2) and the CNOT makes (|00> - |11>)/sqrt(2).",
            "Starting from |00> one gets (|00> + |11>)/sqrt(2), which reads 00 or 11 with 50% each.",
            "X on one qubit of (|00> + |11>)/sqrt(2) gives (|01> + |10>)/sqrt(2), another Bell state.",
        ],
        limit=[
            "Each half alone is a fair coin, so a Bell pair by itself carries no message.",
            "With beam splitters and detectors alone, at most half of all Bell measurements on photons succeed.",
        ],
        see=[
            "entanglement, teleportation, superdense coding.",
            "CNOT gate, CHSH inequality, stabilizers.",
        ],
    ),
    Concept(
        name="chsh_inequality",
        asks=[
            "What does the CHSH inequality test?",
            "Explain the CHSH game with the winning odds.",
            "How do we know entanglement isn't just hidden values? Give me the key inequality.",
        ],
        idea=[
            (
                "The CHSH inequality bounds the correlations of all theories with local, preset values, and quantum "
                "mechanics breaks it."
            ),
            (
                "CHSH combines four correlations into S, with |S| <= 2 for local hidden values and |S| <= 2 sqrt(2) "
                "for quantum states."
            ),
        ],
        how=[
            (
                "Two players pick one of two settings at random and record +1 or -1. Preset answers cannot satisfy "
                "all four pairs of settings well at the same time."
            ),
            (
                "S = E(a,b) + E(a,b') + E(a',b) - E(a',b'), where E is the mean product of the results. A Bell pair "
                "with well chosen settings reaches 2.83."
            ),
        ],
        examples=[
            (
                "On a Bell pair, Alice measures Z or X and Bob (Z + X)/sqrt(2) or (Z - X)/sqrt(2), which gives 2.83 "
                "against 2."
            ),
            (
                "In the game version the best classical plan wins 75% of the rounds, and a shared Bell pair wins "
                "cos^2(pi/8) = 85.4%."
            ),
            "A Bell pair mixed with 10% white noise still gives 0.9 * 2.83 = 2.55, well above 2.",
        ],
        limit=[
            "The violation cannot send signals, and weak entanglement mixed with noise may not break the bound.",
            "Lost photons or settings that are not independent open loopholes, so a clean test is hard.",
        ],
        see=[
            "entanglement, Bell states, measurement.",
            "Bell states, BB84, no-cloning theorem.",
        ],
        third={"idea": 1},
    ),
    Concept(
        name="no_cloning_theorem",
        asks=[
            "Why can't a quantum state be copied?",
            "Sketch the proof of the no-cloning theorem for me.",
            "I'm a programmer. Why is there no memcpy for qubits?",
        ],
        idea=[
            "No machine can copy an arbitrary unknown quantum state perfectly.",
            "The no-cloning theorem says that no unitary maps |psi>|0> to |psi>|psi> for every |psi>.",
        ],
        how=[
            (
                "Quantum operations are linear, so a device that copies |0> and |1> already has fixed results for all "
                "their sums. For a superposition this result is an entangled pair and not two copies."
            ),
            (
                "Unitaries keep inner products, so cloning two states would need <a|b> = <a|b>^2. That holds only if "
                "they are equal or orthogonal."
            ),
        ],
        examples=[
            "A CNOT copies |0> and |1>, but turns |+>|0> into (|00> + |11>)/sqrt(2) instead of |+>|+>.",
            "For |0> and |+> the inner product is 0.71, but two copies each would have 0.5, so no unitary does both.",
            "The best universal copier that makes two copies of one qubit reaches a fidelity of 5/6 for each of them.",
        ],
        limit=[
            "It does not forbid copying known or orthogonal states, so classical bits can still be copied.",
            "It rules out backups and simple repetition, so error correction must spread one state over many qubits.",
        ],
        see=[
            "measurement, teleportation, BB84.",
            "error correction, entanglement, CNOT gate.",
        ],
        heldout=HeldOut(
            ask="If I can build a CNOT, why can't I duplicate qubits with it?",
            idea=(
                "A CNOT duplicates the bit value but not the state, and no other gate can duplicate an unknown state "
                "either."
            ),
            how=(
                "On a|0> + b|1> with a fresh |0> it gives a|00> + b|11>. Two real copies would be the product, which "
                "also holds |01> and |10> with the amplitude ab."
            ),
            example=(
                "For a = b = 1/sqrt(2) a true copy would show 01 in 25% of the runs, while the CNOT output never does."
            ),
            limit="Only exact copies of unknown states are banned; imperfect copies and teleportation are allowed.",
        ),
    ),
    Concept(
        name="teleportation",
        asks=[
            "How does quantum teleportation work?",
            "Walk me through the teleportation circuit, gate by gate.",
            "Does teleportation beat the speed of light? Explain the protocol briefly.",
        ],
        idea=[
            "Teleportation moves a qubit state to another place with a shared Bell pair and two classical bits.",
            "Teleportation uses up one Bell pair and two classical bits to transfer one unknown qubit state.",
        ],
        how=[
            (
                "Alice measures her qubit together with her half of the pair and sends the two result bits. Bob "
                "applies X, Z, both or nothing, and then holds the state."
            ),
            (
                "Alice applies CNOT from the unknown qubit to her half and H on the unknown qubit, then reads m1 "
                "(unknown) and m2 (half). Bob applies X if m2 = 1, then Z if m1 = 1."
            ),
        ],
        examples=[
            "If Alice reads 1 and 0, Bob holds a|0> - b|1>, and a Z gate makes it a|0> + b|1>.",
            "Each of the four results has probability 1/4, whatever the state; after 00 Bob needs no gate at all.",
            "For |+> and the results 1, 1 Bob holds |-> up to sign; X and Z restore |+>.",
        ],
        limit=[
            "It is not faster than light, because Bob's half is useless until the two bits arrive.",
            "No copy is made: Alice's original is destroyed by her measurement, as no-cloning requires.",
        ],
        see=[
            "Bell states, no-cloning theorem, superdense coding.",
            "entanglement, measurement, CNOT gate.",
        ],
        third={"limit": 0},
        heldout=HeldOut(
            ask="What exactly gets sent in quantum teleportation?",
            idea=(
                "Only two ordinary bits travel, while the quantum state reappears in a qubit that was entangled "
                "beforehand."
            ),
            how=(
                "A joint Bell measurement tells which of four simple changes separates Bob's qubit from the original, "
                "and nothing about the amplitudes. Knowing the two bits, Bob undoes this change."
            ),
            example="Without the two bits Bob has each variant with 25%, on average the fully random state I/2.",
            limit=(
                "Matter does not move, each use costs a fresh Bell pair, and a noisy pair spoils the state that "
                "arrives."
            ),
        ),
    ),
    Concept(
        name="superdense_coding",
        asks=[
            "What is superdense coding?",
            "How can one qubit carry two bits? I thought the limit was one.",
            "Superdense coding for a quiz: idea, gates, catch.",
        ],
        idea=[
            "Superdense coding sends two classical bits by handing over one qubit of a shared Bell pair.",
            "With one Bell pair shared beforehand, a single transmitted qubit can carry two classical bits.",
        ],
        how=[
            (
                "Alice applies I, X, Z or both to her half, which makes one of four orthogonal Bell states. Bob gets "
                "her qubit and tells the four apart with CNOT, H and readout."
            ),
            (
                "Alice's local gate picks one of the four Bell states. Bob undoes the preparation, CNOT and then H on "
                "her qubit, and reads the two bits."
            ),
        ],
        examples=[
            "For the bits 10 Alice applies Z, the pair becomes (|00> - |11>)/sqrt(2), and Bob reads 10.",
            "For the bits 01 Alice applies X, the pair becomes (|10> + |01>)/sqrt(2), and Bob reads 01.",
            "A byte of 8 bits takes 4 transmitted qubits, plus 4 Bell pairs shared earlier.",
        ],
        limit=[
            "Two qubits are used in total, and the pair has to be delivered before; nothing is free.",
            "Without the shared pair one qubit carries at most one bit (the Holevo bound), and noise lowers the gain.",
        ],
        see=[
            "Bell states, teleportation, entanglement.",
            "CNOT gate, Bell states, measurement.",
        ],
    ),
]
