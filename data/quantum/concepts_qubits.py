"""Qubits, states, phase and measurement."""

from content import Concept, HeldOut

CONCEPTS = [
    Concept(
        name="qubit",
        asks=[
            "What is a qubit, in simple words?",
            "I write firmware for a living. Define a qubit the way you would for an engineer.",
            "For a test: what is a qubit and how does it differ from a bit?",
        ],
        idea=[
            (
                "A qubit is the smallest unit of quantum information, a two-level system that can be in a blend of 0 "
                "and 1."
            ),
            "A qubit is a unit vector in a two-dimensional complex space, written a|0> + b|1>.",
        ],
        how=[
            (
                "The state is a|0> + b|1> with complex amplitudes a and b and |a|^2 + |b|^2 = 1. Gates change the "
                "amplitudes, and a measurement gives a plain 0 or 1."
            ),
            (
                "Read in the 0/1 basis, it gives 0 with probability |a|^2 and 1 with probability |b|^2. Afterwards it "
                "is in the state that was read."
            ),
        ],
        examples=[
            "With a = b = 1/sqrt(2) the qubit reads 0 half of the time and 1 the other half.",
            "0.6|0> + 0.8i|1> is a valid state because 0.36 + 0.64 = 1, and it reads 1 with probability 0.64.",
            "A bit that is 0 always reads 0, while the qubit (sqrt(3)|0> + |1>)/2 reads 0 in 75% of the runs.",
        ],
        limit=[
            "Its amplitudes are continuous, but reading one qubit yields at most one bit.",
            "The amplitudes cannot be found from a single copy; that takes many qubits prepared the same way.",
        ],
        see=[
            "superposition, measurement, Bloch sphere.",
            "relative phase, entanglement, density matrix.",
        ],
        heldout=HeldOut(
            ask="My daughter is twelve and wants to know what a qubit really is. How would you put it?",
            idea="A qubit is a tiny quantum object that can be in any weighted combination of two basic states.",
            how=(
                "The weights are called amplitudes, and the squared size of each is the chance of that reading. "
                "Amplitudes can be negative and cancel, which chances never do."
            ),
            example=(
                "An electron spin can serve: up is |0>, down is |1>, and a spin pointing sideways reads up or down "
                "with 50% each."
            ),
            limit="A lone qubit computes nothing faster than a bit; the gain comes from many qubits working together.",
        ),
    ),
    Concept(
        name="superposition",
        asks=[
            "Explain superposition to someone who has never studied physics.",
            "what does superposition mean mathematically, and why isn't it just probability?",
            "My exam asks for superposition with an example. What should I write?",
        ],
        idea=[
            "Superposition means that a qubit can be in a combination of |0> and |1> instead of exactly one of them.",
            "Superposition says that any normalised sum of valid quantum states is again a valid state.",
        ],
        how=[
            (
                "Each part carries an amplitude, which may be negative or complex. A later gate lets the parts add up "
                "or cancel, and that is what an algorithm uses."
            ),
            (
                "The state is a|0> + b|1>, and gates act on both parts at once because they are linear. The sign "
                "between the parts is physical, unlike in a random mixture."
            ),
        ],
        examples=[
            "H|0> = (|0> + |1>)/sqrt(2) reads 0 or 1 with 50% each, yet a second H always brings back |0>.",
            "(|0> + |1>)/sqrt(2) and (|0> - |1>)/sqrt(2) both read 50/50, but an H turns them into |0> and |1>.",
            "Two qubits after H on each are in (|00> + |01> + |10> + |11>)/2, so each outcome has probability 1/4.",
        ],
        limit=[
            "It is no list of all answers to read off; one measurement returns a single outcome.",
            "It depends on the basis: |+> is a superposition of |0> and |1>, but a plain basis state in the X basis.",
        ],
        see=[
            "interference, measurement, Hadamard gate.",
            "qubit, relative phase, decoherence.",
        ],
    ),
    Concept(
        name="measurement",
        asks=[
            "What happens when you measure a qubit?",
            "Describe quantum measurement for a software engineer: what are the inputs, outputs and side effects?",
            "In short: what is the Born rule and what does measuring do to the state?",
        ],
        idea=[
            (
                "Measuring a qubit turns its quantum state into an ordinary bit and leaves the qubit in the state "
                "that matches this bit."
            ),
            (
                "A measurement in the 0/1 basis is a random, irreversible step whose odds are the squared amplitudes "
                "(the Born rule)."
            ),
        ],
        how=[
            (
                "For a|0> + b|1> the result is 0 with probability |a|^2 and 1 with probability |b|^2. Measured again "
                "at once, the qubit gives the same result."
            ),
            (
                "The state is projected onto the outcome and normalised again, so the other amplitude is gone. "
                "Another basis is read by applying a gate first, for example H for the X basis."
            ),
        ],
        examples=[
            "(|0> + 2|1>)/sqrt(5) gives 1 in 80% of the runs, and afterwards the state is simply |1>.",
            "|+> read directly gives a random bit, while H followed by readout gives 0 every time.",
            "In (|00> + |11>)/sqrt(2), reading 1 on the first qubit leaves the pair in |11>.",
        ],
        limit=[
            "One result says little about the state; amplitudes need many repeated runs.",
            "It cannot be undone: no gate brings back the superposition that was there before.",
        ],
        see=[
            "superposition, shots, no-cloning theorem.",
            "qubit, state tomography, density matrix.",
        ],
        third={"idea": 1},
        heldout=HeldOut(
            ask="Why does looking at a qubit destroy its superposition? I'd like a careful but short answer.",
            idea=(
                "Reading a qubit asks a question with two answers and leaves the qubit in the state that belongs to "
                "the answer."
            ),
            how=(
                "The readout couples the qubit to a large device, which records the value. With that record the two "
                "branches no longer interfere, so the superposition is gone."
            ),
            example="0.8|0> - 0.6|1> answers 0 in 64% and 1 in 36% of the runs; after a 1 it stays |1>.",
            limit="The theory predicts only the odds, and the sign of an amplitude stays hidden in this basis.",
        ),
    ),
    Concept(
        name="bloch_sphere",
        asks=[
            "Can you describe the Bloch sphere for a beginner?",
            "Give me the Bloch sphere formula and what the angles mean.",
            "How do I picture a single qubit geometrically? Keep it compact.",
        ],
        idea=[
            "The Bloch sphere is a globe on which each point of the surface is one pure state of a qubit.",
            (
                "The Bloch sphere draws the state cos(theta/2)|0> + e^(i phi) sin(theta/2)|1> as a point with polar "
                "angle theta and azimuth phi."
            ),
        ],
        how=[
            (
                "|0> sits at the north pole and |1> at the south pole, and the equator holds the equal "
                "superpositions. Single-qubit gates rotate the globe."
            ),
            (
                "Height z gives the odds in the 0/1 basis, P(0) = (1 + z)/2, and the longitude is the relative phase. "
                "Orthogonal states lie on opposite points."
            ),
        ],
        examples=[
            (
                "|+> lies on the x axis and |-> at the opposite point; a Z gate, half a turn about z, takes one to "
                "the other."
            ),
            "theta = pi/3 gives z = cos(pi/3) = 0.5, so P(0) = 0.75.",
            "(|0> + i|1>)/sqrt(2) has theta = pi/2 and phi = pi/2, the point on the +y axis.",
        ],
        limit=[
            "It shows one qubit only; an entangled pair is not two points on two spheres.",
            "The global phase is not visible, and mixed states lie inside the ball, not on its surface.",
        ],
        see=[
            "qubit, relative phase, rotation gates.",
            "density matrix, measurement, Pauli gates.",
        ],
        heldout=HeldOut(
            ask="Flash card, please: Bloch sphere.",
            idea="The Bloch sphere maps the states of a qubit to a ball of radius one, with pure states on its skin.",
            how=(
                "A state has the coordinates (<X>, <Y>, <Z>), the mean values of the three Pauli operators. A gate "
                "turns this vector, while noise usually makes it shorter."
            ),
            example="|0> is (0, 0, 1), |+> is (1, 0, 0), and the completely random state I/2 is the centre (0, 0, 0).",
            limit="The picture does not grow: two qubits already need 15 real numbers, which no globe can show.",
        ),
    ),
    Concept(
        name="phase",
        asks=[
            "What is the difference between global phase and relative phase?",
            "I don't get why a minus sign in front of |1> matters. Can you explain phase?",
            "Phase in quantum computing, explained for an engineer please.",
        ],
        idea=[
            (
                "A relative phase e^(i phi) in a|0> + e^(i phi) b|1> is physical, while a factor on the whole state "
                "is not."
            ),
            "Phase is the angle of an amplitude, and only the angle between the parts of a state can be observed.",
        ],
        how=[
            (
                "Probabilities use the squared size of an amplitude, so a phase is invisible at first. Gates such as "
                "H mix the parts, and then the phase decides the outcome."
            ),
            (
                "Gates such as Z, S and T change the relative phase by pi, pi/2 and pi/4. A phase common to all parts "
                "drops out of every probability."
            ),
        ],
        examples=[
            "(|0> + |1>)/sqrt(2) and (|0> - |1>)/sqrt(2) differ only in phase, yet an H turns them into |0> and |1>.",
            "-|1> and |1> are the same state, but |0> - |1> and |0> + |1> (each over sqrt(2)) are orthogonal.",
            "For (|0> + e^(i phi)|1>)/sqrt(2), an H and a readout give 0 with probability cos^2(phi/2).",
        ],
        limit=[
            "A direct readout in the 0/1 basis never shows the relative phase; another basis is needed.",
            "Phase is fragile: dephasing noise scrambles it even when |0> and |1> themselves stay intact.",
        ],
        see=[
            "interference, Z gate, Bloch sphere.",
            "phase kickback, T gate, decoherence.",
        ],
        heldout=HeldOut(
            ask="Does multiplying a state by i change anything? Please clear up phases for me.",
            idea=(
                "Multiplying the whole state by i changes nothing measurable, but multiplying only one part by i does."
            ),
            how=(
                "Probabilities are squared sizes of sums of amplitudes, so a shared factor of size one vanishes. A "
                "factor on one part changes how it adds to the rest."
            ),
            example=(
                "i|+> behaves exactly like |+>, while (|0> + i|1>)/sqrt(2) gives 50/50 in the X basis, where |+> is "
                "certain."
            ),
            limit=(
                "A phase is global only for the full system: put behind a control qubit, the same factor becomes a "
                "relative phase."
            ),
        ),
    ),
    Concept(
        name="interference",
        asks=[
            "What role does interference play in a quantum computer?",
            "Explain interference with a tiny circuit, please.",
            "For a student who knows waves: how do amplitudes interfere?",
        ],
        idea=[
            "Interference lets wrong answers cancel and right answers grow, because amplitudes can be negative.",
            (
                "Interference is the adding of amplitudes that lead to the same outcome along different paths, before "
                "any squaring."
            ),
        ],
        how=[
            (
                "Paths to the same result add up like waves: equal signs reinforce, opposite signs cancel. A quantum "
                "algorithm arranges the signs so that good outcomes remain."
            ),
            (
                "The probability is |a1 + a2|^2 and not |a1|^2 + |a2|^2, so the cross term matters. Phases set before "
                "the last gates steer this term."
            ),
        ],
        examples=[
            "In H H |0> the two paths to |1> have amplitudes +1/2 and -1/2 and cancel, so the result is always 0.",
            "H, Z, H on |0> gives |1>: the Z flips one path, and now the two paths to |0> cancel.",
            "With a phase of pi/3 between two H gates, 0 comes out with probability cos^2(pi/6) = 0.75.",
        ],
        limit=[
            "It works only while the paths stay coherent; if the environment learns the path, the cross term is lost.",
            "It gives no speed-up by itself; only problems with the right structure let the wrong answers cancel.",
        ],
        see=[
            "superposition, relative phase, Grover search.",
            "Hadamard gate, decoherence, Deutsch-Jozsa algorithm.",
        ],
    ),
    Concept(
        name="many_qubits",
        asks=[
            "How do you write the state of several qubits?",
            "why does the state space double with each qubit? short explanation for a developer",
            "What is the tensor product doing in quantum computing?",
        ],
        idea=[
            "A register of n qubits is described by 2^n amplitudes, one for each bit string.",
            "The state space of several qubits is the tensor product of the single spaces, so its dimension is 2^n.",
        ],
        how=[
            (
                "Each added qubit doubles the list, because every old bit string can continue with 0 or 1. A gate on "
                "one qubit still acts on all amplitudes."
            ),
            (
                "Independent qubits combine by multiplying their amplitudes, term by term. Most vectors of the large "
                "space are not such products; those are entangled."
            ),
        ],
        examples=[
            "Three qubits need 8 amplitudes, from |000> to |111>, whose squared sizes add up to 1.",
            "A simulator that stores 16 bytes for each amplitude needs 16 GiB for 30 qubits, and twice that for 31.",
            "(|0> + |1>)/sqrt(2) next to |1> is the two-qubit state (|01> + |11>)/sqrt(2).",
        ],
        limit=[
            "The 2^n amplitudes cannot be read out: a measurement of n qubits gives n bits.",
            "A large state space alone is no advantage; some circuits on many qubits are still easy to simulate.",
        ],
        see=[
            "entanglement, qubit, Clifford gates.",
            "measurement, Bell states, quantum advantage.",
        ],
        third={"idea": 1},
    ),
    Concept(
        name="shots",
        asks=[
            "Why are quantum circuits run many times?",
            "How many shots do I need, and how does the error shrink?",
            'Explain "shots" for someone who just started with a quantum SDK.',
        ],
        idea=[
            (
                "A shot is one run of a circuit with a final measurement, and many shots together estimate the "
                "probabilities."
            ),
            (
                "Shots are repeated samples of the same circuit, so every estimated probability carries a statistical "
                "error."
            ),
        ],
        how=[
            (
                "The same circuit is prepared and read again and again, and the results are counted. The share of an "
                "outcome comes close to its true probability."
            ),
            "For probability p and N shots the standard error is sqrt(p(1 - p)/N). Four times as many shots halve it.",
        ],
        examples=[
            "700 zeros and 300 ones in 1000 shots give the mean value <Z> = 0.7 - 0.3 = 0.4.",
            (
                "With p = 0.5 and 10,000 shots the standard error is 0.005, so the estimate is good to about half a "
                "percent."
            ),
            "With p = 0.5, 1000 shots have a standard error of 0.016, and 4000 shots have 0.008.",
        ],
        limit=[
            "More shots reduce only the random error; a bias from noisy gates or a bad readout remains.",
            "Precise mean values get expensive, since ten times the precision costs a hundred times the shots.",
        ],
        see=[
            "measurement, error mitigation, variational quantum eigensolver.",
            "state tomography, measurement, density matrix.",
        ],
    ),
]
