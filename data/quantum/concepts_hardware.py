"""Hardware, compiling, cryptography and advantage."""

from content import Concept, HeldOut

CONCEPTS = [
    Concept(
        name="transpilation",
        asks=[
            "What does transpilation do to my circuit?",
            "Layout, routing, basis gates: summarise a quantum transpiler.",
            "My circuit got longer after compiling. Why?",
        ],
        idea=[
            "Transpilation rewrites a circuit into the gates and connections that a given quantum computer really has.",
            (
                "A quantum transpiler maps qubits to hardware, inserts SWAPs, translates gates to the native set and "
                "optimises the result."
            ),
        ],
        how=[
            (
                "It chooses a physical qubit for each logical one and adds SWAPs where two qubits are not linked. "
                "Then it uses native gates and cancels what it can."
            ),
            (
                "Two-qubit gates are the noisiest, so their number is the main cost. Good layouts use well calibrated "
                "qubits and few SWAPs."
            ),
        ],
        examples=[
            "A native CZ gives a CNOT as H on the target, CZ, H on the target.",
            "With RZ and sqrt(X) as native gates, H becomes RZ(pi/2), sqrt(X), RZ(pi/2), up to a global phase.",
            "On a line 0-1-2 a CNOT from 0 to 2 may become one SWAP and one CNOT, that is 4 CNOTs.",
        ],
        limit=[
            "Finding the best layout is NP-hard, so compilers use heuristics and may miss better circuits.",
            "It reduces errors but does not remove noise, and it cannot change what the algorithm needs.",
        ],
        see=[
            "SWAP gate, circuit depth, universal gate set.",
            "superconducting qubits, CNOT gate, quantum volume.",
        ],
        third={"how": 0},
    ),
    Concept(
        name="trapped_ions",
        asks=[
            "How do trapped-ion quantum computers work?",
            "Trapped ions versus superconducting chips: strengths and weaknesses of the ions.",
            "What physically is the qubit in an ion trap?",
        ],
        idea=[
            "A trapped-ion computer uses single charged atoms, held by electric fields in vacuum, as qubits.",
            (
                "In trapped-ion machines two internal levels of each ion form the qubit, and shared vibrations couple "
                "the ions."
            ),
        ],
        how=[
            (
                "Lasers or microwaves drive the gates and cool the motion. A two-qubit gate uses the common vibration "
                "of the chain, and readout makes one of the two states glow."
            ),
            (
                "All ions of a kind are identical and keep their phase for a long time. In one chain any pair can be "
                "coupled directly, so few SWAPs are needed."
            ),
        ],
        examples=[
            "In a chain of 20 ions there are 190 pairs, and each of them can share a two-qubit gate.",
            "With T2 = 1 s and gates of 100 us, 10,000 gates fit into one coherence time.",
            "Ytterbium-171 ions use two hyperfine levels that are 12.6 GHz apart.",
        ],
        limit=[
            "Long chains are hard to control, so large machines must move ions around or link several traps.",
            "Gates take many microseconds, far longer than on superconducting chips.",
        ],
        see=[
            "superconducting qubits, neutral atoms, decoherence.",
            "SWAP gate, fidelity, photonic qubits.",
        ],
        third={"idea": 1},
    ),
    Concept(
        name="superconducting_qubits",
        asks=[
            "What is a superconducting qubit?",
            "Transmon basics for an electrical engineer.",
            "Why do superconducting quantum chips need such cold refrigerators?",
        ],
        idea=[
            (
                "A superconducting qubit is a tiny electric circuit without resistance whose two lowest energy levels "
                "serve as |0> and |1>."
            ),
            "A transmon is a nonlinear LC circuit in which a Josephson junction makes the level spacings unequal.",
        ],
        how=[
            (
                "Microwave pulses of fitting frequency drive the gates, and a coupled resonator reads the state. The "
                "chip sits near 10 to 20 mK, so that heat does not excite it."
            ),
            (
                "Unequal spacings let a pulse address 0 to 1 without driving 1 to 2. Neighbouring circuits are "
                "coupled on the chip for two-qubit gates."
            ),
        ],
        examples=[
            "With T2 = 100 us and gates of 50 ns, about 2000 gates fit into one coherence time.",
            "If 0 to 1 lies at 5.0 GHz and 1 to 2 at 4.8 GHz, a pulse of 5.0 GHz drives mainly the qubit transition.",
            "At 5 GHz the photon energy corresponds to 0.24 K, far above the 0.02 K of the refrigerator.",
        ],
        limit=[
            "Coherence is short, typically tens to hundreds of microseconds.",
            "Each circuit differs a little, needs calibration, and usually talks only to its neighbours.",
        ],
        see=[
            "decoherence, trapped ions, transpilation.",
            "surface code, noise channels, quantum annealing.",
        ],
        third={"how": 0},
        heldout=HeldOut(
            ask="How can a circuit on a chip behave like an atom? I design analog circuits.",
            idea=(
                "Cooled until it superconducts, a small oscillator circuit has discrete energy levels, two of which "
                "form a qubit."
            ),
            how=(
                "A plain LC circuit would have equal steps and could not be limited to two levels. The Josephson "
                "junction acts as a nonlinear inductor and shifts the upper levels."
            ),
            example="With T1 = 200 us and gates of 40 ns, up to 5000 gates in a row fit into one lifetime.",
            limit="Each qubit needs its own control lines into the refrigerator, which is hard for thousands.",
        ),
    ),
    Concept(
        name="photonic_qubits",
        asks=[
            "How do photons serve as qubits?",
            "Photonic quantum computing: main gates and main problem.",
            "What is the Hong-Ou-Mandel effect good for in photonic computing?",
        ],
        idea=[
            "A photonic qubit is a single particle of light whose path or polarisation encodes 0 and 1.",
            "Photonic computers process photons with beam splitters, phase shifters and detectors.",
        ],
        how=[
            (
                "Mirrors, beam splitters and wave plates make single-qubit gates easy. Two-qubit gates are hard "
                "because photons hardly interact, so they rely on interference, extra photons and measurement."
            ),
            (
                "Photons keep their quantum state well at room temperature and travel far. Many designs build large "
                "entangled states first and then compute by measuring them."
            ),
        ],
        examples=[
            "A fibre with 0.2 dB/km loses 10 dB over 50 km, so 10% of the photons arrive.",
            "A half-wave plate at 22.5 degrees acts as an H gate on the polarisation.",
            (
                "Two identical photons that enter a 50:50 beam splitter from different sides always leave together "
                "(Hong-Ou-Mandel)."
            ),
        ],
        limit=[
            (
                "Two-qubit gates with plain optics succeed only with some probability and must be repeated or "
                "prepared in advance."
            ),
            "Photon loss is the main error, and it grows with every component.",
        ],
        see=[
            "BB84, Bell states, trapped ions.",
            "teleportation, Hadamard gate, neutral atoms.",
        ],
        third={"how": 0, "limit": 0},
    ),
    Concept(
        name="neutral_atoms",
        asks=[
            "What are neutral-atom quantum computers?",
            "Rydberg blockade, explained for a control engineer.",
            "Neutral atoms as qubits: how do they interact if they carry no charge?",
        ],
        idea=[
            (
                "Neutral-atom computers hold single atoms in focused laser beams and use two internal levels of each "
                "as a qubit."
            ),
            (
                "In neutral-atom machines highly excited Rydberg states switch on a strong interaction between nearby "
                "atoms."
            ),
        ],
        how=[
            (
                "Optical tweezers arrange the atoms in a grid and can move them to change the connections. Atoms "
                "excited to Rydberg states interact strongly, which gives two-qubit gates."
            ),
            (
                "An atom in a Rydberg state shifts the levels of its neighbours and blocks their excitation, which "
                "allows a CZ gate. The van der Waals shift falls like 1/r^6 with the distance."
            ),
        ],
        examples=[
            "A grid of 32 by 32 atoms at 5 um spacing holds 1024 qubits in a square with sides of 0.155 mm.",
            (
                "Two atoms within the blockade radius share a single excitation and oscillate sqrt(2) = 1.41 times "
                "faster than one atom."
            ),
            "At twice the distance the van der Waals interaction is 64 times weaker.",
        ],
        limit=[
            "Atoms can be lost from the traps and must be replaced, and readout takes milliseconds.",
            "Cycle times are slow compared with superconducting chips, and moving the atoms takes time as well.",
        ],
        see=[
            "trapped ions, CZ gate, superconducting qubits.",
            "decoherence, surface code, photonic qubits.",
        ],
        third={"idea": 1, "how": 1},
    ),
    Concept(
        name="bb84",
        asks=[
            "How does BB84 key distribution work?",
            "BB84: why does an eavesdropper cause a 25% error rate?",
            "Explain quantum key distribution to a network admin.",
        ],
        idea=[
            (
                "BB84 lets two parties agree on a secret key and notice an eavesdropper by sending single qubits in "
                "random bases."
            ),
            "BB84 encodes random bits in the Z or X basis, so that reading in the wrong basis disturbs them.",
        ],
        how=[
            (
                "Alice sends |0>, |1>, |+> or |->, and Bob measures in a random basis. They compare the bases in "
                "public, keep the matching cases and test a sample for errors."
            ),
            (
                "Whoever measures in the wrong basis gets a random bit and passes on a changed qubit. Sample errors "
                "reveal this, and privacy amplification removes what may have leaked."
            ),
        ],
        examples=[
            "Of 1000 received qubits about 500 have matching bases and form the raw key.",
            (
                "If Eve measures every qubit in a random basis, she errs in half of the cases and causes 1/2 * 1/2 = "
                "25% errors."
            ),
            (
                "If Eve measures all qubits, comparing 50 key bits misses her with probability 0.75^50, less than one "
                "in a million."
            ),
        ],
        limit=[
            "It needs an authenticated classical channel, otherwise someone can sit in the middle.",
            "Loss in the fibre limits the distance, and faulty devices can open side channels.",
        ],
        see=[
            "no-cloning theorem, measurement, photonic qubits.",
            "post-quantum cryptography, CHSH inequality, superposition.",
        ],
        third={"limit": 0},
        heldout=HeldOut(
            ask="Why can't a spy just copy the photons in quantum key distribution and read them later?",
            idea="The photons carry bits in two incompatible bases, and an unknown quantum state cannot be copied.",
            how=(
                "A spy must measure without knowing the basis, which changes about half of the states she handles. "
                "Alice and Bob see this as errors when they compare some bits afterwards."
            ),
            example="If a spy measures only half of the photons, 12.5% of the compared bits are wrong instead of 25%.",
            limit=(
                "It delivers keys only, not encryption or identity, and above about 11% errors the basic protocol has "
                "to abort."
            ),
        ),
    ),
    Concept(
        name="post_quantum_cryptography",
        asks=[
            "What is post-quantum cryptography?",
            "Which algorithms replace RSA, and do I need a quantum computer for them?",
            "Post-quantum crypto for a backend developer, with sizes.",
        ],
        idea=[
            (
                "Post-quantum cryptography consists of classical methods that are believed to resist attacks by "
                "quantum computers."
            ),
            (
                "Post-quantum schemes run on ordinary computers and replace RSA and elliptic curves, which Shor's "
                "algorithm would break."
            ),
        ],
        how=[
            (
                "It needs no quantum hardware and rests on lattice problems, hash functions or codes. No fast quantum "
                "algorithm against them is known."
            ),
            (
                "NIST published ML-KEM for keys and ML-DSA and SLH-DSA for signatures in 2024. Symmetric ciphers need "
                "only longer keys, since Grover's gain is quadratic."
            ),
        ],
        examples=[
            "Against Grover search a 256-bit AES key still gives about 128 bits of security.",
            "ML-KEM-768 has a public key of 1184 bytes, compared with 32 bytes for X25519.",
            "An ML-DSA-65 signature takes 3309 bytes, an Ed25519 signature 64 bytes.",
        ],
        limit=[
            "Security is not proven: the candidate SIKE fell to an ordinary computer in 2022.",
            (
                "It does not protect data that was recorded earlier under RSA, so the change is urgent for long-lived "
                "secrets."
            ),
        ],
        see=[
            "Shor algorithm, Grover search, BB84.",
            "quantum advantage, BB84, quantum Fourier transform.",
        ],
    ),
    Concept(
        name="quantum_advantage",
        asks=[
            "What is quantum advantage?",
            "Has quantum advantage been shown? Facts, please.",
            "Quadratic speed-up and slow gates: when does a quantum computer win?",
        ],
        idea=[
            (
                "Quantum advantage means that a quantum computer solves a task clearly better than any known "
                "classical method."
            ),
            (
                "An advantage is proven for some black-box problems and claimed for sampling, but rarely shown for "
                "useful tasks."
            ),
        ],
        how=[
            (
                "Strong candidates are factoring, simulating quantum systems and sampling from random circuits. Each "
                "exploits interference in a space of 2^n amplitudes."
            ),
            (
                "Slow gates and error correction eat up small gains, so quadratic speed-ups pay off late. Exponential "
                "speed-ups are far more promising."
            ),
        ],
        examples=[
            "53 qubits have 2^53, about 9 * 10^15, amplitudes, too many for the memory of a normal computer.",
            (
                "Google's 2019 sampling run took 200 seconds against a claimed 10,000 years, but better classical "
                "methods later closed the gap."
            ),
            "If a quantum step takes 10 us and a classical one 1 ns, sqrt(N) steps beat N steps only above N = 10^8.",
        ],
        limit=[
            "Most everyday tasks, such as databases or office work, gain nothing from quantum hardware.",
            "A better classical algorithm can take a claimed advantage away again.",
        ],
        see=[
            "Shor algorithm, Grover search, NISQ.",
            "Simon algorithm, post-quantum cryptography, quantum volume.",
        ],
        third={"how": 1},
    ),
]
