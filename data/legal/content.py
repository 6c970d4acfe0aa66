"""The shapes of the handwritten legal content, the request wordings and the lists of names."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Template:
    """A passage of legal text and the summary of it; both have placeholders.

    A key of `slots` names one placeholder, or several that belong together ("rent|deposit"), and its values are split
    the same way. Line breaks in `passage` and `reply` mean nothing: each part of the reply is put on a line of its own.
    """

    passage: str
    reply: str
    slots: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Topic:
    """One kind of legal text; `document` is what a request may call it."""

    name: str
    document: str
    train: list[Template]
    heldout: list[Template]


TRAIN_REQUESTS = [
    "Please summarise this clause in plain language:\n\n{passage}",
    "What does this clause mean in everyday words?\n\n{passage}",
    "Give me a short, plain summary of the following passage.\n\n{passage}",
    "I do not read legal text often. Can you break this down for me?\n\n{passage}",
    "This is from the {document}. What does it say in simple terms?\n\n{passage}",
    "{passage}\n\nCan you explain that in plain English, please?",
    "Who has to do what here, and what should I look out for?\n\n{passage}",
    "hi, quick plain summary of this bit of the {document} please\n\n{passage}",
    "Before I sign, help me understand this paragraph:\n\n{passage}",
    "Summarise the clause below for a reader without legal training.\n\n{passage}",
    "Could you turn this legal text into something I can follow?\n\n{passage}",
    "{passage}\n\nWhat are the main points?",
    "We found this in the {document}. Please explain the key terms briefly.\n\n{passage}",
    "Plain-language summary, please:\n\n{passage}",
    "I need to tell my team what this says. Can you sum it up?\n\n{passage}",
    "Explain the obligations in this part of the {document}:\n\n{passage}",
    "What exactly is being agreed here?\n\n{passage}",
    "Can you read this for me and say what matters?\n\n{passage}",
]
HELDOUT_REQUESTS = [
    "Sum up this text in words anyone can understand:\n\n{passage}",
    "My colleague sent me this part of the {document}. What is it saying?\n\n{passage}",
    "Please rewrite this as a brief summary without jargon.\n\n{passage}",
    "{passage}\n\nI am lost, what does this come down to?",
    "Tell me in simple words what the following text provides.\n\n{passage}",
    "Here is an extract from the {document}. Who owes what to whom?\n\n{passage}",
    "can u explain this to me? legal stuff is not my thing\n\n{passage}",
    "A short overview of this extract, please.\n\n{passage}",
    "What should I know about this passage?\n\n{passage}",
    "Condense this for a busy reader:\n\n{passage}",
]

# fmt: off
TRAIN_NAMES: dict[str, list[str]] = {
    "company": [
        "Ashcombe Ltd", "Brindlemere plc", "Corvane GmbH", "Delmarsh Ltd", "Elverton LLC", "Fennick & Rowe Ltd",
        "Garrowby Ltd", "Halvex BV", "Ingleby Peak Ltd", "Jorvane AG", "Kestrelway Ltd", "Lindaro AB",
        "Marrowstone LLC", "Northgill Ltd", "Orrinfell plc", "Pellworth Ltd", "Quillhart GmbH", "Ravensmoor Ltd",
        "Solvane BV", "Tarnwick Ltd", "Underhay Ltd", "Velmont SAS", "Wexcombe LLC", "Yarrowdale Ltd",
    ],
    "person": [
        "Amira Haddad", "Tomasz Wilk", "Leonie Brandt", "Samuel Okoro", "Priya Nair", "Joanna Firth",
        "Mateo Ruiz", "Hana Kim", "Declan Byrne", "Ingrid Solberg", "Victor Almeida", "Ruth Calloway",
        "Yusuf Demir", "Clara Novak", "Gareth Pryce", "Mei Tanaka",
    ],
}
HELDOUT_NAMES: dict[str, list[str]] = {
    "company": [
        "Aldermoor Ltd", "Bexhollow plc", "Cindermarsh Ltd", "Dovetarn GmbH", "Eskwith LLC", "Farnbrook Ltd",
        "Greyhaven BV", "Hollinsea Ltd", "Ivelstone AG", "Kirkfallow Ltd", "Lowmere SAS", "Millrace & Day Ltd",
    ],
    "person": [
        "Nadine Ferrow", "Owen Tallis", "Keiko Arata", "Bruno Castell", "Miriam Oduya", "Felix Harlan",
        "Sunniva Lie", "Andre Moreau",
    ],
}
# fmt: on
