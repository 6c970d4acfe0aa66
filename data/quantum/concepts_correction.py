"""Error correction and fault tolerance."""

from content import Concept, HeldOut

CONCEPTS = [
    Concept(
        name="error_correction",
        asks=[
            "How does quantum error correction work if qubits can't be copied?",
            "Distance, logical qubit, syndrome: define them through one explanation.",
            "Quantum error correction for someone who knows classical parity bits.",
        ],
        idea=[
            (
                "Quantum error correction stores one logical qubit in several physical ones so that errors can be "
                "found and undone."
            ),
            (
                "A code of distance d spreads logical qubits over many physical ones and corrects up to (d - 1)/2 "
                "errors, rounded down."
            ),
        ],
        how=[
            (
                "Parity checks tell where an error is without measuring the stored state. A classical decoder reads "
                "the checks and picks the repair."
            ),
            (
                "Measuring the checks turns small continuous errors into discrete X, Z or Y errors. The results form "
                "the syndrome, from which a decoder finds a likely cause."
            ),
        ],
        examples=[
            (
                "Three qubits with majority vote turn a flip rate of p = 0.01 into a logical rate of 3p^2 - 2p^3, "
                "about 0.0003."
            ),
            "The smallest code that corrects any error on one qubit uses 5 physical qubits, with distance 3.",
            "A code of distance 7 corrects any 3 faulty qubits.",
        ],
        limit=[
            "It helps only if the physical error rate is below a threshold; otherwise the extra gates do harm.",
            "The overhead is large: hundreds or more physical qubits for one good logical qubit.",
        ],
        see=[
            "stabilizers, surface code, threshold theorem.",
            "bit-flip code, no-cloning theorem, error mitigation.",
        ],
        third={"how": 0},
    ),
    Concept(
        name="bit_flip_code",
        asks=[
            "Explain the three-qubit bit-flip code.",
            "Bit-flip code: code words, checks and logical error rate.",
            "What is the simplest quantum error-correcting code and why is it not enough?",
        ],
        idea=[
            "The bit-flip code protects one qubit against a single X error by spreading it over three qubits.",
            "The bit-flip code maps a|0> + b|1> to a|000> + b|111> and measures the parities Z1 Z2 and Z2 Z3.",
        ],
        how=[
            (
                "Two CNOTs from the data qubit to two fresh qubits make the code. Two parity checks point to the "
                "flipped qubit, and an X repairs it."
            ),
            (
                "The checks compare neighbours and reveal nothing about a and b. One flip gives a unique pattern, and "
                "two or more flips are repaired wrongly."
            ),
        ],
        examples=[
            "If the middle qubit flips, both checks give -1; a flip of the first changes only Z1 Z2.",
            "With p = 0.1 for each qubit, the logical error is 3p^2 - 2p^3 = 0.028.",
            "X on the third qubit takes a|000> + b|111> to a|001> + b|110>: Z1 Z2 gives +1 and Z2 Z3 gives -1.",
        ],
        limit=[
            "It does not see phase errors: one Z on any qubit turns a|000> + b|111> into a|000> - b|111>.",
            "Two flips at once fool the majority vote and cause a logical error.",
        ],
        see=[
            "Shor code, stabilizers, error correction.",
            "CNOT gate, X gate, surface code.",
        ],
        third={"limit": 0},
        heldout=HeldOut(
            ask="How can I detect a flipped qubit without looking at the data it carries?",
            idea="The bit-flip code asks only whether neighbouring qubits are equal, never which value they have.",
            how=(
                "In a|000> + b|111> neighbours agree in both terms. A helper qubit collects the parity of two "
                "neighbours by CNOTs and is read; a and b stay untouched."
            ),
            example=(
                "With a flip rate of 0.05 per qubit, two or three flips occur with probability 0.00725, seven times "
                "rarer."
            ),
            limit=(
                "A phase error passes unseen, and three qubits catch one about three times as often as a single qubit."
            ),
        ),
    ),
    Concept(
        name="shor_code",
        asks=[
            "What is the Shor code?",
            "Nine-qubit code: logical states and checks, please.",
            "How can one code fix both bit and phase errors? Use the nine-qubit example.",
        ],
        idea=[
            "The Shor code uses nine qubits to protect one qubit against any error on a single qubit.",
            "The Shor code nests the three-qubit bit-flip code inside the three-qubit phase-flip code.",
        ],
        how=[
            (
                "Three blocks of three qubits each guard against bit flips. Comparing the signs of the blocks guards "
                "against phase flips."
            ),
            (
                "|0_L> is (|000> + |111>) in each of three blocks, over 2 sqrt(2), and |1_L> has minus signs. Six ZZ "
                "checks and two checks of six X each find the error."
            ),
        ],
        examples=[
            "X on qubit 1 gives -1 for Z1 Z2 and leaves the other checks at +1.",
            "Z on qubit 4 flips the sign inside the second block, and both checks of six X give -1.",
            "Y on qubit 5 is i X Z, so both kinds of checks respond and both repairs are made.",
        ],
        limit=[
            "Two errors in the wrong places, such as X on qubits 1 and 2, defeat it.",
            "It is sure to correct only one error on nine qubits, and its checks of six X need large circuits.",
        ],
        see=[
            "bit-flip code, stabilizers, error correction.",
            "Y gate, surface code, relative phase.",
        ],
        third={"how": 0},
    ),
    Concept(
        name="surface_code",
        asks=[
            "What is the surface code and why is it popular?",
            "How many qubits does a surface code of distance d take?",
            "Surface code overview for a chip designer.",
        ],
        idea=[
            (
                "The surface code stores a logical qubit in a flat grid of qubits and needs only checks between "
                "neighbours."
            ),
            "The rotated surface code of distance d uses d^2 data qubits and d^2 - 1 check qubits.",
        ],
        how=[
            (
                "X checks and Z checks on small groups of up to four qubits are measured again and again. A decoder "
                "matches the changed checks to find the likely errors."
            ),
            (
                "A logical error needs a chain of errors across the grid, at least (d + 1)/2 of them to fool the "
                "decoder. Below threshold, a larger d makes this exponentially rarer."
            ),
        ],
        examples=[
            "By the rule of thumb 0.1 (p/0.01)^((d+1)/2), p = 0.001 and d = 11 give about 10^-7 per round.",
            "Distance 3 takes 9 + 8 = 17 qubits, and distance 5 takes 25 + 24 = 49.",
            "Distance 7 needs 97 qubits and corrects any 3 faulty data qubits.",
        ],
        limit=[
            "The overhead is high, about a thousand physical qubits for one very good logical qubit.",
            "T gates are not available directly and need magic states.",
        ],
        see=[
            "stabilizers, threshold theorem, magic states.",
            "superconducting qubits, error correction, Shor code.",
        ],
        heldout=HeldOut(
            ask=(
                "Our chip only couples nearest neighbours. Which error-correcting code suits it, and how does that "
                "code work?"
            ),
            idea=(
                "The surface code suits such a chip, because its parity checks involve only four adjacent qubits, or "
                "two at the edge."
            ),
            how=(
                "Data and check qubits alternate on the grid. Each round, every check qubit reads the X or Z parity "
                "of its neighbours, and changes between rounds mark the ends of error chains."
            ),
            example="Distance 9 takes 81 data and 80 check qubits and repairs any 4 faulty data qubits.",
            limit="It pays off only if physical errors stay below roughly 1% and the decoder keeps pace.",
        ),
    ),
    Concept(
        name="stabilizers",
        asks=[
            "What is a stabilizer?",
            "Stabilizer formalism in short, with generators for known states.",
            "How do stabilizers reveal an error without reading the data?",
        ],
        idea=[
            "A stabilizer is a Pauli operator that leaves a given state unchanged.",
            (
                "The stabilizer formalism describes a state or code by commuting Pauli operators with eigenvalue +1 "
                "instead of by amplitudes."
            ),
        ],
        how=[
            (
                "In a code, all valid states have +1 for every stabilizer. An error that anticommutes with one of "
                "them flips its sign to -1, and this is measured."
            ),
            (
                "A code of n physical and k logical qubits has n - k independent generators. Measuring them gives the "
                "syndrome but no information about the logical state."
            ),
        ],
        examples=[
            "The bit-flip code has the generators ZZI and IZZ, so 3 - 2 = 1 logical qubit.",
            "The Bell state (|00> + |11>)/sqrt(2) is fixed by XX and ZZ.",
            "|0> is stabilized by Z and |+> by X; an X error turns the value of Z on |0> into -1.",
        ],
        limit=[
            "Only special states have such a description; T|+>, for example, has no Pauli stabilizer besides I.",
            "Errors that commute with all generators stay unseen and may change the logical state.",
        ],
        see=[
            "Clifford gates, surface code, error correction.",
            "bit-flip code, Bell states, magic states.",
        ],
        third={"how": 0},
    ),
    Concept(
        name="threshold_theorem",
        asks=[
            "What does the threshold theorem say?",
            "Threshold theorem with a worked estimate for concatenated codes.",
            "Why does a lower physical error rate matter so much below threshold?",
        ],
        idea=[
            (
                "The threshold theorem says that arbitrarily long quantum computations are possible if the error per "
                "step is below a certain value."
            ),
            "Below the threshold p_th, larger codes push the logical error down as far as needed at modest extra cost.",
        ],
        how=[
            (
                "Each level of error correction removes more errors than its own gates add, but only if these gates "
                "are good enough. Above the threshold, more qubits make things worse."
            ),
            (
                "For a concatenated code the logical error after k levels is about p_th (p/p_th)^(2^k). The cost "
                "grows only with a power of the logarithm of the wanted precision."
            ),
        ],
        examples=[
            "With p = 0.001 and p_th = 0.01, three levels give about 0.01 * 0.1^8 = 10^-10.",
            "With p = 0.001 and p_th = 0.01, one level gives about 10^-4 and two levels 10^-6.",
            (
                "By the surface-code rule 0.1 (p/0.01)^((d+1)/2) with d = 11, p = 0.005 gives 0.0016, but p = 0.001 "
                "gives 10^-7."
            ),
        ],
        limit=[
            "It assumes noise that is mostly local and not correlated across the machine.",
            "It promises scaling, not a cheap machine: the constant factors are large.",
        ],
        see=[
            "error correction, surface code, fidelity.",
            "noise channels, magic states, NISQ.",
        ],
    ),
    Concept(
        name="magic_states",
        asks=[
            "What are magic states?",
            "How does a magic state implement a T gate?",
            "Magic state distillation: why, how, at what price?",
        ],
        idea=[
            (
                "Magic states are specially prepared qubits that supply the non-Clifford gates which a code cannot do "
                "directly."
            ),
            "The magic state (|0> + e^(i pi/4)|1>)/sqrt(2) turns into a T gate by Clifford gates and a measurement.",
        ],
        how=[
            (
                "Error-corrected Clifford gates are easy, but they are not universal. Noisy magic states are "
                "distilled to clean ones and used up, one for each T gate."
            ),
            (
                "A CNOT from the data to the magic qubit and a readout of the magic qubit give T on the data. If the "
                "result is 1, an S gate repairs it."
            ),
        ],
        examples=[
            "Two rounds of 15-to-1 use 225 raw states for one very clean state.",
            "A Toffoli gate in its standard form consumes 7 magic states, one for each T gate.",
            "In 15-to-1 distillation an error of 0.001 becomes about 35 * 0.001^3 = 3.5 * 10^-8.",
        ],
        limit=[
            "Each state works only once, so long programs need factories that make them all the time.",
            "Distillation fails if the raw states are too noisy, and it costs many qubits and much time.",
        ],
        see=[
            "T gate, surface code, Clifford gates.",
            "universal gate set, stabilizers, Toffoli gate.",
        ],
        third={"how": 0, "limit": 1},
    ),
]
