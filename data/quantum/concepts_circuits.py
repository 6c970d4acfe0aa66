"""Gates on several qubits, gate sets and circuits."""

from content import Concept, HeldOut

CONCEPTS = [
    Concept(
        name="cnot_gate",
        asks=[
            "What does CNOT do?",
            "CNOT for an engineer: truth table, identities, gotchas.",
            "How does a CNOT create entanglement? One short example please.",
        ],
        idea=[
            "CNOT flips the target qubit if the control qubit is |1>.",
            "CNOT maps |c, t> to |c, t XOR c>, the reversible form of XOR.",
        ],
        how=[
            (
                "It acts on every term of a superposition separately, so a control in superposition links both "
                "qubits. Applied twice it does nothing."
            ),
            (
                "It swaps |10> and |11> and keeps |00> and |01>. Bit flips spread from control to target, and phase "
                "flips spread from target to control."
            ),
        ],
        examples=[
            "With the control in (|0> + |1>)/sqrt(2) and the target in |0>, it makes (|00> + |11>)/sqrt(2).",
            "Three CNOTs with alternating direction, control 0, then 1, then 0, make a SWAP.",
            "H on the control of |00> and then CNOT gives the Bell state that reads 00 or 11 with 50% each.",
        ],
        limit=[
            "It copies basis states only; an unknown superposition gets entangled instead of copied.",
            "On hardware it is usually several times noisier than a single-qubit gate and limited to connected qubits.",
        ],
        see=[
            "Bell states, CZ gate, Toffoli gate.",
            "entanglement, SWAP gate, phase kickback.",
        ],
        third={"how": 0},
        heldout=HeldOut(
            ask="Does a CNOT ever change its control qubit?",
            idea="CNOT leaves a control of |0> or |1> as it is, but in other bases the control can change as well.",
            how=(
                "On basis states only the target is flipped. If the target is |->, the flip gives a minus sign, and "
                "this sign ends up on the |1> part of the control."
            ),
            example="|+>|-> becomes |->|->: the target stays the same while the control turns from |+> to |->.",
            limit="Which qubit acts on which depends on the basis, so a drawing does not show how errors spread.",
        ),
    ),
    Concept(
        name="cz_gate",
        asks=[
            "What is a CZ gate, and why does it not matter which qubit is the control?",
            "How do I get a CNOT out of a CZ? Lab engineer asking.",
            "CZ gate, explained for a lab course.",
        ],
        idea=[
            "CZ flips the sign of |11> and leaves the other three basis states alone.",
            "CZ is the diagonal matrix diag(1, 1, 1, -1), a Z on one qubit controlled by the other.",
        ],
        how=[
            (
                "Only the state with both qubits in |1> gets a minus sign, so it does not matter which of them is "
                "called the control. It commutes with all diagonal gates and is its own inverse."
            ),
            (
                "An H before and after it on one of the qubits makes it a CNOT. An X on one qubit before the gate "
                "becomes that X and a Z on the partner after it."
            ),
        ],
        examples=[
            "On |+>|+> it gives (|0>|+> + |1>|->)/sqrt(2), which is fully entangled.",
            "H on the target, CZ, H on the target maps |10> to |11>, exactly like CNOT.",
            "On |1>|+> it gives |1>|->, while |0>|+> stays as it is.",
        ],
        limit=[
            "On a single basis state it changes only a global sign, so nothing can be seen directly.",
            "Without gates such as H around it no outcome in the 0/1 basis changes.",
        ],
        see=[
            "CNOT gate, Z gate, entanglement.",
            "neutral atoms, CNOT gate, relative phase.",
        ],
    ),
    Concept(
        name="swap_gate",
        asks=[
            "What is the SWAP gate used for?",
            "How much does a SWAP cost in CNOTs, and when do I need it?",
            "Explain SWAP simply, with an example.",
        ],
        idea=[
            "SWAP exchanges the states of two qubits.",
            "SWAP maps |a, b> to |b, a> and is mainly used to bring distant qubits next to each other.",
        ],
        how=[
            (
                "|01> becomes |10> and the reverse, while |00> and |11> stay. Unknown states are moved, not copied, "
                "so no rule is broken."
            ),
            (
                "It is built from three CNOTs in alternating direction. On chips where only neighbours interact, the "
                "compiler inserts SWAPs to route two-qubit gates."
            ),
        ],
        examples=[
            "SWAP takes |+>|1> to |1>|+>, so the superposition moves to the second qubit.",
            "On a line of four qubits, linking qubit 0 with qubit 3 needs 2 SWAPs, that is 6 CNOTs.",
            "On (|01> - |10>)/sqrt(2) it gives the same state times -1, while the other three Bell states stay.",
        ],
        limit=[
            "It cannot entangle qubits that were in a product state.",
            "Three extra two-qubit gates add noise, so good layouts avoid it.",
        ],
        see=[
            "CNOT gate, transpilation, circuit depth.",
            "Bell states, trapped ions, entanglement.",
        ],
    ),
    Concept(
        name="toffoli_gate",
        asks=[
            "What is the Toffoli gate?",
            "How do I compute AND on a quantum computer?",
            "Toffoli gate with cost figures for a compiler engineer.",
        ],
        idea=[
            "The Toffoli gate flips its target only if both control qubits are |1>.",
            "Toffoli maps |a, b, c> to |a, b, c XOR (a AND b)>, the reversible form of AND.",
        ],
        how=[
            (
                "With a target of |0> it writes the AND of the controls, and with a target of |1> the NAND. Classical "
                "logic can therefore run on qubits."
            ),
            (
                "It only permutes basis states, swapping |110> and |111>, and is its own inverse. The standard "
                "circuit has 6 CNOTs, 7 T gates or inverses, and 2 H gates."
            ),
        ],
        examples=[
            "|110> becomes |111>, while |100> and |010> stay the same.",
            "On |1>|1>|0> the target becomes 1 AND 1 = 1; on |1>|0>|0> it stays 0.",
            "An adder with 100 Toffoli gates costs about 700 T gates in the standard form.",
        ],
        limit=[
            "It is not native on most hardware and must be broken down into one- and two-qubit gates.",
            "Alone it only shuffles bit strings; together with H it becomes universal.",
        ],
        see=[
            "CNOT gate, T gate, universal gate set.",
            "magic states, Grover search, transpilation.",
        ],
        third={"how": 1, "limit": 0},
        heldout=HeldOut(
            ask="Can a quantum computer run ordinary logic circuits? I heard the CCX gate matters here.",
            idea="Yes, because the CCX or Toffoli gate can build every classical logic function in a reversible way.",
            how=(
                "It keeps both inputs and adds their AND to a third bit, so no information is lost. With spare qubits "
                "set to 0 or 1 it yields AND, NOT and copying of bits."
            ),
            example=(
                "A half adder takes two gates: Toffoli writes the carry a AND b, then CNOT turns b into the sum a XOR "
                "b."
            ),
            limit="Intermediate values need extra qubits, which must be uncomputed or they spoil interference.",
        ),
    ),
    Concept(
        name="universal_gate_set",
        asks=[
            "What does it mean that a gate set is universal?",
            "Universal gate sets, engineer level: what does it cost to approximate a gate?",
            "Universal gate sets for the oral exam: definition, example, catch.",
        ],
        idea=[
            "A gate set is universal if its gates can build any quantum operation to any wanted precision.",
            "Universality means that products of the gates come arbitrarily close to every unitary on n qubits.",
        ],
        how=[
            (
                "All single-qubit gates together with CNOT are enough, and so is the finite set H, T and CNOT. The "
                "finite set only approximates, but it does so quickly."
            ),
            (
                "The Solovay-Kitaev theorem says that precision eps costs a number of gates that grows like a power "
                "of log(1/eps). So a finite set loses little."
            ),
        ],
        examples=[
            "{H, T, CNOT} is universal, while {H, S, CNOT} is not.",
            "An RZ gate to precision 10^-10 takes about 3 log2(10^10) = 100 T gates with good methods.",
            "Any two-qubit gate can be built from at most 3 CNOTs and some single-qubit gates.",
        ],
        limit=[
            "Universal does not mean efficient: most unitaries on n qubits need exponentially many gates.",
            "It says nothing about noise; each added gate also adds errors on real hardware.",
        ],
        see=[
            "T gate, CNOT gate, Clifford gates.",
            "rotation gates, transpilation, Toffoli gate.",
        ],
    ),
    Concept(
        name="clifford_gates",
        asks=[
            "What are Clifford gates?",
            "Gottesman-Knill theorem, the short version for a developer.",
            "Why can a laptop simulate some circuits with a thousand qubits?",
        ],
        idea=[
            (
                "Clifford gates are the circuits built from H, S and CNOT, which turn every Pauli operator into a "
                "Pauli operator."
            ),
            (
                "The Gottesman-Knill theorem says that Clifford circuits on basis states with Pauli measurements can "
                "be simulated efficiently."
            ),
        ],
        how=[
            (
                "Instead of 2^n amplitudes one tracks n Pauli operators that leave the state unchanged. Each gate "
                "updates this small table."
            ),
            (
                "H swaps X and Z, S takes X to Y, and CNOT spreads X forward and Z backward. A simulator only has to "
                "follow these rules."
            ),
        ],
        examples=[
            "H turns the rule Z|0> = |0> into X|+> = |+>: one table row changes, no amplitudes are needed.",
            "The single-qubit Clifford group has 24 elements, not counting global phases.",
            "An entangled state of 1000 qubits, H and then 999 CNOTs, fits into a table of about 4 million bits.",
        ],
        limit=[
            "They are not universal; a gate such as T has to be added.",
            "Each added T gate makes the simulation harder, so the trick fails for circuits with many of them.",
        ],
        see=[
            "stabilizers, T gate, randomized benchmarking.",
            "universal gate set, magic states, S gate.",
        ],
        third={"how": 0, "idea": 1},
    ),
    Concept(
        name="circuit_depth",
        asks=[
            "What is the depth of a quantum circuit?",
            "Depth versus gate count: which one should I optimise?",
            "Explain circuit depth with a small count I can follow.",
        ],
        idea=[
            "The depth of a circuit is the number of layers in which all gates of a layer run at the same time.",
            "Circuit depth is the length of the longest chain of gates that have to wait for each other.",
        ],
        how=[
            (
                "Gates on different qubits can share a layer, while gates on the same qubit have to queue. Depth "
                "times gate time gives the run time."
            ),
            (
                "The run time must stay well below the coherence time, so depth limits what noisy hardware can do. "
                "Gate count tells how many chances for an error there are."
            ),
        ],
        examples=[
            "Linking 8 qubits to one entangled state takes H and 7 CNOTs: depth 8 as a chain, depth 4 as a tree.",
            "1000 layers of 50 ns take 50 us; with T2 = 100 us a coherence falls to e^-0.5 = 0.61.",
            "H on qubit 0, H on qubit 1, then CNOT: three gates, but depth 2.",
        ],
        limit=[
            "It ignores that two-qubit gates are slower and noisier than single-qubit gates.",
            "The depth before compiling can mislead, since routing on the chip adds SWAPs.",
        ],
        see=[
            "decoherence, transpilation, NISQ.",
            "quantum volume, SWAP gate, CNOT gate.",
        ],
        heldout=HeldOut(
            ask="My SDK reports depth 3 for a circuit with four gates. What does this number tell me?",
            idea=(
                "Depth counts the time steps of a circuit if everything that can run in parallel does run in parallel."
            ),
            how=(
                "Draw each gate as far to the left as its qubits allow; the number of columns is the depth. A long "
                "circuit leaves more time for decoherence."
            ),
            example="X on q0, CNOT q0-q1, CNOT q1-q2 must follow each other, while Z on q3 runs alongside: depth 3.",
            limit=(
                "It is no measure of quality by itself, because a shallow circuit on 100 qubits can still hold "
                "hundreds of noisy gates."
            ),
        ),
    ),
    Concept(
        name="phase_kickback",
        asks=[
            "What is phase kickback?",
            "How can the control qubit change when the gate acts on the target?",
            "Phase kickback: please show the calculation on one line or two.",
        ],
        idea=[
            "Phase kickback moves the phase that a gate gives to its target onto the control qubit.",
            "If U|u> = e^(i phi)|u>, a controlled U puts the phase e^(i phi) on the |1> part of the control.",
        ],
        how=[
            (
                "The target is in an eigenstate, so the gate only multiplies it by a phase. This factor occurs only "
                "where the control is |1>, so it becomes a relative phase of the control."
            ),
            (
                "(|0> + |1>)|u>/sqrt(2) becomes (|0> + e^(i phi)|1>)|u>/sqrt(2). The target is unchanged, and an H on "
                "the control makes the phase readable."
            ),
        ],
        examples=[
            "CNOT with the target in |-> takes a control of |+> to |->, because X|-> = -|->.",
            "Controlled S with the target in |1> takes a control of |+> to (|0> + i|1>)/sqrt(2).",
            "An oracle that adds f(x) to a target in |-> gives each |x> the sign (-1)^f(x).",
        ],
        limit=[
            "It needs an eigenstate as target; otherwise control and target get entangled.",
            "If the control is simply |1>, the phase is global and cannot be seen.",
        ],
        see=[
            "relative phase, phase estimation, Bernstein-Vazirani algorithm.",
            "Deutsch-Jozsa algorithm, CNOT gate, Grover search.",
        ],
        third={"how": 1},
    ),
]
