"""The shapes of the handwritten support content, and the word lists its placeholders are filled from."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Then:
    """A second turn: what the customer writes next and the parts of the answer to it."""

    text: str
    empathy: str
    steps: list[str]


@dataclass(frozen=True)
class Ask:
    """One way a customer puts the problem.

    `empathy` and `steps`, where given, replace the topic's own; `plan` says which of its plans fits.
    """

    text: str
    empathy: str = ""
    steps: list[str] = field(default_factory=list)
    plan: int | None = None
    then: Then | None = None


@dataclass(frozen=True)
class Topic:
    """One kind of problem; a plan is a list of steps, and a step is a list of ways to word it."""

    name: str
    empathy: list[str]
    plans: list[list[list[str]]]
    asks: list[Ask]
    heldout: list[Ask]


# fmt: off
SLOTS: dict[str, list[str]] = {
    "amount": [
        "£8.99", "£12.50", "£14.00", "£19.99", "£24.90", "£32.00", "£39.95", "£47.20", "£58.00", "£64.75",
        "£79.00", "£112.40",
    ],
    "browser": ["Chrome", "Firefox", "Edge", "Safari", "Brave"],
    "code": ["SPRING20", "WELCOME10", "TEAM15", "AUTUMN25", "HELLO5", "DESK10"],
    "colleague": ["Marta", "Jonas", "Aisha", "Wei", "Tom", "Ines", "Kofi", "Lena"],
    "computer": ["Windows laptop", "MacBook Air", "work laptop", "Dell desktop", "ThinkPad", "iMac"],
    "date": ["3 March", "12 April", "28 May", "9 June", "17 July", "2 September", "21 October", "6 November"],
    "device": ["Galaxy S22", "iPhone 13", "Pixel 7", "Moto G54", "iPad", "iPhone SE", "Redmi Note 12"],
    "file": ["report.pdf", "budget.xlsx", "slides.pptx", "contract.docx", "photos.zip", "brochure.pdf"],
    "gadget": ["label printer", "headset", "webcam", "keyboard", "desk lamp", "docking station"],
    "item": ["desk lamp", "label printer", "desk chair", "headset", "monitor arm", "webcam", "keyboard"],
    "language": ["Spanish", "German", "Polish", "Portuguese", "Dutch", "Turkish", "Swedish"],
    "month": ["January", "February", "April", "June", "August", "October", "December"],
    "name": [
        "Priya", "Daniel", "Marek", "Sofia", "Oliver", "Hannah", "Yusuf", "Claire", "Pedro", "Nadia",
        "Gareth", "Mei", "Ruth", "Stefan",
    ],
    "order": [
        "NW-20417", "NW-31866", "NW-48213", "NW-50972", "NW-17340", "NW-66105", "NW-72839", "NW-29558",
        "NW-83014", "NW-41697", "NW-95280", "NW-13746", "NW-60451", "NW-37129", "NW-78563", "NW-24908",
        "NW-56372", "NW-89641", "NW-32087", "NW-45719", "NW-18264", "NW-70593", "NW-63820", "NW-91435",
        "NW-27156", "NW-84902", "NW-39671", "NW-52348", "NW-76015", "NW-10987",
    ],
    "weekday": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"],
}
# fmt: on
