"""Algorithms with a query or run-time advantage."""

from content import Concept, HeldOut

CONCEPTS = [
    Concept(
        name="deutsch_jozsa_algorithm",
        asks=[
            "What problem does the Deutsch-Jozsa algorithm solve?",
            "Deutsch-Jozsa for a test: promise, circuit, result.",
            "Is Deutsch-Jozsa a real speed-up? Explain to a sceptical developer.",
        ],
        idea=[
            "Deutsch-Jozsa tells with one query whether a function on n bits is constant or balanced.",
            (
                "Given the promise that f is constant or balanced, Deutsch-Jozsa decides which one with a single "
                "oracle call."
            ),
        ],
        how=[
            (
                "H gates query all inputs at once, the oracle writes f as a sign, and H gates again let the signs "
                "interfere. Reading all zeros means constant, anything else means balanced."
            ),
            (
                "The amplitude of |0...0> at the end is the average of (-1)^f(x) over all x. It is +1 or -1 if f is "
                "constant and 0 if f is balanced."
            ),
        ],
        examples=[
            "For n = 10 a classical method that must be certain needs up to 513 queries instead of 1.",
            "For f(x) = x1 XOR x2 on two bits the result is 11, so f is balanced.",
            "With 20 random classical queries the chance of a wrong verdict is already below 2 in a million.",
        ],
        limit=[
            "A classical method that accepts a tiny error needs only a few queries, so the practical gain is small.",
            "It relies on the promise; for a function in between, the result proves little.",
        ],
        see=[
            "phase kickback, Bernstein-Vazirani algorithm, interference.",
            "Simon algorithm, Hadamard gate, quantum advantage.",
        ],
        third={"limit": 0},
    ),
    Concept(
        name="bernstein_vazirani_algorithm",
        asks=[
            "How does the Bernstein-Vazirani algorithm find a hidden string?",
            "Bernstein-Vazirani in a nutshell, with a three-bit example.",
            "I want to code Bernstein-Vazirani. What is the circuit and what should I expect?",
        ],
        idea=[
            "Bernstein-Vazirani finds a hidden bit string s with one query to the function f(x) = s.x mod 2.",
            "For an oracle that returns the parity s.x mod 2, one call between two layers of H gates reveals all of s.",
        ],
        how=[
            (
                "H gates put all inputs in superposition, and the oracle gives each input the sign (-1)^(s.x). A "
                "second layer of H gates turns this pattern into |s>."
            ),
            (
                "The oracle is a CNOT from each qubit with s_i = 1 to a target in |->. Kickback turns these qubits "
                "from |+> to |->, which H makes |1>."
            ),
        ],
        examples=[
            "A hidden string of 64 bits takes 64 classical queries, one for each bit, but only 1 quantum query.",
            "For s = 011, f(010) = 1 and f(011) = 0; one quantum run gives 011 without trying inputs singly.",
            "With s = 101 the oracle has two CNOTs, and the readout is 101 every time.",
        ],
        limit=[
            "The gain is only n queries to one, and it is counted in oracle calls, not in run time.",
            "Whoever builds the oracle as a real circuit already knows s.",
        ],
        see=[
            "Deutsch-Jozsa algorithm, phase kickback, Simon algorithm.",
            "Hadamard gate, interference, CNOT gate.",
        ],
        third={"how": 1},
        heldout=HeldOut(
            ask="My homework hides the string 1101 in an oracle. How does one query reveal it?",
            idea="One query is enough because each hidden bit leaves its mark on its own qubit.",
            how=(
                "All qubits start as |+> with a helper in |->. Each CNOT turns its control into |->, and final H "
                "gates convert |+> to 0 and |-> to 1."
            ),
            example=(
                "For 1101 the oracle holds three CNOTs, on the first, second and fourth qubit, and the readout is "
                "1101 with certainty."
            ),
            limit=(
                "On noisy hardware the string is only the most frequent result, and classically four queries suffice."
            ),
        ),
    ),
    Concept(
        name="simon_algorithm",
        asks=[
            "What is Simon's algorithm?",
            "Simon's problem, for someone who knows linear algebra mod 2.",
            "Simon's algorithm: what comes out of one run, and how many runs do I need?",
        ],
        idea=[
            (
                "Simon's algorithm finds the hidden s in f(x) = f(x XOR s) with exponentially fewer queries than any "
                "classical method."
            ),
            "Each run of Simon's circuit returns a random y with s.y = 0 mod 2, and enough of them determine s.",
        ],
        how=[
            (
                "H gates, one query, a measurement of the output and H gates again yield a string y with s.y = 0. "
                "About n runs give equations that an ordinary computer solves."
            ),
            (
                "Measuring the output leaves (|x> + |x XOR s>)/sqrt(2), and the last H gates cancel all y with s.y = "
                "1. With n - 1 independent equations s is known."
            ),
        ],
        examples=[
            "For s = 11 on two bits the runs return only 00 or 11, each half of the time.",
            "For s = 110 the possible results are 000, 001, 110 and 111.",
            "For n = 40 a classical search needs about 2^20 = 1 million queries, the quantum one about 40.",
        ],
        limit=[
            "The problem is artificial, and the speed-up is proven only for queries to a black box.",
            "It needs the promise that f is two-to-one with one fixed s.",
        ],
        see=[
            "Bernstein-Vazirani algorithm, Shor algorithm, Hadamard gate.",
            "quantum Fourier transform, interference, quantum advantage.",
        ],
        third={"how": 0},
    ),
    Concept(
        name="grover_search",
        asks=[
            "How does Grover search work?",
            "Grover for a developer: number of iterations, success odds, pitfalls.",
            "How much faster is Grover than trying everything? Short explanation please.",
        ],
        idea=[
            "Grover search finds a marked item among N with about sqrt(N) queries instead of about N/2.",
            "Grover's algorithm rotates the state towards the marked item, by a fixed angle with every iteration.",
        ],
        how=[
            (
                "The oracle flips the sign of the marked item, and a reflection about the mean makes its amplitude "
                "grow. About (pi/4) sqrt(N) repetitions bring it close to 1."
            ),
            (
                "With sin(t) = 1/sqrt(N), the success probability after k iterations is sin^2((2k + 1) t). One stops "
                "where this comes closest to 1."
            ),
        ],
        examples=[
            "For N = 4 a single iteration finds the item with certainty.",
            "For N = 8 two iterations succeed with probability 0.945.",
            "For N = 1,000,000 about 785 iterations replace 500,000 classical tries on average.",
        ],
        limit=[
            "The gain is only quadratic, and the oracle must be able to recognise the answer.",
            "Too many iterations turn past the target: for N = 4, two of them succeed in only 25% of the runs.",
        ],
        see=[
            "interference, phase kickback, quantum advantage.",
            "Toffoli gate, Deutsch-Jozsa algorithm, post-quantum cryptography.",
        ],
        third={"idea": 0, "limit": 0},
        heldout=HeldOut(
            ask="Could Grover's method break my 128-bit AES key? Explain what it does on the way.",
            idea="Grover's method searches 2^128 keys in about 2^64 steps that raise the amplitude of the right key.",
            how=(
                "Each step marks the fitting key with a minus sign and then mirrors all amplitudes at their mean. The "
                "steps cannot be skipped, because each one builds on the last."
            ),
            example="With 16 candidates three steps are enough to find the right one with probability 0.961.",
            limit=(
                "About 10^19 steps in a row, each a full AES circuit, are far out of reach, and AES-256 doubles the "
                "margin in bits."
            ),
        ),
    ),
    Concept(
        name="quantum_fourier_transform",
        asks=[
            "What is the quantum Fourier transform?",
            "QFT: formula, gate count and the usual misunderstanding.",
            "How does the QFT help to find a period? Engineer level.",
        ],
        idea=[
            "The quantum Fourier transform applies the discrete Fourier transform to the amplitudes of a register.",
            "The QFT maps |j> to the sum over k of e^(2 pi i jk/N)|k>, divided by sqrt(N), with N = 2^n.",
        ],
        how=[
            (
                "It turns a repeating pattern in the amplitudes into sharp peaks, which a measurement can find. The "
                "circuit consists of H gates and controlled phase rotations."
            ),
            (
                "It takes n H gates, n(n - 1)/2 controlled phases and n/2 SWAPs (rounded down). A classical FFT on "
                "2^n numbers needs about n 2^n steps."
            ),
        ],
        examples=[
            "For one qubit the QFT is simply the H gate.",
            "For n = 10 it takes 10 H gates, 45 controlled phases and 5 SWAPs.",
            "For N = 16 and a pattern of period 4, only 0, 4, 8 and 12 are read, each with probability 1/4.",
        ],
        limit=[
            "The transformed amplitudes cannot be read out; one run gives a single sample.",
            "It does not speed up ordinary signal processing, because loading the data takes too long.",
        ],
        see=[
            "phase estimation, Shor algorithm, Hadamard gate.",
            "Simon algorithm, interference, SWAP gate.",
        ],
        third={"how": 0},
    ),
    Concept(
        name="phase_estimation",
        asks=[
            "What does quantum phase estimation do?",
            "Explain QPE with a case where the result is exact.",
            "How many controlled operations does phase estimation need for t bits?",
        ],
        idea=[
            (
                "Phase estimation reads the eigenvalue phase phi of a gate, with U|u> = e^(2 pi i phi)|u>, as a "
                "binary fraction."
            ),
            (
                "Phase estimation writes phi in binary into t qubits by means of controlled powers of U and an "
                "inverse QFT."
            ),
        ],
        how=[
            (
                "Control qubits in |+> collect phases from U, U^2, U^4 and so on by phase kickback. The inverse "
                "quantum Fourier transform turns these phases into readable bits."
            ),
            (
                "Control k, counted from 0, applies U^(2^k), in total 2^t - 1 uses of U for t bits. If phi has "
                "exactly t bits, the readout is exact."
            ),
        ],
        examples=[
            "For phi = 1/3 and three qubits the nearest value 3/8 is read with probability 0.69.",
            "For U = T and the target |1>, phi is 1/8, so three qubits read 001 with certainty.",
            "Ten bits of phi take 1023 uses of U and give a resolution of 1/1024.",
        ],
        limit=[
            "It needs a state close to the wanted eigenstate; otherwise other eigenvalues come out as well.",
            "Long controlled circuits demand error correction, so noisy devices manage only a few bits.",
        ],
        see=[
            "phase kickback, quantum Fourier transform, Shor algorithm.",
            "T gate, Hamiltonian simulation, variational quantum eigensolver.",
        ],
        third={"how": 1},
    ),
    Concept(
        name="shor_algorithm",
        asks=[
            "How does Shor's algorithm factor numbers?",
            "Run Shor's algorithm for me on a tiny number.",
            "Which part of Shor is quantum and which is classical?",
        ],
        idea=[
            "Shor's algorithm factors a number N by finding the period of a^x mod N on a quantum computer.",
            (
                "Shor's algorithm reduces factoring to finding the order r of a modulo N, which phase estimation "
                "solves in polynomial time."
            ),
        ],
        how=[
            (
                "The quantum part finds the smallest r with a^r = 1 mod N. For even r, gcd(a^(r/2) - 1, N) and "
                "gcd(a^(r/2) + 1, N) are often factors."
            ),
            (
                "Modular exponentiation in superposition and an inverse QFT yield a close estimate of a multiple of "
                "1/r. Continued fractions and greatest common divisors do the rest classically."
            ),
        ],
        examples=[
            "For N = 15 and a = 7 the period is 4, and gcd(48, 15) = 3 and gcd(50, 15) = 5.",
            "For N = 21 and a = 2 the period is 6, and gcd(7, 21) = 7 and gcd(9, 21) = 3.",
            "For N = 15, a = 2 the powers are 2, 4, 8, 1, so r = 4, and gcd(3, 15) = 3.",
        ],
        limit=[
            "Some choices fail, such as a = 14 for N = 15; then one picks another a.",
            "RSA-2048 is out of reach today; a 2019 estimate names 20 million noisy qubits.",
        ],
        see=[
            "phase estimation, quantum Fourier transform.",
            "Simon algorithm, error correction, quantum advantage.",
        ],
        third={"how": 1},
        heldout=HeldOut(
            ask="Why does a period help to split a number like 35? I'm a maths student.",
            idea="If a^x mod N has an even period r, N divides a^r - 1, a difference of squares.",
            how=(
                "With b = a^(r/2), N divides (b - 1)(b + 1). Unless N divides b + 1, each bracket shares a proper "
                "factor with N, which Euclid's algorithm finds."
            ),
            example="For N = 35, a = 3: period 12, 3^6 mod 35 is 29, gcd(28, 35) = 7, gcd(30, 35) = 5.",
            limit="Only the period is found by quantum means, and useful sizes need thousands of reliable qubits.",
        ),
    ),
]
